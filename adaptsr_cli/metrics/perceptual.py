"""LPIPS on images in [0, 1], with weights from a folder, never from the network; the only file that imports lpips."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from adaptsr_cli.errors import AdaptsrError, CheckpointError
from adaptsr_cli.io.checkpoints import read_checkpoint
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.metrics.feature_distance import FeatureDistance

PREFIX: Final = "lpips_"
DOWNLOADS: Final = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class Trunk:
    """An ImageNet network whose features a perceptual distance compares.

    Attributes:
        stem: How its file names begin.
        sha256_start: First digits of the SHA-256 of torchvision's file, which are part of its name.
        least_px: The smallest image side that survives its poolings.
    """

    stem: str
    sha256_start: str
    least_px: int

    @property
    def file_name(self) -> str:
        """The name that torchvision gives the file."""
        return f"{self.stem}-{self.sha256_start}.pth"


TRUNKS: Final[Mapping[str, Trunk]] = {
    "squeeze": Trunk("squeezenet1_1", "b8a52dc0", 17),
    "alex": Trunk("alexnet-owt", "7be5be79", 31),
    "vgg": Trunk("vgg16", "397923af", 16),
}


class MissingWeights(AdaptsrError):
    """The trunk of a perceptual metric is not in the weights folder; all other metrics still work."""


class Lpips(FeatureDistance):
    """The learned perceptual distance (LPIPS 0.1) with one trunk.

    Args:
        net: ``squeeze``, ``alex`` or ``vgg``.
        weights_dir: Where the trunk lies, under torchvision's name or as ``<stem>*.safetensors``. The linear layers
            on top come with the lpips package.
        device: Where to compute.

    Attributes:
        name: The metric with its net, as in reports: ``lpips_squeeze``.
        least_px: The smallest image side.
        trunk_path: The file that the trunk was read from.

    Raises:
        MissingWeights: There is no trunk in the folder; the message says which file to put where.
        CheckpointError: The trunk is damaged or another network.

    Source: Zhang et al. 2018, The unreasonable effectiveness of deep features as a perceptual metric.
    """

    def __init__(self, net: str, *, weights_dir: Path, device: torch.device | None = None) -> None:
        trunk = TRUNKS[net]
        self.name = PREFIX + net
        self.least_px = trunk.least_px
        super().__init__(device or torch.device("cpu"))
        self.trunk_path = find_trunk(self.name, trunk, weights_dir)
        self._model: Any = _build(net, self.trunk_path).to(self._device)

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> the trunk's features of each layer, every pixel's of length 1."""
        from lpips import normalize_tensor

        # The networks want [-1, 1]; the conversion is done here and nowhere else.
        layers = self._model.net(self._model.scaling_layer(images * 2 - 1))
        return [normalize_tensor(layer) for layer in layers]

    def compare(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """The distances, (B,), of two batches whose features these are."""
        layers = zip(self._model.lins, first, second, strict=True)
        distances: Tensor = sum(  # (B, 1) of each layer
            (linear((x - y) ** 2).mean(dim=(2, 3)) for linear, x, y in layers),
            start=torch.zeros((), device=self._device),
        )
        return distances.flatten()


def find_trunk(metric: str, trunk: Trunk, weights_dir: Path) -> Path:
    """The file with a trunk's weights, torchvision's own before others.

    Args:
        metric: Who needs it, for messages.
        trunk: The network.
        weights_dir: Where it lies.

    Raises:
        MissingWeights: It is not there.
        CheckpointError: The file under torchvision's name is not torchvision's.
    """
    official = weights_dir / trunk.file_name
    if official.is_file():
        digest = file_sha256(official)
        if not digest.startswith(trunk.sha256_start):
            raise CheckpointError(
                f"{official} is damaged: its SHA-256 starts with {digest[:8]}, not {trunk.sha256_start}",
                f"fetch it again from {DOWNLOADS}/{trunk.file_name}",
            )
        return official
    others = sorted(weights_dir.glob(f"{trunk.stem}*.safetensors"))
    if not others:
        raise MissingWeights(
            f"skipped: put file {trunk.file_name} (SHA-256 starts with {trunk.sha256_start}) at {official}",
            f"{metric} needs it; it is at {DOWNLOADS}/{trunk.file_name}",
        )
    return others[0]


def _build(net: str, trunk_path: Path) -> nn.Module:
    """LPIPS in eval with the trunk from `trunk_path` and the linear layers of the lpips package."""
    trunk = read_checkpoint(trunk_path).tensors
    with _quiet_construction():
        import lpips  # takes seconds, so only who uses it pays

        # pretrained: the package would read its own file unsafely; not pnet_rand: torchvision would download.
        model: nn.Module = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    linear = read_checkpoint(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth").tensors
    state: dict[str, Tensor] = {}
    for key, own in model.state_dict().items():
        # net.slice2.3.weight here is features.3.weight in torchvision; lins.0.* is lin0.* once more
        source = re.sub(r"^net\.slice\d+\.", "features.", key)
        source = re.sub(r"^lins\.(\d+)\.", r"lin\1.", source)
        given = own if source.startswith("scaling_layer.") else trunk.get(source, linear.get(source))
        if given is None or given.shape != own.shape:
            fault = "missing" if given is None else "of another shape"
            raise CheckpointError(
                f"{trunk_path} does not fit LPIPS ({net}): {source} is {fault}",
                f"it must hold torchvision's {TRUNKS[net].stem}",
            )
        state[key] = given
    model.load_state_dict(state)  # copies into float32, whatever the file holds
    return model.eval().requires_grad_(False)


@contextmanager
def _quiet_construction() -> Iterator[None]:
    """Keep torchvision's remarks on lpips' old-style calls, and the random initial weights, to themselves."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "The parameter 'pretrained' is deprecated", UserWarning)
        warnings.filterwarnings("ignore", "Arguments other than a weight enum", UserWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="lpips")
        yield
