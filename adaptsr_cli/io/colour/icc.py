"""ICC profiles: what kind they are, and small ones made for colours that a file describes in another way.

Own code, because Pillow makes no profile but sRGB's, and its doors to lcms do not tell a profile's tone curve.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray

Curve = Callable[[AnyArray], AnyArray]
"""From the numbers in a file to light, both in [0, 1]."""

Matrix = np.ndarray

_HEADER: Final = 128
_D50: Final = (0.9642, 1.0, 0.8249)
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB_PARAMETERS: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""Of sRGB's tone curve: exponent, slope and offset above, slope below, and where they meet."""
_NEARLY_LINEAR: Final = 0.38  # the light of half the numbers: 0.5 of linear ones, 0.38 of gamma 1.4, 0.21 of sRGB


def read_space(icc: bytes) -> str:
    """The colours that a profile is for, such as ``RGB``, ``GRAY`` or ``CMYK``; empty if it is damaged."""
    if len(icc) < _HEADER + 4 or icc[36:40] != b"acsp" or struct.unpack_from(">I", icc)[0] > len(icc):
        return ""
    return icc[16:20].decode("ascii", errors="replace").strip()


def read_description(icc: bytes) -> str:
    """What a profile calls itself; empty where it does not, or is damaged."""
    tag = _find_tag(icc, b"desc") or b""
    try:
        if tag[:4] == b"desc":  # version 2
            text = tag[12 : 12 + struct.unpack_from(">I", tag, 8)[0]].decode("latin-1")
        elif tag[:4] == b"mluc":
            length, offset = struct.unpack_from(">II", tag, 20)
            text = tag[offset : offset + length].decode("utf-16-be", "replace")
        else:
            return ""
    except struct.error:
        return ""
    return text.split("\0")[0].strip()


def read_cicp(icc: bytes) -> tuple[int, int, int, int] | None:
    """The code points of H.273 that a profile gives beside its curves, as those of HDR do."""
    tag = _find_tag(icc, b"cicp")
    if tag is None or len(tag) < 12:
        return None
    primaries, transfer, matrix, full = tag[8:12]
    return primaries, transfer, matrix, full


def is_linear(icc: bytes) -> bool:
    """Whether a profile's numbers are light itself, or nearly so; False where it has no curve."""
    curve = read_curve(icc)
    return curve is not None and float(curve(np.array([0.5]))[0]) > _NEARLY_LINEAR


def read_curve(icc: bytes) -> Curve | None:
    """The tone curve of grey, or else of green; None where the profile has none that is understood."""
    tag = _find_tag(icc, b"kTRC") or _find_tag(icc, b"gTRC")
    if tag is None:
        return None
    try:
        if tag[:4] == b"curv":
            return _read_table(tag)
        if tag[:4] == b"para":
            return _read_parameters(tag)
    except struct.error:
        return None
    return None


def read_luminance(icc: bytes, values: AnyArray) -> AnyArray:
    """What the curve of a grey profile gives, in [0, 1], as light; it is lightness where the profile knows Lab."""
    if icc[20:24] != b"Lab ":
        return values
    root = (100 * values + 16) / 116
    light: AnyArray = np.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2)
    return light


def with_srgb_curve(icc: bytes) -> bytes | None:
    """A profile of the same primaries with sRGB's curve; None where the profile has no primaries (a grey one has none).

    Args:
        icc: A profile of RGB by matrix and curves, or of grey.
    """
    if read_space(icc) == "GRAY":
        return make_grey_profile(SRGB_PARAMETERS)
    columns = [_find_tag(icc, name) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    if any(column is None or len(column) < 20 for column in columns):
        return None
    matrix = np.array([struct.unpack_from(">3i", column, 8) for column in columns if column]).T / 65536
    return _make_rgb_profile(matrix, SRGB_PARAMETERS)


def make_rgb_profile(white: tuple[float, float], primaries: AnyArray, curve: tuple[float, ...]) -> bytes:
    """A profile of RGB.

    Args:
        white: x and y of its white.
        primaries: (3, 2) x and y of red, green and blue.
        curve: An exponent alone, or the five parameters of a curve such as `SRGB_PARAMETERS`.

    Raises:
        ValueError: Primaries that span no colours.
    """
    return _make_rgb_profile(_to_d50(white, primaries), curve)


def make_grey_profile(curve: tuple[float, ...]) -> bytes:
    """A profile of grey by its curve; see `make_rgb_profile`."""
    return _assemble(b"GRAY", [(b"kTRC", _pack_curve(curve))])


def _to_d50(white: tuple[float, float], primaries: AnyArray) -> Matrix:
    """RGB to XYZ under D50, whose white is (1, 1, 1) in RGB: (3, 3)."""
    if min(white[1], *primaries[:, 1]) <= 0:
        raise ValueError("its primaries are no colours")
    points = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    light = np.array([white[0] / white[1], 1, (1 - sum(white)) / white[1]])
    if abs(np.linalg.det(points)) < 1e-6:
        raise ValueError("its primaries are no colours")
    matrix = points * np.linalg.solve(points, light)
    adapted = np.diag((_BRADFORD @ np.array(_D50)) / (_BRADFORD @ light))
    result: Matrix = np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD @ matrix
    return result


def _make_rgb_profile(matrix: Matrix, curve: tuple[float, ...]) -> bytes:
    tags = [(name, _pack_xyz(column)) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)]
    return _assemble(b"RGB ", [*tags, *((name, _pack_curve(curve)) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def _assemble(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    """A profile of version 4 for a display; tags of one content share it, as is the custom."""
    words = [(b"desc", _pack_text("Made by adaptsr")), (b"cprt", _pack_text("No copyright"))]
    tags = [*words, (b"wtpt", _pack_xyz(_D50)), *tags]
    start = _HEADER + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    table, content = struct.pack(">I", len(tags)), b""
    for name, data in tags:
        if data not in places:
            places[data] = start + len(content)
            content += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, places[data], len(data))
    header = bytearray(_HEADER)
    struct.pack_into(">I4sI4s4s4s", header, 0, start + len(content), b"", 0x04300000, b"mntr", space, b"XYZ ")
    struct.pack_into(">6H", header, 24, 2020, 1, 1, 0, 0, 0)
    header[36:40] = b"acsp"
    struct.pack_into(">3i", header, 68, *(round(value * 65536) for value in _D50))
    return bytes(header) + table + content


def _pack_xyz(values: AnyArray | tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _pack_curve(parameters: tuple[float, ...]) -> bytes:
    kind = 0 if len(parameters) == 1 else 3
    numbers = [round(value * 65536) for value in parameters]
    return b"para" + bytes(4) + struct.pack(f">HH{len(numbers)}i", kind, 0, *numbers)


def _pack_text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def _find_tag(icc: bytes, name: bytes) -> bytes | None:
    try:
        for index in range(struct.unpack_from(">I", icc, _HEADER)[0]):
            found, offset, length = struct.unpack_from(">4sII", icc, _HEADER + 4 + 12 * index)
            if found == name:
                return icc[offset : offset + length]
    except struct.error:  # cut off
        pass
    return None


def _read_table(tag: bytes) -> Curve:
    count = struct.unpack_from(">I", tag, 8)[0]
    if count == 0:
        return lambda values: values
    numbers = np.array(struct.unpack_from(f">{count}H", tag, 12))
    if count == 1:
        return lambda values: values ** (numbers[0] / 256)
    return lambda values: np.interp(values, np.linspace(0, 1, count), numbers / 65535)


def _read_parameters(tag: bytes) -> Curve:
    """A curve by formula; see the ICC specification, `parametricCurveType`."""
    kind = struct.unpack_from(">H", tag, 8)[0]
    count = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}[kind] if kind <= 4 else 1
    g, *rest = (value / 65536 for value in struct.unpack_from(f">{count}i", tag, 12))
    a, b, c, d, e, f = (*rest, *(0.0,) * (6 - len(rest))) if rest else (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if kind in {1, 2}:  # below the zero of the base, the offset alone
        offset, a_zero = (c if kind == 2 else 0.0), (-b / a if a else 0.0)
        return lambda values: np.where(values >= a_zero, np.maximum(a * values + b, 0) ** g + offset, offset)
    return lambda values: np.where(values >= d, np.maximum(a * values + b, 0) ** g + e, c * values + f)
