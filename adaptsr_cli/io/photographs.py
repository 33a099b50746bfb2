"""Reading a photograph with the facts that pairs need: when and how it was taken, and its hash.

Raw files are read in one fixed rendering (`RawRendering`), the same for both sides of a pair, so that neither an
automatic brightness nor a noise filter makes them differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.colour.code_points import make_profile
from adaptsr_cli.io.decoding import decode_exif
from adaptsr_cli.io.faults import faults
from adaptsr_cli.io.formats.camera_raw import RawRendering
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.images import holds_raw, read_picture, require_sdr, require_single
from adaptsr_cli.io.shot_exif import ShotFacts, parse_shot_facts, read_shot_facts


@dataclass(frozen=True)
class Photograph:
    """A photograph as it is displayed.

    Attributes:
        path: The file.
        rgb: (h, w, 3) uint8 or uint16, turned as EXIF says.
        grey: Whether it has no colour.
        icc: Colour profile that the numbers are in, or None.
        sha256: Of the file.
        facts: When and how it was taken.
        rendering: Of a raw file; None for others.
    """

    path: Path
    rgb: AnyArray
    grey: bool
    icc: bytes | None
    sha256: str
    facts: ShotFacts
    rendering: str | None = None


def read_photograph(path: Path) -> Photograph:
    """Read one photograph whole.

    Raises:
        ImageError: No photograph, damaged, of several pages, HDR, or it needs a library that is not installed.
    """
    sha256 = hash_file(path)
    facts = read_facts(path)
    picture = read_picture(path)
    require_single(picture, path)
    require_sdr(picture, path)
    rendering = RawRendering().describe() if holds_raw(path) else None
    rgb = picture.colour
    icc = picture.icc
    if picture.cicp is not None:  # pairs are written with profiles
        icc = make_profile(picture.cicp, grey=picture.grey)
    return Photograph(path, rgb, picture.grey or _is_grey(rgb), icc, sha256, facts, rendering)


def read_facts(path: Path) -> ShotFacts:
    """When and how a photograph was taken, without reading its pixels.

    Raises:
        ImageError: It cannot be opened, is a damaged HEIC or JPEG XL file, or needs a library that is not installed.
    """
    with faults(path):
        path.open("rb").close()  # below, what cannot be opened has no facts
    exif = decode_exif(path)
    return read_shot_facts(path) if exif is None else parse_shot_facts(exif)


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}", "check the path") from error


def _is_grey(rgb: AnyArray) -> bool:
    """Whether three channels hold but one, to 2 of 255 levels; told by every eighth pixel."""
    few = rgb[::8, ::8].astype(np.int32)
    most = 2 if rgb.dtype == np.uint8 else 2 * 257
    return bool((np.ptp(few, axis=2) <= most).all())
