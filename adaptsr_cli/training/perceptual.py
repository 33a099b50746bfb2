"""Perceptual distances for training, by the networks found in the weights folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from adaptsr_cli.errors import CheckpointError, UsageError
from adaptsr_cli.io.checkpoints import read_checkpoint
from adaptsr_cli.metrics.perceptual import DOWNLOADS, TRUNKS, Lpips, MissingWeights, Trunk, find_trunk

_VGG19: Final = Trunk("vgg19", "dcbb9e9d", 16)

# The last convolutions of the five stages, before their activation, and what each counts (Real-ESRGAN, Section 4.1).
_LAYER_WEIGHTS: Final = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
# Of ImageNet in RGB, which torchvision's networks were trained with.
_MEAN_RGB: Final = (0.485, 0.456, 0.406)
_STD_RGB: Final = (0.229, 0.224, 0.225)

_VGG_WEIGHT: Final = 1.0
_LPIPS_WEIGHT: Final = 0.1

# LPIPS nets in the order of how well their features serve as a loss.
_LPIPS_NETS: Final = ("vgg", "alex", "squeeze")


class PerceptualDistance(Protocol):
    """A differentiable distance of two batches of images.

    Attributes:
        name: What it is made of, with the file of its network.
        weight: What it counts beside an L1 loss of weight 1.
    """

    name: str
    weight: float

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The distance.

        Args:
            sr: (B, 3, H, W) float32, not clamped; gradients flow into it.
            hr: (B, 3, H, W) float32 in [0, 1].

        Returns:
            A scalar, the mean over the batch.

        Raises:
            UsageError: The images are too small for the network.
        """


def load_perceptual_distance(weights_dir: Path, device: torch.device) -> PerceptualDistance:
    """Load the best perceptual distance for which the weights folder has the network.

    Features of VGG19 as in Real-ESRGAN; else LPIPS with VGG16, AlexNet or SqueezeNet, in this order.

    Args:
        weights_dir: Where the networks lie, under torchvision's names or as ``<stem>*.safetensors``.
        device: Where to compute.

    Raises:
        MissingWeights: None of them is there.
        CheckpointError: The first one found is damaged or another network.
    """
    try:
        return VggFeatures(find_trunk("the VGG loss", _VGG19, weights_dir), device)
    except MissingWeights:
        pass
    for net in _LPIPS_NETS:
        try:
            return LpipsDistance(net, weights_dir, device)
        except MissingWeights:
            continue
    trunks = [_VGG19, *(TRUNKS[net] for net in _LPIPS_NETS)]
    choices = ", ".join(f"{trunk.file_name} (SHA-256 starts with {trunk.sha256_start})" for trunk in trunks)
    raise MissingWeights(
        f"the perceptual `objective` needs one of these files in {weights_dir}: {choices}",
        f"download one from {DOWNLOADS}/FILE, or use `objective` fidelity, which needs none",
    )


class LpipsDistance:
    """LPIPS as a loss.

    Args:
        net: ``vgg``, ``alex`` or ``squeeze``.
        weights_dir: Where its trunk lies.
        device: Where to compute.

    Raises:
        MissingWeights: The trunk is not there.
        CheckpointError: The trunk is damaged or another network.
    """

    weight = _LPIPS_WEIGHT

    def __init__(self, net: str, weights_dir: Path, device: torch.device) -> None:
        self._lpips = Lpips(net, weights_dir=weights_dir, device=device)
        self.name = f"LPIPS ({net}, {self._lpips.trunk_path.name})"

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """See `PerceptualDistance`."""
        _require_size(sr, self._lpips.least_px)
        with torch.no_grad():
            real = self._lpips.features(hr)
        return self._lpips.compare(self._lpips.features(sr), real).mean()


class VggFeatures:
    """L1 distance of the features of VGG19 at five depths.

    Args:
        path: torchvision's ``vgg19``, or a file with the same keys.
        device: Where to compute.

    Raises:
        CheckpointError: The file is damaged or another network.

    Source: Johnson et al. 2016, Perceptual losses; layers and weights of Wang et al. 2021, Real-ESRGAN.
    """

    weight = _VGG_WEIGHT

    def __init__(self, path: Path, device: torch.device) -> None:
        self.name = f"VGG19 features ({path.name})"
        self._layers = _read_vgg19(path).to(device)
        self._mean = torch.tensor(_MEAN_RGB, device=device).view(3, 1, 1)
        self._std = torch.tensor(_STD_RGB, device=device).view(3, 1, 1)

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """See `PerceptualDistance`."""
        _require_size(sr, _VGG19.least_px)
        first, second = (sr - self._mean) / self._std, (hr - self._mean) / self._std
        total = sr.new_zeros(())
        for index, layer in enumerate(self._layers):
            first = layer(first)
            with torch.no_grad():
                second = layer(second)
            if index in _LAYER_WEIGHTS:
                total = total + _LAYER_WEIGHTS[index] * l1_loss(first, second)
        return total


def _read_vgg19(path: Path) -> nn.Sequential:
    """The convolutions of VGG19 up to the last one that is compared, frozen, in fp32."""
    from torchvision.models import vgg19  # takes a second, so only who uses it pays

    with torch.device("meta"):  # no random weights are drawn that would be thrown away
        layers: nn.Sequential = vgg19(weights=None).features[: max(_LAYER_WEIGHTS) + 1]
    tensors = read_checkpoint(path).tensors
    state: dict[str, Tensor] = {}
    for key, own in layers.state_dict().items():
        given = tensors.get(f"features.{key}")
        if given is None or given.shape != own.shape:
            fault = "missing" if given is None else "of another shape"
            raise CheckpointError(
                f"{path} does not fit the VGG loss: features.{key} is {fault}", "it must hold torchvision's vgg19"
            )
        state[key] = given.float()
    layers.load_state_dict(state, assign=True)
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # it would overwrite the features that are compared
    return layers.eval().requires_grad_(False)


def _require_size(sr: Tensor, least_px: int) -> None:
    height, width = sr.shape[-2:]
    if min(height, width) < least_px:
        raise UsageError(
            f"patches of {width}x{height} px are too small for the perceptual `objective`, which needs {least_px} px",
            "use a larger `patch`",
        )
