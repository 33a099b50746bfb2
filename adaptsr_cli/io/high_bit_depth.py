"""PNG of 16 bits a channel and AVIF of 10 or 12, which Pillow does not decode, by imagecodecs.

That package is large and few have such files, so it comes with the extra ``images``.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, BinaryIO, Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.attached.writing import Beside
from adaptsr_cli.io.exif import EXIF_PREFIX
from adaptsr_cli.io.faults import INSTALL_IMAGES
from adaptsr_cli.io.pictures import stretch
from adaptsr_cli.io.png_chunks import pack_chunk

PNG_LEVEL: Final = 4
"""Of 0 to 9. On photographs 2.5 times as fast as the usual 6, in files 5 % larger (8 bits, Pillow)."""

_AVIF_HIGH, _AVIF_TWELVE = 0x40, 0x20  # flags of AV1CodecConfigurationRecord
_HEAD_BYTES: Final = 8 + 25  # the signature and IHDR, which must come first


def decode_deep_png(data: bytes) -> AnyArray:
    """Decode a 16-bit PNG; a colour that stands for transparency becomes an alpha channel.

    Returns:
        (H, W, C) uint16: grey, grey and alpha, RGB, or RGB and alpha.

    Raises:
        ImageError: The package imagecodecs is not installed.
        RuntimeError: The file is damaged or cut off.
    """
    samples: AnyArray = _imagecodecs().png_decode(data)
    return samples if samples.ndim == 3 else samples[..., None]


def read_avif_bits(data: bytes) -> int:
    """Bits a channel of an AVIF: 8, 10 or 12, by the configuration of its first AV1 image."""
    place = data.find(b"av1C")
    flags = data[place + 6] if 0 < place < len(data) - 6 else 0
    return (12 if flags & _AVIF_TWELVE else 10) if flags & _AVIF_HIGH else 8


def read_avif_colours(data: bytes) -> tuple[int, int, int, int] | None:
    """The code points of H.273 of an AVIF, by the first box nclx; None where it has none."""
    place = data.find(b"colrnclx")
    if not 0 < place <= len(data) - 15:
        return None
    primaries, transfer, matrix, full = struct.unpack_from(">HHHB", data, place + 8)
    return primaries, transfer, matrix, full >> 7


def decode_deep_avif(data: bytes, bits: int) -> AnyArray:
    """Decode an AVIF of 10 or 12 bits a channel as it is stored, not turned.

    Returns:
        (H, W, C) uint16 over its whole range: grey, RGB, or RGB and alpha.

    Raises:
        ImageError: The package imagecodecs is not installed.
        RuntimeError: The file is damaged or cut off.
    """
    samples: AnyArray = _imagecodecs().avif_decode(data, 0, numthreads=1)
    return stretch(samples if samples.ndim == 3 else samples[..., None], bits)


def write_deep_png(
    file: BinaryIO,
    layers: AnyArray,
    *,
    icc: bytes | None,
    cicp: tuple[int, int, int, int] | None,
    beside: Beside,
) -> None:
    """Write (H, W, C) uint16 as PNG with its colour profile or code points and what goes with it.

    Raises:
        ImageError: The package imagecodecs is not installed.
    """
    data = memoryview(_imagecodecs().png_encode(layers[..., 0] if layers.shape[2] == 1 else layers, PNG_LEVEL))
    extra = b""
    if cicp:
        extra += pack_chunk(b"cICP", bytes(cicp))
    if icc:
        extra += pack_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if (density := beside.png_density()) is not None:
        extra += pack_chunk(b"pHYs", density)
    if beside.exif:
        extra += pack_chunk(b"eXIf", beside.exif.removeprefix(EXIF_PREFIX))
    extra += b"".join(pack_chunk(text.kind, text.content) for text in beside.png_texts())
    for part in (data[:_HEAD_BYTES], extra, data[_HEAD_BYTES:]):
        file.write(part)


def decode_jpeg_xl(data: bytes) -> AnyArray:
    """Decode a JPEG XL of any depth, of an animation the first frame, to (H, W) or (H, W, C) as it is displayed.

    Raises:
        ImageError: The package imagecodecs is not installed.
        RuntimeError: The file is damaged or cut off.
    """
    samples: AnyArray = _imagecodecs().jpegxl_decode(data, 0, numthreads=1)
    return samples


def encode_jpeg_xl(layers: AnyArray, distance: float, effort: int) -> bytes:
    """Encode (H, W, C) uint8 or uint16 as a bare JPEG XL stream.

    Args:
        layers: Grey, grey and alpha, RGB, or RGB and alpha.
        distance: libjxl's measure of loss; 0 for none.
        effort: 1 to 10.

    Raises:
        ImageError: The package imagecodecs is not installed.
    """
    flat = layers[..., 0] if layers.shape[2] == 1 else layers
    options: dict[str, Any] = {"lossless": True} if distance == 0 else {"distance": distance}
    return bytes(_imagecodecs().jpegxl_encode(flat, effort=effort, usecontainer=False, numthreads=1, **options))


def transform_colours(samples: AnyArray, icc: bytes) -> AnyArray:
    """Convert (H, W, C) uint16 by its profile to (H, W, 3) uint16 in sRGB.

    Raises:
        ImageError: The package imagecodecs is not installed.
        RuntimeError: The profile is damaged.
    """
    library = _imagecodecs()
    spaces = {1: "gray", 3: "rgb", 4: "cmyk"}
    source = samples[..., 0] if samples.shape[2] == 1 else samples
    converted: AnyArray = library.cms_transform(
        np.ascontiguousarray(source),
        icc,
        library.cms_profile("srgb"),
        colorspace=spaces[samples.shape[2]],
        outcolorspace="rgb",
    )
    return converted


def check_available() -> None:
    """Look whether pictures of more than 8 bits a channel can be read and written.

    Raises:
        ImageError: The package imagecodecs is not installed.
    """
    _imagecodecs()


def _imagecodecs() -> Any:
    """Import the package, or name the command that installs it."""
    try:
        import imagecodecs
    except ImportError as error:
        raise ImageError(
            "more than 8 bits a channel and rare colours need the package imagecodecs", INSTALL_IMAGES
        ) from error
    return imagecodecs
