"""Where to begin: matching features of two photographs, and a homography that most of them agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray, Float32Array
from adaptsr_cli.registration.opencv import find_features, find_homography, match_features, shrink
from adaptsr_cli.registration.planes import Points

_RATIO: Final = 0.8
_FEWEST_INLIERS: Final = 24
_LEAST_SHARE: Final = 0.12
# (long side of the wide photograph, pixels of the tele photograph per pixel of the other as they are compared)
_ATTEMPTS_PX: Final = (1800, 3200, 6000)
_MOST_ZOOM: Final = 12.0
# Of the tele frame's diagonal: the distortion of both lenses may leave this much off a homography.
_DISTORTION_SHARE: Final = 0.006


@dataclass(frozen=True)
class Start:
    """What the features say.

    Attributes:
        matrix: (3, 3), wide pixels to tele pixels.
        wide: (n, 2) matches in the wide photograph, px, wrong ones included.
        tele: (n, 2) the same in the tele photograph.
        agreeing: Which of them follow the homography, (n,).
        zoom: Tele pixels per wide pixel.
    """

    matrix: AnyArray
    wide: Points
    tele: Points
    agreeing: AnyArray
    zoom: float


def find_start(wide: Float32Array, tele: Float32Array, zoom_hint: float | None) -> tuple[Start | None, int]:
    """Match two photographs, first much reduced; where that is not enough, at finer steps.

    Args:
        wide: Brightness of the photograph with the wider angle.
        tele: Brightness of the other.
        zoom_hint: Tele pixels per wide pixel as EXIF says; None where it does not.

    Returns:
        The best start, None where too little agrees; and how many matches agreed at best.
    """
    most = 0
    for long_px in _ATTEMPTS_PX:
        factor_wide = max(1.0, max(wide.shape) / long_px)
        zoom = zoom_hint if zoom_hint is not None else 2.0
        # A tele photograph at about 1.5 times the wide one's density: SIFT bridges what is left, and noise is averaged.
        factor_tele = max(1.0, factor_wide * zoom / 1.5, max(tele.shape) / 2400)
        found = _match(wide, tele, factor_wide, factor_tele)
        if found is not None:
            agreeing = int(found.agreeing.sum())
            most = max(most, agreeing)
            if agreeing >= _FEWEST_INLIERS and agreeing >= _LEAST_SHARE * len(found.agreeing) and _is_sane(found, tele):
                return found, agreeing
        if factor_wide == 1.0 and factor_tele == 1.0:
            break
    return None, most


def _match(wide: Float32Array, tele: Float32Array, factor_wide: float, factor_tele: float) -> Start | None:
    small_wide, small_tele = shrink(wide, factor_wide), shrink(tele, factor_tele)
    places_wide, words_wide = find_features(small_wide)
    places_tele, words_tele = find_features(small_tele)
    index_tele, index_wide = match_features(words_tele, words_wide, _RATIO)
    points_wide = _enlarge(places_wide[index_wide], small_wide, wide)
    points_tele = _enlarge(places_tele[index_tele], small_tele, tele)
    # From tele to wide, so that the bound is in pixels of the coarser side.
    diagonal = float(np.hypot(*small_wide.shape))
    within_px = max(3.0, _DISTORTION_SHARE * diagonal / 2) * factor_wide
    matrix, agreeing = find_homography(points_tele, points_wide, within_px)
    if matrix is None or abs(np.linalg.det(matrix)) < 1e-12:
        return None
    forward = np.linalg.inv(matrix)
    forward = forward / forward[2, 2]
    return Start(forward, points_wide, points_tele, agreeing, _zoom(forward, points_wide[agreeing]))


def _enlarge(places: Points, small: Float32Array, whole: Float32Array) -> Points:
    """Places in a shrunk image as places in the whole one; pixel centres, hence the halves."""
    factor = np.array([whole.shape[1] / small.shape[1], whole.shape[0] / small.shape[0]])
    enlarged: Points = (places + 0.5) * factor - 0.5
    return enlarged


def _zoom(matrix: AnyArray, points: Points) -> float:
    if len(points) == 0:
        return 1.0
    x, y = points.mean(axis=0)
    w = matrix[2] @ np.array([x, y, 1.0])
    # |d(tele)/d(wide)| of a homography is det(H) / w^3.
    return float(np.sqrt(abs(np.linalg.det(matrix) / w**3)))


def _is_sane(start: Start, tele: Float32Array) -> bool:
    """Whether a camera could have done this: no mirror, no extreme zoom, little perspective."""
    corners = np.array([[0, 0], [tele.shape[1], 0], [tele.shape[1], tele.shape[0]], [0, tele.shape[0]]], np.float64)
    back = np.linalg.inv(start.matrix)
    mapped = np.c_[corners, np.ones(4)] @ back.T
    if (mapped[:, 2] * np.sign(mapped[0, 2]) <= 0).any():
        return False
    quad = mapped[:, :2] / mapped[:, 2:]
    sides = np.roll(quad, -1, axis=0) - quad
    turns = sides[:, 0] * np.roll(sides, -1, axis=0)[:, 1] - sides[:, 1] * np.roll(sides, -1, axis=0)[:, 0]
    lengths = np.hypot(*sides.T)
    opposite = max(lengths[0] / lengths[2], lengths[2] / lengths[0], lengths[1] / lengths[3], lengths[3] / lengths[1])
    return bool((turns > 0).all() and opposite < 1.5 and 1 / _MOST_ZOOM < start.zoom < _MOST_ZOOM)
