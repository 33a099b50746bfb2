"""DISTS on images in [0, 1].

Own code, since the published packages download their weights; here they come from a folder and never from the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu

from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.checkpoints import read_checkpoint
from adaptsr_cli.metrics.feature_distance import FeatureDistance
from adaptsr_cli.metrics.perceptual import TRUNKS, MissingWeights, find_trunk

WEIGHTS_FILE: Final = "DISTS_alpha_beta_weights.pt"
_WEIGHTS_SHA256: Final = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"
_WEIGHTS_PLACE: Final = "https://github.com/dingkeyan93/DISTS (DISTS_pytorch/weights.pt)"

# VGG-16's convolutions by their places in torchvision's `features`; before all stages but the first it is pooled.
_STAGES: Final = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_CHANNELS: Final = (3, 64, 128, 256, 512, 512)  # the image itself, and what each stage gives
_STABLE: Final = 1e-6
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


class Dists(FeatureDistance):
    """Deep image structure and texture similarity: SSIM's two terms on the features of VGG-16.

    Images are compared at their own size; the authors' demonstration makes them smaller first.

    Args:
        weights_dir: Where VGG-16 lies, under torchvision's name or as ``vgg16*.safetensors``, and the published weights
            of the channels, as `WEIGHTS_FILE`.
        device: Where to compute.

    Attributes:
        name: The metric, as in reports.
        least_px: The smallest image side.

    Raises:
        MissingWeights: One of the files is not there; the message says which to put where.
        CheckpointError: One of them is damaged or something else.

    Source: Ding et al. 2020, Image quality assessment: unifying structure and texture similarity.
    """

    name = "dists"
    least_px = 16  # one pixel is left after four poolings

    def __init__(self, *, weights_dir: Path, device: torch.device | None = None) -> None:
        super().__init__(device or torch.device("cpu"))
        weights = weights_dir / WEIGHTS_FILE
        trunk_path = find_trunk(self.name, TRUNKS["vgg"], weights_dir)
        if not weights.is_file():
            raise MissingWeights(
                f"skipped: put file {WEIGHTS_FILE} (tested with SHA-256 {_WEIGHTS_SHA256}) at {weights}",
                f"{self.name} needs it; it is at {_WEIGHTS_PLACE}",
            )
        self._texture, self._structure = _read_channel_weights(weights, self._device)
        self._trunk = _Trunk(read_checkpoint(trunk_path).tensors, trunk_path).to(self._device)

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> the images and the features of the five stages."""
        stages: list[Tensor] = self._trunk(images)
        return stages

    def compare(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """The distances, (B,), of two batches whose features these are."""
        similarity = torch.zeros(len(first[0]), device=self._device)
        pairs = zip(first, second, self._texture, self._structure, strict=True)
        for x, y, texture, structure in pairs:
            mean_x, mean_y = x.mean(dim=(2, 3)), y.mean(dim=(2, 3))  # (B, C)
            variance_x = (x - mean_x[..., None, None]).square().mean(dim=(2, 3))
            variance_y = (y - mean_y[..., None, None]).square().mean(dim=(2, 3))
            covariance = (x * y).mean(dim=(2, 3)) - mean_x * mean_y
            textures = (2 * mean_x * mean_y + _STABLE) / (mean_x**2 + mean_y**2 + _STABLE)
            structures = (2 * covariance + _STABLE) / (variance_x + variance_y + _STABLE)
            similarity = similarity + (texture * textures + structure * structures).sum(dim=1)
        return 1 - similarity


class _Trunk(nn.Module):
    """VGG-16 up to each stage's last activation, with pooling that passes no aliases."""

    def __init__(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        super().__init__()
        before = 3
        for stage, places in enumerate(_STAGES, start=1):
            for place in places:
                for part, shape in (("weight", (_CHANNELS[stage], before, 3, 3)), ("bias", (_CHANNELS[stage],))):
                    key = f"features.{place}.{part}"
                    given = tensors.get(key)
                    if given is None or given.shape != shape:
                        fault = "missing" if given is None else "of another shape"
                        raise CheckpointError(
                            f"{path} does not fit DISTS: {key} is {fault}", "it must hold torchvision's vgg16"
                        )
                    self.register_buffer(f"{part}_{place}", given.float())
                before = _CHANNELS[stage]
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> itself, and the features of the five stages."""
        features = [images]
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        for stage, places in enumerate(_STAGES):
            if stage:
                x = _pool(x)
            for place in places:
                x = relu(conv2d(x, self.get_buffer(f"weight_{place}"), self.get_buffer(f"bias_{place}"), padding=1))
            features.append(x)
        return features


def _pool(x: Tensor) -> Tensor:
    """The root of the mean square under a 3x3 Hann window, at every second pixel.

    (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)).
    """
    line = x.new_tensor((0.25, 0.5, 0.25))
    window = torch.outer(line, line).expand(x.shape[1], 1, 3, 3)
    mean_square = conv2d(pad(x.square(), (1, 1, 1, 1)), window, stride=2, groups=x.shape[1])
    return (mean_square + 1e-12).sqrt()


def _read_channel_weights(path: Path, device: torch.device) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The weights of texture and structure by stage, (C,) each, all together adding up to 1."""
    tensors = read_checkpoint(path).tensors
    parts = [tensors.get(key) for key in ("alpha", "beta")]
    total = sum(_CHANNELS)
    if any(part is None or part.numel() != total for part in parts):
        raise CheckpointError(
            f"{path} does not hold DISTS' weights: alpha and beta of {total} channels are wanted",
            f"fetch it again from {_WEIGHTS_PLACE}",
        )
    alpha, beta = (part.flatten().float().to(device) for part in parts if part is not None)
    whole = alpha.sum() + beta.sum()
    return (alpha / whole).split(_CHANNELS), (beta / whole).split(_CHANNELS)
