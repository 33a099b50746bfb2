"""NIQE, a no-reference measure of how far a picture is from natural photographs.

Own code; with the published parameters (``niqe``) it gives the authors' scores within 0.6 %
(``benchmarks/metrics_golden.py``). They may not be copied, so the package has statistics of its own (``niqe_own``).
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv2d

from adaptsr_cli.errors import CheckpointError, DataError
from adaptsr_cli.metrics.fidelity import grey

Plane = NDArray[np.float64]

NAME: Final = "niqe"
ORIGINAL_FILE: Final = "niqe_pris_params.npz"  # as BasicSR calls it
OWN_FILE: Final = Path(__file__).with_name("niqe_parameters.npz")
BLOCK_PX: Final = 96
_FEATURES: Final = 36
_WINDOW_PX: Final = 7
_SIGMA_PX: Final = 7 / 6
_NOISE: Final = 1e-9  # of rounding, some 1e-15; anything from 1e-13 to 1e-9 gives the same scores
_SHARP_SHARE: Final = 0.75
_NEIGHBOURS: Final = ((0, 1), (1, 0), (1, 1), (1, -1))
_SHAPES: Final = np.arange(0.2, 10.001, 0.001)


@dataclass(frozen=True)
class NaturalScenes:
    """What the features of undisturbed photographs are like.

    Attributes:
        mean: (36,).
        covariance: (36, 36).
    """

    mean: Plane
    covariance: Plane


class Niqe:
    """The natural image quality evaluator; lower is more like an undisturbed photograph.

    Conventions of the authors' code: ``rgb2gray``, rounded; blocks of 96 px from the upper left corner, what does not
    fill a block left out; the second scale by MATLAB's bicubic with antialiasing. BasicSR takes Y of BT.601 (16 to 235)
    in place of grey, which moves scores by up to 4 %. No border is left out but the protocol's; BasicSR's examples cut
    4 px, which papers do not always say.

    In flat areas the authors' coefficients are the rounding noise of a sum, whose signs decide which side of a fitted
    distribution a pixel counts to; the sums of two programs differ there, and scores by up to 5 %. Here they are zero.

    Without `ORIGINAL_FILE` in the weights folder the comparison is with statistics of our own, of other photographs
    than the authors': such scores are called ``niqe_own``, and must not be set beside those in papers. With it they are
    called ``niqe``.

    Args:
        weights_dir: Where `ORIGINAL_FILE` may lie.

    Attributes:
        key: The metric, as in reports.

    Raises:
        CheckpointError: The file is there but holds something else.

    Source: Mittal, Soundararajan and Bovik 2013, Making a "completely blind" image quality analyzer.
    """

    def __init__(self, *, weights_dir: Path) -> None:
        original = weights_dir / ORIGINAL_FILE
        self.key = NAME if original.is_file() else f"{NAME}_own"
        self._natural = read_natural_scenes(original if original.is_file() else OWN_FILE)

    def __call__(self, image: np.ndarray) -> float | None:
        """The distance of a picture from undisturbed photographs.

        Args:
            image: (H, W, 3) uint8.

        Returns:
            0 or more; None where the picture has too little in it to tell, such as a single colour.

        Raises:
            DataError: There is no room for two blocks.
        """
        height, width = image.shape[:2]
        if (height // BLOCK_PX) * (width // BLOCK_PX) < 2:
            raise DataError(
                f"an image of {width}x{height} px is too small for {NAME}, which needs two blocks of {BLOCK_PX} px",
                f"use images of at least {2 * BLOCK_PX}x{BLOCK_PX} px, or leave this metric out",
            )
        features, _ = block_features(image)
        whole = features[np.isfinite(features).all(axis=1)]
        if len(whole) < 2:
            return None
        difference = self._natural.mean - np.nanmean(features, axis=0)
        pooled = (self._natural.covariance + np.cov(whole, rowvar=False)) / 2
        return math.sqrt(max(0.0, float(difference @ np.linalg.pinv(pooled) @ difference)))


def read_natural_scenes(path: Path) -> NaturalScenes:
    """Statistics from an ``.npz`` file with ``mu_pris_param`` and ``cov_pris_param``, as BasicSR's.

    Raises:
        CheckpointError: They are missing or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            mean, covariance = (
                np.asarray(content[key], dtype=np.float64) for key in ("mu_pris_param", "cov_pris_param")
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} holds no statistics for {NAME}: {error}", "fetch it again") from error
    if mean.size != _FEATURES or covariance.shape != (_FEATURES, _FEATURES):
        raise CheckpointError(f"{path} holds statistics of another shape than {NAME}'s", "fetch it again")
    return NaturalScenes(mean.reshape(_FEATURES), covariance)


def fit_natural_scenes(photographs: Iterable[np.ndarray]) -> NaturalScenes:
    """Mean and covariance over the sharpest blocks of undisturbed photographs.

    Args:
        photographs: (H, W, 3) uint8 each.
    """
    kept = []
    for photograph in photographs:
        features, sharpness = block_features(photograph)
        kept.append(features[sharpness > _SHARP_SHARE * sharpness.max()])
    blocks = np.concatenate(kept)
    blocks = blocks[np.isfinite(blocks).all(axis=1)]
    return NaturalScenes(blocks.mean(axis=0), np.cov(blocks, rowvar=False))


def block_features(image: np.ndarray) -> tuple[Plane, Plane]:
    """The features of every block of a picture.

    Args:
        image: (H, W, 3) uint8, at least a block high and wide.

    Returns:
        (blocks, 36), NaN where a block is without contrast; and (blocks,), the mean local contrast of each.
    """
    rows, columns = (side // BLOCK_PX for side in image.shape[:2])
    plane = grey(image[: rows * BLOCK_PX, : columns * BLOCK_PX])
    scales = []
    sharpness = np.zeros(rows * columns)
    for side in (BLOCK_PX, BLOCK_PX // 2):
        normalised, contrast = normalise(plane)
        scales.append(np.stack([_features_of(block) for block in _blocks(normalised, side)]))
        if side == BLOCK_PX:
            sharpness = _blocks(contrast, side).mean(axis=(1, 2))
            plane = halve(plane)
    return np.concatenate(scales, axis=1), sharpness


def _blocks(plane: Plane, side: int) -> Plane:
    """(r side, c side) -> (r c, side, side), row by row."""
    rows, columns = (size // side for size in plane.shape)
    return plane.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def normalise(plane: Plane) -> tuple[Plane, Plane]:
    """Subtract the local mean and divides by the local contrast (plus 1): MSCN coefficients.

    Args:
        plane: (H, W) in [0, 255].

    Returns:
        The coefficients and the contrast, (H, W) each.
    """
    mean = _blur(plane)
    contrast = np.sqrt(np.abs(_blur(plane * plane) - mean * mean))
    coefficients = (plane - mean) / (contrast + 1)
    return np.where(np.abs(coefficients) < _NOISE, 0.0, coefficients), contrast


def _blur(plane: Plane) -> Plane:
    """The mean under a 7x7 Gaussian, the edge repeated."""
    offsets = torch.arange(_WINDOW_PX, dtype=torch.float64) - _WINDOW_PX // 2
    line = torch.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    line = line / line.sum()
    around = torch.from_numpy(np.pad(plane, _WINDOW_PX // 2, mode="edge"))[None, None]
    blurred: Plane = conv2d(conv2d(around, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))[0, 0].numpy()
    return blurred


def halve(plane: Plane) -> Plane:
    """MATLAB's ``imresize(plane, 0.5)``: Keys' cubic stretched over eight pixels, the edge mirrored.

    Args:
        plane: (H, W), both even.

    Returns:
        (H / 2, W / 2), float64.
    """
    near, far = np.array([0.25, 0.75]), np.array([1.25, 1.75])  # of the taps from the new pixel's centre, halved
    inner = 1.5 * near**3 - 2.5 * near**2 + 1
    outer = -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2
    half = np.concatenate([inner, outer]) / 2
    taps = torch.from_numpy(np.concatenate([half[::-1], half]))
    around = torch.from_numpy(np.pad(plane, 3, mode="symmetric"))[None, None]
    rows = conv2d(around, taps.view(1, 1, -1, 1), stride=(2, 1))
    halved: Plane = conv2d(rows, taps.view(1, 1, 1, -1), stride=(1, 2))[0, 0].numpy()
    return halved


def _features_of(block: Plane) -> list[float]:
    """18 numbers of one block of MSCN coefficients: of themselves, and of their products with four neighbours."""
    shape, left, right = fit_asymmetric(block)
    features = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        shape, left, right = fit_asymmetric(block * np.roll(block, shift, axis=(0, 1)))
        mean = (right - left) * math.exp(math.lgamma(2 / shape) - math.lgamma(1 / shape)) if shape > 0 else math.nan
        features += [shape, mean, left, right]
    return features


def fit_asymmetric(values: Plane) -> tuple[float, float, float]:
    """Fits an asymmetric generalised Gaussian by moments; a symmetric one has two equal scales.

    Args:
        values: Any shape.

    Returns:
        Shape (2 for a Gaussian, 1 for a Laplacian), left and right scale; NaN where one side is empty.
    """
    left, right = values[values < 0], values[values > 0]
    if not left.size or not right.size:
        return math.nan, math.nan, math.nan
    left_std, right_std = math.sqrt(float(np.mean(left**2))), math.sqrt(float(np.mean(right**2)))
    ratio = left_std / right_std
    moment = float(np.mean(np.abs(values)) ** 2 / np.mean(values**2))
    wanted = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(_SHAPES[np.argmin((_MOMENTS - wanted) ** 2)])
    scale = math.exp((math.lgamma(1 / shape) - math.lgamma(3 / shape)) / 2)
    return shape, left_std * scale, right_std * scale


def _moment_of(shape: float) -> float:
    """(E|x|)^2 / E x^2 of a generalised Gaussian."""
    return math.exp(2 * math.lgamma(2 / shape) - math.lgamma(1 / shape) - math.lgamma(3 / shape))


_MOMENTS: Final = np.array([_moment_of(shape) for shape in _SHAPES])
