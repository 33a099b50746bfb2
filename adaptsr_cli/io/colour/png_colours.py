"""Colours of a PNG by its chunks gAMA, cHRM, sRGB and cICP."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.io.colour.code_points import CodePoints
from adaptsr_cli.io.colour.icc import SRGB_PARAMETERS, make_grey_profile, make_rgb_profile
from adaptsr_cli.io.png_chunks import list_chunks, read_chunk

_SRGB_GAMMA: Final = 45455
_SRGB_CHROMATICITIES: Final = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_LEAST_GAMMA, _MOST_GAMMA = 1_000, 1_000_000  # exponents from 100 to 0.1
_NEAR_GAMMA: Final = 0.02
_NEAR_POINT: Final = 200  # of 100,000
_WANTED: Final = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP"})


def read_chunks(path: Path) -> dict[bytes, bytes]:
    """The chunks of a PNG that tell of its colours."""
    with path.open("rb") as file:
        return {chunk.kind: read_chunk(file, chunk) for chunk in list_chunks(file) if chunk.kind in _WANTED}


def read_code_points(chunks: dict[bytes, bytes]) -> CodePoints | None:
    """What the chunk cICP says; it takes precedence over all others."""
    content = chunks.get(b"cICP", b"")
    if len(content) != 4:
        return None
    primaries, transfer, matrix, full = content
    return primaries, transfer, matrix, full


def describe(chunks: dict[bytes, bytes]) -> list[str]:
    """Name what the chunks say, such as ``gAMA 0.45455``."""
    words = [name.decode() for name in (b"sRGB", b"cHRM") if name in chunks]
    if len(chunks.get(b"gAMA", b"")) == 4:
        words.append(f"gAMA {struct.unpack('>I', chunks[b'gAMA'])[0] / 100_000:.5f}")
    return words


def make_profile(chunks: dict[bytes, bytes], *, grey: bool) -> bytes | None:
    """A profile of what gAMA and cHRM say; None where that is sRGB, or nothing, or the chunk sRGB says so.

    Raises:
        ValueError: Primaries that are no colours, or a curve that is none.
    """
    if b"sRGB" in chunks:
        return None
    gamma = struct.unpack(">I", chunks[b"gAMA"])[0] if len(chunks.get(b"gAMA", b"")) == 4 else 0
    points = struct.unpack(">8I", chunks[b"cHRM"]) if len(chunks.get(b"cHRM", b"")) == 32 else _SRGB_CHROMATICITIES
    usual_curve = not gamma or abs(gamma / _SRGB_GAMMA - 1) < _NEAR_GAMMA
    usual_points = max(abs(a - b) for a, b in zip(points, _SRGB_CHROMATICITIES, strict=True)) < _NEAR_POINT
    if usual_curve and (usual_points or grey):
        return None
    if gamma and not _LEAST_GAMMA <= gamma <= _MOST_GAMMA:
        raise ValueError("its gamma is none")
    curve = (100_000 / gamma,) if gamma else SRGB_PARAMETERS
    if grey:
        return make_grey_profile(curve)
    white, *primaries = np.array(points).reshape(4, 2) / 100_000
    return make_rgb_profile((float(white[0]), float(white[1])), np.array(primaries), curve)
