"""GAN loss, relativistic, and the training of its discriminator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.discriminator import FEATURES, make_discriminator
from adaptsr_cli.training.optimizer import JointOptimizer
from adaptsr_cli.training.optimizer_state import put_moments, read_moments

# Of the discriminator only; held through the run. Five times Real-ESRGAN's: it has hundreds of steps, not hundreds of
# thousands.
LEARNING_RATE: Final = 5e-4
BETAS: Final = (0.5, 0.99)

_WEIGHTS: Final = "weights/"
_ADAM: Final = "adam/"

Reduce = Callable[[Sequence[Tensor]], None]


class Adversary:
    """A discriminator and its optimiser.

    Between the steps the discriminator is in eval mode and needs no gradients: judging an image leaves no trace in
    it, however often it is done, and costs no memory for gradients of its weights.

    Args:
        device: Where to compute.
        seed: Of the discriminator's weights.
        features: Channels of the discriminator.
    """

    def __init__(self, *, device: torch.device, seed: int, features: int = FEATURES) -> None:
        self._discriminator = make_discriminator(seed, features).to(device).requires_grad_(False)
        self._parameters = list(self._discriminator.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, lr=LEARNING_RATE, betas=BETAS, fused=device.type == "cuda")

    @property
    def params(self) -> int:
        """Number of the discriminator's parameters."""
        return sum(parameter.numel() for parameter in self._parameters)

    def generator_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Loss of the generator: how much less real than the true images its images are taken for, place by place.

        The truth of the very place is what to be compared with: whatever it shows, the judgement of it drops out.

        Args:
            sr: (B, 3, H, W) float32, not clamped.
            hr: The same shape, float32 in [0, 1].

        Returns:
            A scalar, the mean of softplus(D(hr) - D(sr)); log 2 where the discriminator cannot tell.

        Source: Jolicoeur-Martineau 2019, The relativistic discriminator (RpGAN).
        """
        with torch.no_grad():
            real = self._discriminator(hr)
        return softplus(real - self._discriminator(sr)).mean()

    def train_step(self, sr: Tensor, hr: Tensor, reduce: Reduce) -> dict[str, Tensor]:
        """Take one optimiser step of the discriminator.

        Args:
            sr: (B, 3, H, W) float32 without a graph, this process's share.
            hr: (B, 3, H, W) float32 in [0, 1].
            reduce: Replaces gradients of means over the share by those of means over the batch, in place.

        Returns:
            Its loss, the mean of softplus(D(sr) - D(hr)); log 2 where it cannot tell.
        """
        self._discriminator.train().requires_grad_(True)
        self._optimizer.zero_grad(set_to_none=True)
        made, real = self._discriminator(torch.cat([sr, hr])).chunk(2)  # (B, 1, H / 2, W / 2) each
        loss = softplus(made - real).mean()
        torch.autograd.backward(loss)
        reduce([parameter.grad for parameter in self._parameters if parameter.grad is not None])
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._discriminator.eval().requires_grad_(False)
        return {"discriminator": loss.detach()}

    def state(self) -> dict[str, Tensor]:
        """Copies on the CPU: weights, vectors of the spectral norms, moments of Adam."""
        weights = {
            f"{_WEIGHTS}{key}": tensor.detach().cpu().clone()
            for key, tensor in self._discriminator.state_dict().items()
        }
        return {**weights, **read_moments(self._as_joint(), self._parameters)}

    def load(self, state: Mapping[str, Tensor], place: str) -> None:
        """Put a saved state back.

        Raises:
            ArtifactError: A tensor is missing, too many or of another shape.
        """
        weights = {key.removeprefix(_WEIGHTS): t for key, t in state.items() if key.startswith(_WEIGHTS)}
        moments = {key: tensor for key, tensor in state.items() if key.startswith(_ADAM)}
        own = self._discriminator.state_dict()
        fits = weights.keys() == own.keys() and all(weights[key].shape == own[key].shape for key in own)
        if not fits or len(weights) + len(moments) != len(state):
            raise ArtifactError(f"{place}: the discriminator's state is damaged", "start again with `force`")
        put_moments(self._as_joint(), self._parameters, moments, place)
        self._discriminator.load_state_dict(weights)

    def _as_joint(self) -> JointOptimizer:
        return JointOptimizer({"adam": self._optimizer})
