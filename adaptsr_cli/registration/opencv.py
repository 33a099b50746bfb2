"""The only door to OpenCV, which comes with the extra ``pair``."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np

from adaptsr_cli.arrays import AnyArray, Float32Array
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.registration.planes import Mask, Points

Kernel = Literal["linear", "cubic", "lanczos4"]

_MOST_FEATURES: Final = 6000
_MOST_REMAP_PX: Final = 32_000  # OpenCV keeps sides of the result in 16 bits


def require_opencv() -> None:
    """Make sure that OpenCV can be used.

    Raises:
        AdaptsrError: It is not installed.
    """
    _opencv()


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise AdaptsrError(
            "pairs are registered by OpenCV, which is not installed", "run: pip install 'adaptsr[pair]'"
        ) from error
    return cv2


def opencv_version() -> str:
    """Its version, for the record."""
    return str(_opencv().__version__)


def use_threads(count: int) -> None:
    """How many threads OpenCV may use; 0 for one a core."""
    _opencv().setNumThreads(count if count > 0 else -1)


def find_features(plane: Float32Array) -> tuple[Points, AnyArray]:
    """SIFT features (Lowe 2004) with square-rooted descriptors (Arandjelovic and Zisserman 2012).

    Returns:
        (n, 2) places and (n, 128) float32 descriptors, the strongest 6,000 at most.
    """
    cv2 = _opencv()
    grey = np.clip(plane + 0.5, 0, 255).astype(np.uint8)
    found, descriptors = cv2.SIFT_create(nfeatures=_MOST_FEATURES).detectAndCompute(grey, None)
    if descriptors is None:
        return np.empty((0, 2)), np.empty((0, 128), np.float32)
    places = np.array([feature.pt for feature in found], np.float64)
    return places, np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))


def match_features(first: AnyArray, second: AnyArray, ratio: float) -> tuple[AnyArray, AnyArray]:
    """Nearest neighbours that are nearer than `ratio` times the second nearest, and so both ways round.

    Returns:
        Indices into both sides, (m,) each.
    """
    if len(first) < 2 or len(second) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    matcher = _opencv().BFMatcher()
    pairs = matcher.knnMatch(first, second, k=2)
    good = [near for near, far in pairs if near.distance < ratio * far.distance]
    # Each feature of the second side only once, for its nearest: several claims to one are no evidence.
    best: dict[int, Any] = {}
    for match in good:
        other = best.get(match.trainIdx)
        if other is None or match.distance < other.distance:
            best[match.trainIdx] = match
    return (
        np.array([match.queryIdx for match in best.values()], np.int64),
        np.array([match.trainIdx for match in best.values()], np.int64),
    )


def find_homography(source: Points, target: Points, within_px: float) -> tuple[AnyArray | None, Mask]:
    """A homography from matches of which many are wrong, by MAGSAC++ (Barath et al. 2020).

    Args:
        source: (n, 2).
        target: (n, 2).
        within_px: The largest error of a right match, in pixels of the target.

    Returns:
        (3, 3) float64 or None, and which matches agree, (n,).
    """
    if len(source) < 4:
        return None, np.zeros(len(source), bool)
    cv2 = _opencv()
    cv2.setRNGSeed(0)  # the same photographs give the same result
    matrix, agreeing = cv2.findHomography(
        source.astype(np.float64), target.astype(np.float64), cv2.USAC_MAGSAC, within_px, None, 5000, 0.9999
    )
    if matrix is None:
        return None, np.zeros(len(source), bool)
    return np.asarray(matrix, np.float64), np.asarray(agreeing).ravel().astype(bool)


def sample(image: AnyArray, places: AnyArray, kernel: Kernel) -> AnyArray:
    """The image at any places; outside of it is 0.

    Args:
        image: (h, w) or (h, w, 3), uint8, uint16 or float32.
        places: (H, W, 2) float32: x and y.
        kernel: How to interpolate.

    Returns:
        (H, W) or (H, W, 3) of the same type.
    """
    cv2 = _opencv()
    flags = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos4": cv2.INTER_LANCZOS4}[kernel]
    x, y = np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])
    sampled: AnyArray = cv2.remap(image, x, y, flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return sampled


def blur(plane: AnyArray, sigma_px: float) -> AnyArray:
    """Gaussian blur; the image is mirrored at its borders."""
    if sigma_px <= 0:
        return plane
    cv2 = _opencv()
    blurred: AnyArray = cv2.GaussianBlur(plane, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return blurred


def filter_separably(image: AnyArray, taps: AnyArray) -> AnyArray:
    """Filter rows and columns by the same symmetric taps; the image is mirrored at its borders."""
    cv2 = _opencv()
    filtered: AnyArray = cv2.sepFilter2D(image, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    return filtered


def shrink(plane: AnyArray, factor: float) -> AnyArray:
    """Shrink by averaging areas; factors up to 1 change nothing."""
    if factor <= 1:
        return plane
    cv2 = _opencv()
    size = max(1, round(plane.shape[1] / factor)), max(1, round(plane.shape[0] / factor))
    shrunk: AnyArray = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    return shrunk


def enlarge_linearly(coarse: AnyArray, factor: int) -> AnyArray:
    """Enlarge a smooth field (h, w, c) by a whole factor, bilinearly between the centres of its cells."""
    cv2 = _opencv()
    size = coarse.shape[1] * factor, coarse.shape[0] * factor
    fine: AnyArray = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return fine


def dilate(mask: Mask, radius_px: int) -> Mask:
    """The mask, grown by a square of that radius."""
    cv2 = _opencv()
    side = 2 * radius_px + 1
    grown: AnyArray = cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8))
    return grown.astype(bool)
