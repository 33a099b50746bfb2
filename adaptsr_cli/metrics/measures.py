"""Metrics besides PSNR and SSIM, computed where their weights are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from adaptsr_cli.errors import DataError
from adaptsr_cli.metrics.dists import Dists
from adaptsr_cli.metrics.fidelity import colour_difference
from adaptsr_cli.metrics.multiscale import MIN_PX, ms_ssim
from adaptsr_cli.metrics.niqe import NAME as NIQE
from adaptsr_cli.metrics.niqe import Niqe
from adaptsr_cli.metrics.perceptual import PREFIX, Lpips, MissingWeights
from adaptsr_cli.metrics.protocol import Protocol
from adaptsr_cli.metrics.without_reference import METRICS as ESTIMATES
from adaptsr_cli.metrics.without_reference import score_alone

WITHOUT_REFERENCE: Final = (NIQE, *ESTIMATES)


class Measures:
    """The metrics among those asked for that `score_images` does not compute itself.

    Args:
        metrics: Names from `adaptsr_cli.metrics.protocol.METRICS`; ``psnr`` and ``ssim`` are passed over.
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
        self._metrics = tuple(metrics)
        self._protocol = protocol
        self._networks: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {}
        self._niqe = Niqe(weights_dir=weights_dir) if NIQE in metrics else None
        for name in metrics:
            try:
                if name.startswith(PREFIX):
                    self._networks[name] = Lpips(name.removeprefix(PREFIX), weights_dir=weights_dir, device=device)
                elif name == Dists.name:
                    self._networks[name] = Dists(weights_dir=weights_dir, device=device)
            except MissingWeights as missing:
                self.skipped[name] = missing.message

    def score(self, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
        """The scores of an output against its reference.

        Args:
            first: (H, W, 3) uint8, without the border.
            second: The same shape.

        Returns:
            Metric key -> value; keys that cannot be told of this image are left out.

        Raises:
            DataError: The images are too small for one of the metrics.
        """
        scores: dict[str, float] = {}
        if "ms_ssim" in self._metrics:
            scores |= self._score_scales(first, second)
        if "delta_e" in self._metrics:
            scores["delta_e_2000"] = colour_difference(first, second)
        scores |= {name: measure(first, second) for name, measure in self._networks.items()}
        return scores | self.score_alone(first)

    def score_alone(self, image: np.ndarray) -> dict[str, float]:
        """The scores that need no reference.

        Args:
            image: (H, W, 3) uint8.

        Returns:
            Metric key -> value; keys that cannot be told of this image are left out.

        Raises:
            DataError: The image is too small for one of the metrics.
        """
        scores: dict[str, float] = {}
        if self._niqe is not None and (distance := self._niqe(image)) is not None:
            scores[self._niqe.key] = distance
        return scores | score_alone(image, self._metrics)

    def _score_scales(self, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
        if min(first.shape[:2]) < MIN_PX:
            raise DataError(
                f"an image of {first.shape[1]}x{first.shape[0]} px is too small for ms_ssim, "
                f"which needs {MIN_PX} px inside the border",
                "use larger images or leave this metric out",
            )
        scores = {"ms_ssim_rgb": ms_ssim(first, second)}
        if self._protocol.scores_luma:
            return {"ms_ssim_y": ms_ssim(self._protocol.luma(first), self._protocol.luma(second)), **scores}
        return scores
