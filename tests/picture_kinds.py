"""Every kind of image that is read, each with a writer that shares no code with the reader under test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image
from readers import png_16_bit


@dataclass(frozen=True)
class Kind:
    """A kind of image file.

    Attributes:
        name: Its name among the cases.
        ext: Its suffix.
        channels: Of the result: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        write: Writes samples (H, W, 4) uint16 to a path in its own way.
        bits: Of the result, where the format has them.
        large: Whether the largest size is made too.
    """

    name: str
    ext: str
    channels: int
    write: Callable[[Path, np.ndarray], None]
    bits: int = 8
    large: bool = False


def pattern(width: int, height: int) -> np.ndarray:
    """Smooth colours with all values of 16 bits, and a transparency with flat parts and a slope: (H, W, 4) uint16."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    across, down = columns / max(1, width - 1), rows / max(1, height - 1)
    waves = [0.5 + 0.5 * np.sin(3 * across + phase) * np.cos(2 * down - phase) for phase in (0.3, 1.4, 2.6)]
    alpha = np.clip(3 * across - 1, 0, 1)
    return np.rint(np.dstack([*waves, alpha]) * 65535).astype(np.uint16)


def eighth(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples / 257).astype(np.uint8)


def by_pillow(mode: str, **options: object) -> Callable[[Path, np.ndarray], None]:
    """Writes in a mode of Pillow."""

    def write(path: Path, samples: np.ndarray) -> None:
        source = eighth(samples)
        if mode in {"P", "P;A"}:
            image = Image.fromarray(source[..., :3]).quantize(16)
            if mode == "P;A":
                image.info["transparency"] = bytes(range(0, 256, 17))
        elif mode == "LA":
            image = Image.fromarray(np.ascontiguousarray(source[..., [0, 3]]))
        elif mode == "RGBA":
            image = Image.fromarray(source)
        elif mode == "L":
            image = Image.fromarray(source[..., 0])
        else:
            image = Image.fromarray(np.ascontiguousarray(source[..., :3])).convert(mode)
        image.save(path, **options)

    return write


def write_deep_png(channels: int) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, samples: np.ndarray) -> None:
        path.write_bytes(png_16_bit(pick(samples, channels), {1: 0, 2: 4, 3: 2, 4: 6}[channels]))

    return write


def write_deep_tiff(channels: int, **options: object) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, samples: np.ndarray) -> None:
        layers = pick(samples, channels)
        if options.get("planarconfig") == "separate":
            layers = np.moveaxis(layers, 2, 0)
        tifffile.imwrite(
            path,
            layers if channels > 1 else layers[..., 0],
            photometric="rgb" if channels >= 3 else "minisblack",
            extrasamples=("unassalpha",) if channels in {2, 4} else None,
            **{"planarconfig": "contig" if channels > 1 else None, "metadata": None, **options},
        )

    return write


def by_tifffile(**options: object) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, samples: np.ndarray) -> None:
        tifffile.imwrite(path, eighth(samples)[..., :3].copy(), photometric="rgb", metadata=None, **options)

    return write


def write_planes(path: Path, samples: np.ndarray) -> None:
    """Planes of colour, and a fourth that is no transparency."""
    tifffile.imwrite(
        path,
        np.moveaxis(eighth(samples), 2, 0),
        photometric="rgb",
        planarconfig="separate",
        extrasamples=("unspecified",),
        metadata=None,
    )


def write_avif_10(path: Path, samples: np.ndarray) -> None:
    path.write_bytes(
        imagecodecs.avif_encode(np.rint(samples[..., :3] / 65535 * 1023).astype(np.uint16), 100, bitspersample=10)
    )


def write_heic(channels: int, bits: int = 8) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, samples: np.ndarray) -> None:
        layers = pick(samples if bits == 16 else eighth(samples), channels)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels] + (";16" if bits == 16 else "")
        pillow_heif.from_bytes(mode, layers.shape[1::-1], layers.tobytes()).save(path, quality=100, chroma=444)

    return write


def write_jxl(channels: int, bits: int = 8) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, samples: np.ndarray) -> None:
        layers = pick(samples if bits == 16 else eighth(samples), channels)
        path.write_bytes(imagecodecs.jpegxl_encode(layers if channels > 1 else layers[..., 0], lossless=True))

    return write


def pick(samples: np.ndarray, channels: int) -> np.ndarray:
    return np.ascontiguousarray(samples[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]])


KINDS = (
    Kind("png-1", "png", 1, by_pillow("1")),
    Kind("png-l", "png", 1, by_pillow("L")),
    Kind("png-la", "png", 2, by_pillow("LA")),
    Kind("png-rgb", "png", 3, by_pillow("RGB"), large=True),
    Kind("png-rgba", "png", 4, by_pillow("RGBA")),
    Kind("png-p", "png", 3, by_pillow("P")),
    Kind("png-pa", "png", 4, by_pillow("P;A")),
    Kind("png-l16", "png", 1, write_deep_png(1), 16),
    Kind("png-la16", "png", 2, write_deep_png(2), 16),
    Kind("png-rgb16", "png", 3, write_deep_png(3), 16),
    Kind("png-rgba16", "png", 4, write_deep_png(4), 16, large=True),
    Kind("jpg-l", "jpg", 1, by_pillow("L", quality=95)),
    Kind("jpg-rgb", "jpg", 3, by_pillow("RGB", quality=95), large=True),
    Kind("jpg-cmyk", "jpg", 3, by_pillow("CMYK", quality=95)),
    Kind("webp-rgb", "webp", 3, by_pillow("RGB", quality=95), large=True),
    Kind("webp-rgba", "webp", 4, by_pillow("RGBA", lossless=True, exact=True)),
    Kind("tif-1", "tif", 1, by_pillow("1", compression="group4")),
    Kind("tif-l", "tif", 1, by_pillow("L")),
    Kind("tif-la", "tif", 2, by_pillow("LA")),
    Kind("tif-rgb", "tif", 3, by_pillow("RGB", compression="tiff_lzw")),
    Kind("tif-rgba", "tif", 4, by_pillow("RGBA"), large=True),
    Kind("tif-p", "tif", 3, by_pillow("P")),
    Kind("tif-cmyk", "tif", 3, by_pillow("CMYK")),
    Kind("tif-l16", "tif", 1, write_deep_tiff(1, byteorder=">"), 16),
    Kind("tif-la16", "tif", 2, write_deep_tiff(2), 16),
    Kind("tif-rgb16", "tif", 3, write_deep_tiff(3, compression="lzw", predictor=True), 16, large=True),
    Kind("tif-rgb16-planes", "tif", 3, write_deep_tiff(3, planarconfig="separate", bigtiff=True), 16),
    Kind("tif-rgba16-tiles", "tif", 4, write_deep_tiff(4, compression="zlib", tile=(16, 16)), 16),
    Kind("avif-l", "avif", 1, by_pillow("L", quality=95)),
    Kind("avif-rgb", "avif", 3, by_pillow("RGB", quality=95), large=True),
    Kind("avif-rgba", "avif", 4, by_pillow("RGBA", quality=95)),
    Kind("avif-rgb10", "avif", 3, write_avif_10, 16),
    Kind("heic-l", "heic", 1, write_heic(1)),
    Kind("heic-rgb", "heic", 3, write_heic(3)),
    Kind("heic-rgba", "heic", 4, write_heic(4)),
    Kind("heic-rgb10", "heic", 3, write_heic(3, 16), 16),
    Kind("jxl-l", "jxl", 1, write_jxl(1)),
    Kind("jxl-la", "jxl", 2, write_jxl(2)),
    Kind("jxl-rgb", "jxl", 3, write_jxl(3)),
    Kind("jxl-rgba", "jxl", 4, write_jxl(4)),
    Kind("jxl-rgb16", "jxl", 3, write_jxl(3, 16), 16),
    Kind("tif-rgb-planes-extra", "tif", 3, write_planes),
    Kind("tif-rgb-zstd", "tif", 3, by_tifffile(compression="zstd")),
    Kind("tif-rgb-webp", "tif", 3, by_tifffile(compression="webp", compressionargs={"level": 101})),
    Kind("tif-rgb-jxl", "tif", 3, by_tifffile(compression="jpegxl")),
    Kind("tif-rgb-lerc", "tif", 3, by_tifffile(compression="lerc")),
    Kind("gif-p", "gif", 3, by_pillow("P")),
    Kind("bmp-l", "bmp", 1, by_pillow("L")),
    Kind("bmp-rgb", "bmp", 3, by_pillow("RGB"), large=True),
    Kind("bmp-p", "bmp", 3, by_pillow("P")),
)
