"""Distances of images by what a network makes of them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from adaptsr_cli.errors import DataError
from adaptsr_cli.runtime import exact_products


class FeatureDistance(ABC):
    """A distance of a network's features of two images; 0 for equal ones, larger is worse.

    Args:
        device: Where to compute.

    Attributes:
        name: The metric, as in reports.
        least_px: The smallest image side.
    """

    name: str
    least_px: int

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._reference: tuple[np.ndarray, list[Tensor]] | None = None

    @abstractmethod
    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float32 in [0, 1], on the metric's device -> what of them is compared."""

    @abstractmethod
    def compare(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """The distances, (B,), of two batches whose features these are."""

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """The distances of a batch, differentiable.

        Args:
            first: (B, 3, H, W) float32 in [0, 1], on the metric's device.
            second: The same shape.

        Returns:
            (B,) float32.
        """
        return self.compare(self.features(first), self.features(second))

    def __call__(self, first: np.ndarray, second: np.ndarray) -> float:
        """The distance of an image from a reference, whose features are kept: every model is compared with it.

        Args:
            first: (H, W, 3) uint8, or float in [0, 1].
            second: The same shape, the reference.

        Raises:
            DataError: The images are too small for the metric.
        """
        if min(first.shape[:2]) < self.least_px:
            raise DataError(
                f"an image of {first.shape[1]}x{first.shape[0]} px is too small for {self.name}, "
                f"which needs {self.least_px} px",
                "use larger images or leave this metric out",
            )
        with torch.inference_mode(), exact_products(self._device):
            features = self.features(_to_tensor(first, self._device))
            return float(self.compare(features, self._reference_features(second)).item())

    def _reference_features(self, image: np.ndarray) -> list[Tensor]:
        known = self._reference
        # by content: where an array lies, another one may lie a moment later
        if known is not None and known[0].dtype == image.dtype and np.array_equal(known[0], image):
            return known[1]
        features = self.features(_to_tensor(image, self._device))
        self._reference = (image.copy(), features)
        return features


def _to_tensor(image: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 or float in [0, 1] to (1, 3, H, W) float32 in [0, 1] on the device."""
    levels = 255.0 if image.dtype == np.uint8 else 1.0
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))[None])
    return tensor.to(device, torch.float32) / levels
