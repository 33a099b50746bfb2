"""Reading a photograph of any kind that cameras write; the only door to pillow-heif and rawpy.

JPEG, PNG and TIFF are read as everywhere else, HEIC as it is, raw files in one fixed rendering (`RAW_RENDERING`): the
same for both sides of a pair, so that neither an automatic brightness nor a noise filter makes them differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.io.formats.table import READ_SUFFIXES
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.images import read_picture
from adaptsr_cli.io.shot_exif import ShotFacts, parse_shot_facts, read_shot_facts

HEIF_SUFFIXES: Final = frozenset({".heic", ".heif", ".hif"})
RAW_SUFFIXES: Final = frozenset(
    {".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw"}
)
PHOTO_SUFFIXES: Final = READ_SUFFIXES | HEIF_SUFFIXES | RAW_SUFFIXES

RAW_RENDERING: Final = "camera white balance, no automatic brightness, AHD, sRGB with its tone curve, 16 bits"
"""How raw files are rendered, for the record."""


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
        ImageError: No photograph, damaged, or of several pages.
        AdaptsrError: It needs a library that is not installed.
    """
    suffix = path.suffix.lower()
    sha256 = hash_file(path)
    facts = read_facts(path)
    rendering = None
    if suffix in HEIF_SUFFIXES:
        rgb, icc = _read_heif(path)
        grey = False
    elif suffix in RAW_SUFFIXES:
        rgb, icc = _read_raw(path), None
        grey, rendering = False, RAW_RENDERING
    else:
        picture = read_picture(path)
        if picture.further:
            raise ImageError(f"cannot use {path}: it has several pages or frames", "save one of them by itself")
        rgb, icc, grey = picture.colour, picture.icc, picture.grey
    return Photograph(path, rgb, grey or _is_grey(rgb), icc, sha256, facts, rendering)


def read_facts(path: Path) -> ShotFacts:
    """When and how a photograph was taken, without reading its pixels.

    Raises:
        ImageError: A damaged HEIC file.
        AdaptsrError: It needs a library that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in HEIF_SUFFIXES:
        heif = _open_heif(path)
        exif = heif.info.get("exif")  # type: ignore[attr-defined]
        return parse_shot_facts(exif) if isinstance(exif, bytes) else ShotFacts()
    return read_shot_facts(path)


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}", "check the path") from error


def _open_heif(path: Path) -> object:
    try:
        import pillow_heif
    except ImportError as error:
        raise AdaptsrError(
            f"{path} is HEIC, which is read by pillow-heif", "run: pip install 'adaptsr[pair]'"
        ) from error
    try:
        return pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
    except Exception as error:  # of libheif, of several kinds
        raise ImageError(f"cannot read {path}: {error}", "replace the file or leave it out") from error


def _read_heif(path: Path) -> tuple[AnyArray, bytes | None]:
    """The primary image; libheif has turned it already."""
    heif = _open_heif(path)
    samples = np.asarray(heif)
    icc = heif.info.get("icc_profile")  # type: ignore[attr-defined]
    return np.ascontiguousarray(samples[..., :3]), icc if isinstance(icc, bytes) else None


def _read_raw(path: Path) -> AnyArray:
    try:
        import rawpy
    except ImportError as error:
        raise AdaptsrError(
            f"{path} is a raw file, which is read by rawpy", "run: pip install 'adaptsr[pair]'"
        ) from error
    try:
        with rawpy.imread(str(path)) as raw:
            rendered: AnyArray = raw.postprocess(
                demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD,
                use_camera_wb=True,
                no_auto_bright=True,
                adjust_maximum_thr=0.0,  # else one whose brightest pixel is near white is stretched
                output_color=rawpy.ColorSpace.sRGB,
                output_bps=16,
                gamma=(2.4, 12.92),  # sRGB's own
            )
    except Exception as error:  # of LibRaw, of several kinds
        raise ImageError(f"cannot read {path}: {error}", "replace the file or leave it out") from error
    return rendered


def _is_grey(rgb: AnyArray) -> bool:
    """Whether three channels hold but one, to 2 of 255 levels; told by every eighth pixel."""
    few = rgb[::8, ::8].astype(np.int32)
    most = 2 if rgb.dtype == np.uint8 else 2 * 257
    return bool((np.ptp(few, axis=2) <= most).all())
