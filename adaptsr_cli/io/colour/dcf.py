"""Adobe RGB as cameras tell of it: by EXIF alone, in the manner of DCF, with no profile in the file."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from PIL import Image

from adaptsr_cli.io.colour.icc import make_rgb_profile

REMARK: Final = "its EXIF says that it is in Adobe RGB: a profile says it from now on"
_EXIF_FOLDER, _INTEROPERABILITY, _INDEX = 0x8769, 0xA005, 1
_ADOBE_RGB: Final = "R03"
_GAMMA: Final = 563 / 256
_PRIMARIES: Final = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))


def says_adobe_rgb(exif: bytes) -> bool:
    """Whether EXIF says by its interoperability index that the numbers are in Adobe RGB."""
    try:
        source = Image.Exif()
        source.load(exif)
        return bool(source.get_ifd(_EXIF_FOLDER) and source.get_ifd(_INTEROPERABILITY).get(_INDEX) == _ADOBE_RGB)
    except (struct.error, SyntaxError, ValueError, OSError, KeyError, TypeError):
        return False  # damaged; the picture is no worse for it


def make_adobe_rgb() -> bytes:
    """A profile of Adobe RGB (1998)."""
    return make_rgb_profile((0.3127, 0.3290), np.array(_PRIMARIES), (_GAMMA,))
