"""HEIF (HEIC) by pillow-heif; the only door to that library."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.exif import clear_orientation
from adaptsr_cli.io.faults import INSTALL_IMAGES, check_pixels
from adaptsr_cli.io.formats.files import open_new
from adaptsr_cli.io.formats.kind import Extras, Layout, Outline, name_channels
from adaptsr_cli.io.formats.signatures import read_brands
from adaptsr_cli.io.pictures import Picture, divide_by_alpha, layers_of, picture_of, stretch

_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1", b"heif"}
)
_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_BT601: Final = 6  # the matrix by which libheif stores the samples
_GAIN_MAP: Final = "gainmap"
_NCLX: Final = ("color_primaries", "transfer_characteristics", "matrix_coefficients", "full_range_flag")


def is_heif(head: bytes, _: Path) -> bool:
    """Whether a file is HEIF; AVIF, which follows its brands too, must have been looked for before."""
    return bool(_BRANDS.intersection(read_brands(head)[:1])) or bool(_BRANDS & set(read_brands(head)))


class HeifReader:
    """Reads the primary image of a HEIF file."""

    def read_size(self, path: Path) -> tuple[int, int]:
        """The size as displayed: libheif has turned the image already."""
        width_px, height_px = _open(path).size
        return int(width_px), int(height_px)

    def read_outline(self, path: Path) -> Outline:
        """Size and kind."""
        heif = _open(path)
        return Outline(heif.size[0], heif.size[1], deep=heif.info["bit_depth"] > 8, alpha=heif.has_alpha)

    def read_layout(self, path: Path) -> Layout:
        """How the picture is held."""
        heif = _open(path)
        info, details = heif.info, []
        if any(_GAIN_MAP in kind.lower() for kind in info.get("aux", {})):
            details.append("HDR gain map")
        if info.get("depth_images"):
            details.append("depth map")
        return Layout(
            bits=f"{info['bit_depth']} bits",
            channels=name_channels("grey" if heif.mode.startswith("L") else "RGB", alpha=heif.has_alpha),
            pictures=f"{len(heif)} pictures" if len(heif) > 1 else "",
            icc=info.get("icc_profile") or None,
            cicp=_read_cicp(info),
            exif=info.get("exif") or None,
            details=tuple(details),
        )

    def decode(self, path: Path) -> Picture:
        """The primary image; a depth map or what HDR adds to it is left out, and said."""
        heif = _open(path)
        check_pixels(heif.size[0] * heif.size[1], path)
        samples: AnyArray = np.asarray(heif)
        layers = samples[..., None] if samples.ndim == 2 else samples  # (H, W, C)
        layers = stretch(layers, heif.info["bit_depth"]) if layers.dtype == np.uint16 else layers
        if heif.premultiplied_alpha:
            layers = np.dstack([divide_by_alpha(layers[..., :-1], layers[..., -1:]), layers[..., -1:]])
        info = heif.info
        exif = info.get("exif")
        remarks = []
        if any(_GAIN_MAP in kind.lower() for kind in info.get("aux", {})):
            remarks.append("its HDR gain map is left out: the result is the picture as screens without HDR show it")
        if len(heif) > 1:
            remarks.append("has several pictures: only its primary one is used")
        return picture_of(
            layers,
            grey=layers.shape[2] <= 2,
            icc=info.get("icc_profile") or None,
            exif=clear_orientation(exif) if exif else None,
            cicp=_read_cicp(info),
            remarks=tuple(remarks),
        )

    def read_xmp(self, path: Path) -> bytes | None:
        """The XMP packet."""
        xmp = _open(path).info.get("xmp")
        return xmp if isinstance(xmp, bytes) else None

    def read_exif(self, path: Path) -> bytes | None:
        """EXIF as it is in the file."""
        exif = _open(path).info.get("exif")
        return exif if isinstance(exif, bytes) else None


class HeifWriter:
    """Writes HEIC with 8 or 10 bits a channel."""

    def check_available(self, *, deep: bool) -> None:
        """Look whether pillow-heif is installed."""
        _import()

    def encode(self, path: Path, picture: Picture, extras: Extras) -> None:
        """Write one picture."""
        layers = layers_of(picture)
        mode = _MODES[layers.shape[2]] + (";16" if layers.dtype == np.uint16 else "")
        heif = _import().from_bytes(mode, layers.shape[1::-1], layers.tobytes())
        if picture.cicp is not None:
            points = (*picture.cicp[:2], _BT601, 1)
            heif.info["nclx_profile"] = dict(zip(_NCLX, points, strict=True))
        if picture.icc is not None:
            heif.info["icc_profile"] = picture.icc
        with open_new(path) as file:
            heif.save(file, quality=extras.quality, chroma=444, exif=extras.exif, xmp=extras.xmp)


def _read_cicp(info: dict[str, Any]) -> tuple[int, int, int, int] | None:
    nclx = info.get("nclx_profile")
    if nclx is None:
        return None
    primaries, transfer, matrix, full = (int(nclx[key]) for key in _NCLX)
    return primaries, transfer, matrix, full


def _import() -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError("HEIC is read and written by pillow-heif, which is not installed", INSTALL_IMAGES) from error
    return pillow_heif


def _open(path: Path) -> Any:
    library = _import()
    try:
        return library.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    except struct.error as error:
        raise ValueError("it is cut off") from error
