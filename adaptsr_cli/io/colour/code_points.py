"""Code points of H.273 (CICP, nclx): colours told by four numbers, as PNG, AVIF and HEIF do."""

from __future__ import annotations

from typing import Final

import numpy as np

from adaptsr_cli.io.colour.icc import SRGB_PARAMETERS, make_grey_profile, make_rgb_profile

CodePoints = tuple[int, int, int, int]
"""Primaries, transfer, matrix, and whether the numbers use the full range."""

PQ: Final = 16
HLG: Final = 18
LINEAR: Final = 8
SRGB: Final = 13
_UNSPECIFIED: Final = 2
_BT709: Final = 1
# BT.709, BT.601, BT.2020 name the camera's curve; screens and browsers show all of them, and what names none, as sRGB.
_LIKE_SRGB: Final = frozenset({1, 2, 6, 14, 15, SRGB})
_GAMMAS: Final = {4: 2.2, 5: 2.8, 17: 2.6}
_D65: Final = (0.3127, 0.3290)
_PRIMARIES: Final = {  # white, then red, green and blue
    1: (_D65, ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))),
    4: ((0.310, 0.316), ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08))),
    5: (_D65, ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))),
    6: (_D65, ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))),
    7: (_D65, ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))),
    9: (_D65, ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
    11: ((0.314, 0.351), ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
    12: (_D65, ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
}
_PRIMARY_NAMES: Final = {
    1: "BT.709", 2: "not said", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3",
}  # fmt: skip
_TRANSFER_NAMES: Final = {
    1: "BT.709", 2: "not said", 4: "gamma 2.2", 6: "BT.601", LINEAR: "linear", SRGB: "sRGB", 14: "BT.2020",
    15: "BT.2020", PQ: "PQ", HLG: "HLG",
}  # fmt: skip


def settle(points: CodePoints) -> CodePoints | None:
    """The code points as they mean something for RGB; None for sRGB, which needs no description.

    Matrix and range are of how a file stores the samples, and gone once they are decoded.
    """
    primaries = _BT709 if points[0] == _UNSPECIFIED else points[0]
    transfer = SRGB if points[1] in _LIKE_SRGB else points[1]
    return None if (primaries, transfer) == (_BT709, SRGB) else (primaries, transfer, 0, 1)


def name_hdr(points: CodePoints | None) -> str:
    """What kind of HDR code points stand for; empty if for none."""
    return {PQ: "HDR (PQ)", HLG: "HDR (HLG)"}.get(points[1], "") if points else ""


def describe(points: CodePoints) -> str:
    """Code points for people, such as ``BT.2020, PQ``."""
    primaries = _PRIMARY_NAMES.get(points[0], f"primaries {points[0]}")
    return f"{primaries}, {_TRANSFER_NAMES.get(points[1], f'transfer {points[1]}')}"


def is_known(points: CodePoints) -> bool:
    """Whether a profile can be made of them, or they are HDR, which is kept as it is."""
    return points[0] in _PRIMARIES and (points[1] in {SRGB, LINEAR, PQ, HLG} or points[1] in _GAMMAS)


def make_profile(points: CodePoints, *, grey: bool) -> bytes:
    """An ICC profile for settled code points that are no HDR.

    Args:
        points: Code points that `is_known`.
        grey: Make one for grey.
    """
    gamma = 1.0 if points[1] == LINEAR else _GAMMAS.get(points[1])
    curve = SRGB_PARAMETERS if gamma is None else (gamma,)
    if grey:
        return make_grey_profile(curve)
    white, primaries = _PRIMARIES[points[0]]
    return make_rgb_profile(white, np.array(primaries), curve)
