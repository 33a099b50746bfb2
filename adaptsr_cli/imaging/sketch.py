"""Sketches of photographs: a few hundred local features by which copies, crops, flips and rescaled versions are found.

A feature is an extremum of differences of Gaussians (Lowe 2004) with the signs of the low DCT coefficients of the patch
round it: 48 bits that gain, offset and moderate blur, noise, JPEG and rescaling leave mostly as they are. Mirroring a
patch flips the signs of odd coefficients, transposing it exchanges them, so a mirrored or turned photograph needs no
sketch of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final, NamedTuple, Self

import numpy as np
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter

from adaptsr_cli.arrays import BoolArray, Float32Array, FloatArray, Int64Array, Uint8Array
from adaptsr_cli.imaging.luma import LUMA
from adaptsr_cli.io.images import resize_bicubic

VERSION: Final = 1
"""Of the bytes; those of another one are made again."""

SIDE_PX: Final = 320
"""Longer side of the reduced photograph that is sketched."""
MOST_FEATURES: Final = 240

_LEVELS: Final = 3  # scales an octave
_FIRST_SIGMA: Final = 1.6
_LEAST_SIDE_PX: Final = 20
_LEAST_CONTRAST: Final = 1.0  # grey levels of a difference of Gaussians
_PATCH: Final = 8
_SPACING: Final = 1.25  # of the samples of a patch, in sigmas
_COEFFICIENTS: Final = 7  # a side of the DCT that is kept

# (u, v) of the 48 bits, those of low frequency first: they are wrong least often.
_ORDER: Final = sorted(
    ((u, v) for u in range(_COEFFICIENTS) for v in range(_COEFFICIENTS) if (u, v) != (0, 0)),
    key=lambda at: (at[0] + at[1], at),
)
BITS: Final = len(_ORDER)
_ROWS, _COLUMNS = np.array(_ORDER).T
_WEIGHTS: Final = np.left_shift(np.uint64(1), np.arange(BITS, dtype=np.uint64))
_ODD_ROWS: Final = np.uint64(sum(1 << bit for bit, (row, _) in enumerate(_ORDER) if row % 2))
_ODD_COLUMNS: Final = np.uint64(sum(1 << bit for bit, (_, column) in enumerate(_ORDER) if column % 2))

_TRANSPOSED: Final = tuple(_ORDER.index((column, row)) for row, column in _ORDER)  # the bit that each one becomes

Codes = np.ndarray[Any, np.dtype[np.uint64]]


class Orientation(NamedTuple):
    """One of the eight ways in which a copy may lie: transposed, then mirrored.

    Attributes:
        transposed: Rows and columns are exchanged.
        up_down: Then the rows are reversed.
        left_right: And the columns.
    """

    transposed: bool = False
    up_down: bool = False
    left_right: bool = False

    @property
    def is_mirrored(self) -> bool:
        """Whether no turn comes to the same."""
        return sum(self) % 2 == 1

    @property
    def is_turned(self) -> bool:
        """Whether it is a turn, by a quarter or by half."""
        return sum(self) == 2

    @property
    def is_own_inverse(self) -> bool:
        """Whether doing it twice changes nothing: all but the quarter turns."""
        return not self.transposed or self.up_down == self.left_right

    def of_image(self, image: Float32Array) -> Float32Array:
        """The (h, w) image, (w, h) where it is transposed."""
        image = image.T if self.transposed else image
        image = image[::-1] if self.up_down else image
        return image[:, ::-1] if self.left_right else image

    def of_codes(self, codes: Codes) -> Codes:
        """The codes that the same features have in the image that lies so."""
        if self.transposed:
            # A bit at a time: all 48 of millions of features would take gigabytes.
            original, codes = codes, np.zeros_like(codes)
            for weight, partner in zip(_WEIGHTS, _TRANSPOSED, strict=True):
                codes |= np.where(original & _WEIGHTS[partner], weight, np.uint64(0))
        mask = (_ODD_ROWS if self.up_down else np.uint64(0)) ^ (_ODD_COLUMNS if self.left_right else np.uint64(0))
        return codes ^ mask


ORIENTATIONS: Final = tuple(Orientation(*flags) for flags in product((False, True), repeat=3))
"""As it is first, the transposed ones last."""


@dataclass(frozen=True)
class Sketch:
    """The features of one photograph, the strongest first; the first of all stands for the whole, with scale 0.

    Attributes:
        height_px: Of the reduced photograph, in whose pixels the rest is given.
        width_px: The same.
        places: (features, 3) float32: y, x and sigma.
        codes: (features,) uint64.
    """

    height_px: int
    width_px: int
    places: Float32Array
    codes: Codes

    def oriented(self, orientation: Orientation) -> Self:
        """The sketch of the photograph that lies so."""
        height, width, places = self.height_px, self.width_px, self.places.copy()
        if orientation.transposed:
            height, width, places = width, height, places[:, [1, 0, 2]]
        if orientation.up_down:
            places[:, 0] = height - 1 - places[:, 0]
        if orientation.left_right:
            places[:, 1] = width - 1 - places[:, 1]
        return replace(self, height_px=height, width_px=width, places=places, codes=orientation.of_codes(self.codes))

    def to_bytes(self) -> bytes:
        """The sketch in about 14 bytes a feature."""
        head = np.array([VERSION, self.height_px, self.width_px, len(self.codes)], "<u2")
        return head.tobytes() + np.rint(self.places * 64).astype("<u2").tobytes() + self.codes.astype("<u8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """What `to_bytes` wrote; None where that was another version or is cut off."""
        head = np.frombuffer(data[:8], "<u2")
        if len(head) < 4 or head[0] != VERSION or len(data) != 8 + 14 * int(head[3]):
            return None
        count = int(head[3])
        places = np.frombuffer(data[8 : 8 + 6 * count], "<u2").reshape(count, 3).astype(np.float32)
        places = places / np.float32(64)
        codes = np.frombuffer(data[8 + 6 * count :], "<u8").astype(np.uint64)
        return cls(int(head[1]), int(head[2]), places, codes)


def reduce_photograph(image: Uint8Array) -> Float32Array:
    """The luma of a photograph at the size at which it is sketched.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (h, w) float32 in [0, 255], the longer side `SIDE_PX` at most.
    """
    height, width = image.shape[:2]
    factor = SIDE_PX / max(height, width)
    if factor < 1:
        image = resize_bicubic(image, max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(image.astype(np.float32) @ LUMA.astype(np.float32), np.float32)


def make_sketch(image: Uint8Array) -> Sketch:
    """The sketch of a photograph.

    Args:
        image: (H, W, 3) uint8.
    """
    grey = reduce_photograph(image)
    height, width = grey.shape
    found = [_whole(grey), *_find_features(grey)]
    places = np.concatenate([places for places, _, _ in found])
    patches = np.concatenate([patches for _, patches, _ in found])
    strengths = np.concatenate([strengths for _, _, strengths in found])
    order = np.argsort(-strengths, kind="stable")[: MOST_FEATURES + 1]
    return Sketch(height, width, places[order], _encode(patches[order]))


_Found = tuple[Float32Array, FloatArray, FloatArray]
"""Places (n, 3), patches (n, 8, 8) and strengths (n,)."""


def _whole(grey: Float32Array) -> _Found:
    """The photograph as one patch, which is kept whatever its strength."""
    height, width = grey.shape
    rows, columns = (np.linspace(0, length, _PATCH + 1) for length in (height, width))
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = grey.cumsum(0, dtype=np.float64).cumsum(1)
    corners = map_coordinates(sums, np.stack(np.meshgrid(rows, columns, indexing="ij")), order=1)
    patch = np.diff(np.diff(corners, axis=0), axis=1)
    place = np.array([[height / 2, width / 2, 0.0]], np.float32)
    return place, patch[None], np.array([np.inf])


def _find_features(grey: Float32Array) -> list[_Found]:
    """The features of all octaves."""
    found: list[_Found] = []
    current = gaussian_filter(grey, (_FIRST_SIGMA**2 - 0.25) ** 0.5, mode="nearest", truncate=3)
    factor, step = 1.0, 2 ** (1 / _LEVELS)
    while min(current.shape) >= _LEAST_SIDE_PX:
        levels = [current]
        for level in range(_LEVELS + 2):
            sigma = _FIRST_SIGMA * step**level * (step**2 - 1) ** 0.5
            levels.append(gaussian_filter(levels[-1], sigma, mode="nearest", truncate=3))
        stack = np.stack(levels)
        found.append(_find_in_octave(stack, factor))
        current, factor = levels[_LEVELS][::2, ::2], 2 * factor
    return found


def _find_in_octave(stack: Float32Array, factor: float) -> _Found:
    """Extrema of the differences of neighbouring levels, whose patches lie within the photograph.

    Args:
        stack: (levels, h, w) float32, blurred more and more.
        factor: Pixels of the photograph per pixel of the octave.
    """
    differences = np.diff(stack, axis=0)
    _, height, width = differences.shape
    strong = np.abs(differences) > _LEAST_CONTRAST
    extreme = (differences == maximum_filter(differences, 3)) | (differences == minimum_filter(differences, 3))
    chosen: BoolArray = strong & extreme
    chosen[0] = chosen[-1] = False
    level, y, x = np.nonzero(chosen)
    sigma = _FIRST_SIGMA * 2 ** (level / _LEVELS)
    reach = _SPACING * (_PATCH - 1) / 2 * sigma
    inside = (y >= reach) & (y <= height - 1 - reach) & (x >= reach) & (x <= width - 1 - reach)
    level, y, x, sigma = level[inside], y[inside], x[inside], sigma[inside]
    patches = _sample(stack, level, y, x, sigma)
    places = (np.stack([y, x, sigma], axis=1) * factor).astype(np.float32)
    return places, patches, np.abs(differences[level, y, x])


def _sample(stack: Float32Array, level: Int64Array, y: Int64Array, x: Int64Array, sigma: FloatArray) -> FloatArray:
    """The patches round features, (n, 8, 8)."""
    offsets = (np.arange(_PATCH) - (_PATCH - 1) / 2) * _SPACING
    down, across = np.meshgrid(offsets, offsets, indexing="ij")
    shape = (len(level), _PATCH, _PATCH)
    rows = y[:, None, None] + sigma[:, None, None] * down
    columns = x[:, None, None] + sigma[:, None, None] * across
    planes = np.broadcast_to(level[:, None, None], shape)
    sampled = map_coordinates(stack, np.stack([planes, rows, columns]).reshape(3, -1), order=1, mode="nearest")
    return np.asarray(sampled.reshape(shape))


def _encode(patches: FloatArray) -> Codes:
    """The signs of the low DCT coefficients of patches as bits, (n,) uint64."""
    signs = dctn(patches.astype(np.float64), axes=(1, 2), norm="ortho")[:, _ROWS, _COLUMNS] > 0
    return np.asarray((signs * _WEIGHTS).sum(axis=1), np.uint64)
