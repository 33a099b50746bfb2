"""Camera raw (DNG, NEF, CR3 ...) by rawpy, in one rendering; the only door to that library.

The rendering has no automatic brightness and no noise filter: two photographs of one scene, and two frames of one
series, are rendered alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.artifacts.base import RawWhiteBalance
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.attached.tiff_tags import exif_of
from adaptsr_cli.io.faults import INSTALL_IMAGES, check_pixels
from adaptsr_cli.io.formats.kind import Layout, Outline
from adaptsr_cli.io.formats.signatures import read_brands
from adaptsr_cli.io.pictures import Picture, picture_of
from adaptsr_cli.io.tiff import holds_raw, is_tiff, read_first_folder

RAW_SUFFIXES: Final = (
    ".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw", ".3fr", ".erf",
    ".iiq", ".mos", ".mrw", ".rwl", ".sr2", ".x3f",
)  # fmt: skip
_HEADS: Final = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
_TURNED: Final = (5, 6)  # LibRaw's codes of a quarter turn


@dataclass(frozen=True)
class RawRendering:
    """How raw files are rendered.

    Attributes:
        white_balance: As the camera chose, for daylight, or measured in the picture.
        exposure_ev: Brighter by so many stops, -2 to 3; highlights keep their gradation.
    """

    white_balance: RawWhiteBalance = "camera"
    exposure_ev: float = 0.0

    def describe(self) -> str:
        """The rendering in words, for the record."""
        words = f"{self.white_balance} white balance, no automatic brightness, AHD, sRGB with its tone curve, 16 bits"
        return f"{words}, {self.exposure_ev:+g} EV" if self.exposure_ev else words


def is_raw(head: bytes, path: Path) -> bool:
    """Whether a file is a raw file, also of those that begin as TIFF."""
    if head.startswith(_HEADS) or b"crx " in read_brands(head)[:1]:
        return True
    return is_tiff(path) and (head[8:10] == b"CR" or holds_raw(path))


@dataclass(frozen=True)
class RawReader:
    """Reads raw files.

    Attributes:
        rendering: How.
    """

    rendering: RawRendering = RawRendering()

    def read_size(self, path: Path) -> tuple[int, int]:
        """The size as displayed."""
        with _open(path) as raw:
            width_px, height_px = raw.sizes.width, raw.sizes.height
            return (height_px, width_px) if raw.sizes.flip in _TURNED else (width_px, height_px)

    def read_outline(self, path: Path) -> Outline:
        """Size and kind."""
        return Outline(*self.read_size(path), deep=True)

    def read_layout(self, path: Path) -> Layout:
        """How the picture is held."""
        with _open(path) as raw:
            bits = int(raw.white_level).bit_length()
            colours = raw.color_desc.decode("ascii", "replace")
        exif = exif_of(read_first_folder(path)) if is_tiff(path) else None
        channels = f"one of {colours} a pixel"
        return Layout(f"{bits} bits", channels, exif=exif, colours=("of the sensor, rendered to sRGB",))

    def decode(self, path: Path) -> Picture:
        """The picture, rendered."""
        check_pixels(_product(self.read_size(path)), path)
        exif = exif_of(read_first_folder(path)) if is_tiff(path) else None
        return picture_of(_render(path, self.rendering), grey=False, exif=exif)

    def read_xmp(self, path: Path) -> bytes | None:
        """No raw file is a result of ours."""
        return None


def _product(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _render(path: Path, rendering: RawRendering) -> AnyArray:
    """Develop a raw file to (H, W, 3) uint16 in sRGB."""
    library = _import()
    white: dict[str, Any] = {
        "camera": {"use_camera_wb": True},
        "daylight": {},  # LibRaw's default
        "auto": {"use_auto_wb": True},
    }[rendering.white_balance]
    shift = {"exp_shift": 2.0**rendering.exposure_ev, "exp_preserve_highlights": 1.0} if rendering.exposure_ev else {}
    with _open(path) as raw:
        rendered: AnyArray = raw.postprocess(
            demosaic_algorithm=library.DemosaicAlgorithm.AHD,
            no_auto_bright=True,
            adjust_maximum_thr=0.0,  # else one whose brightest pixel is near white is stretched
            output_color=library.ColorSpace.sRGB,
            output_bps=16,
            gamma=(2.4, 12.92),  # sRGB's own
            **white,
            **shift,
        )
    return rendered


def _open(path: Path) -> Any:
    return _import().imread(str(path))


def _import() -> Any:
    try:
        import rawpy
    except ImportError as error:
        raise ImageError("raw files are read by rawpy, which is not installed", INSTALL_IMAGES) from error
    return rawpy
