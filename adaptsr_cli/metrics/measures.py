"""The table of metrics besides PSNR and SSIM, which belong to the protocol, and their computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from adaptsr_cli.artifacts.metrics import METRICS
from adaptsr_cli.errors import DataError
from adaptsr_cli.metrics.dists import Dists
from adaptsr_cli.metrics.fidelity import colour_differences
from adaptsr_cli.metrics.multiscale import MIN_PX, ms_ssim
from adaptsr_cli.metrics.niqe import Niqe
from adaptsr_cli.metrics.perceptual import Lpips, MissingWeights
from adaptsr_cli.metrics.protocol import Protocol
from adaptsr_cli.metrics.without_reference import score_alone


@dataclass(frozen=True)
class MeasureContext:
    """Everything that a metric may need to be set up.

    Attributes:
        protocol: Whether there is Y, and how it is computed.
        weights_dir: Where the weights of networks and the statistics of NIQE lie.
        device: Where to compute; None: the metric's own choice.
    """

    protocol: Protocol
    weights_dir: Path
    device: torch.device | None


Measure = Callable[[np.ndarray, np.ndarray | None], Mapping[str, float]]
"""Scores an output, (H, W, 3) uint8, against its reference of the same shape, or alone: metric key -> value. Keys that
cannot be told of this image are left out. Raises DataError where the image is too small."""


def _make_ms_ssim(context: MeasureContext) -> Measure:
    def measure(first: np.ndarray, second: np.ndarray | None) -> dict[str, float]:
        assert second is not None
        if min(first.shape[:2]) < MIN_PX:
            raise DataError(
                f"an image of {first.shape[1]}x{first.shape[0]} px is too small for ms_ssim, "
                f"which needs {MIN_PX} px inside the border",
                "use larger images or leave this metric out",
            )
        scores = {"ms_ssim_rgb": ms_ssim(first, second)}
        if context.protocol.scores_luma:
            return {"ms_ssim_y": ms_ssim(context.protocol.luma(first), context.protocol.luma(second)), **scores}
        return scores

    return measure


def _compare(key: str, distance: Callable[[np.ndarray, np.ndarray], float]) -> Measure:
    """Make a measure of a distance of two images."""

    def measure(first: np.ndarray, second: np.ndarray | None) -> dict[str, float]:
        assert second is not None
        return {key: distance(first, second)}

    return measure


def _measure_colours(first: np.ndarray, second: np.ndarray | None) -> dict[str, float]:
    assert second is not None
    return colour_differences(first, second)


def _make_lpips(net: str, context: MeasureContext) -> Measure:
    network = Lpips(net, weights_dir=context.weights_dir, device=context.device)
    return _compare(network.name, network)


def _make_dists(context: MeasureContext) -> Measure:
    return _compare(Dists.name, Dists(weights_dir=context.weights_dir, device=context.device))


def _make_niqe(context: MeasureContext) -> Measure:
    niqe = Niqe(weights_dir=context.weights_dir)

    def measure(first: np.ndarray, _second: np.ndarray | None) -> dict[str, float]:
        distance = niqe(first)
        return {} if distance is None else {niqe.key: distance}

    return measure


def _make_alone(name: str, _context: MeasureContext) -> Measure:
    return lambda first, _second: score_alone(first, (name,))


MEASURES: Final[dict[str, Callable[[MeasureContext], Measure]]] = {
    "ms_ssim": _make_ms_ssim,
    "delta_e": lambda _context: _measure_colours,
    "lpips_squeeze": partial(_make_lpips, "squeeze"),
    "lpips_alex": partial(_make_lpips, "alex"),
    "lpips_vgg": partial(_make_lpips, "vgg"),
    "dists": _make_dists,
    "niqe": _make_niqe,
    "sharpness": partial(_make_alone, "sharpness"),
    "noise": partial(_make_alone, "noise"),
}
"""Sets a metric up, by its name in `adaptsr_cli.artifacts.metrics.METRICS`; raises `MissingWeights` where it cannot."""


class Measures:
    """The metrics among those asked for that `score_images` does not compute itself.

    Args:
        metrics: Names from `adaptsr_cli.artifacts.metrics.METRICS`; ``psnr`` and ``ssim`` are passed over.
        protocol: Whether MS-SSIM has Y.
        weights_dir: Where the networks of LPIPS and DISTS lie, and maybe NIQE's original statistics.
        device: Where to compute these.

    Attributes:
        skipped: Metric -> why it is not computed: which file to put where.

    Raises:
        CheckpointError: A network is there but damaged or another one.
    """

    def __init__(
        self, metrics: Sequence[str], protocol: Protocol, weights_dir: Path, device: torch.device | None = None
    ) -> None:
        self.skipped: dict[str, str] = {}
        self._measures: dict[str, Measure] = {}
        context = MeasureContext(protocol, weights_dir, device)
        for name in metrics:
            try:
                if name in MEASURES:
                    self._measures[name] = MEASURES[name](context)
            except MissingWeights as missing:
                self.skipped[name] = missing.message

    def score(self, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
        """Score an output against its reference.

        Args:
            first: (H, W, 3) uint8, without the border.
            second: The same shape.

        Returns:
            Metric key -> value, in the order in which the metrics were asked for; keys that cannot be told of this
            image are left out.

        Raises:
            DataError: The images are too small for one of the metrics.
        """
        scores: dict[str, float] = {}
        for measure in self._measures.values():
            scores |= measure(first, second)
        return scores

    def score_alone(self, image: np.ndarray) -> dict[str, float]:
        """Score an output by the metrics that need no reference.

        Args:
            image: (H, W, 3) uint8.

        Returns:
            Metric key -> value; keys that cannot be told of this image are left out.

        Raises:
            DataError: The image is too small for one of the metrics.
        """
        scores: dict[str, float] = {}
        for name, measure in self._measures.items():
            if not METRICS[name].needs_reference:
                scores |= measure(image, None)
        return scores
