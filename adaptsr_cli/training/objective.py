"""Training objectives: pixel losses, and the perceptual objective of AdaptSR-GAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol, assert_never

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss

from adaptsr_cli.artifacts.train_config import ObjectiveName
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.adversarial import Adversary, Reduce
from adaptsr_cli.training.grid_loss import grid_loss
from adaptsr_cli.training.judged import judged, random_window
from adaptsr_cli.training.perceptual import PerceptualDistance, load_perceptual_distance
from adaptsr_cli.units import format_params

FFT_WEIGHT: Final = 0.05
CHARBONNIER_EPSILON: Final = 1e-3
GRID_WEIGHT: Final = 1.0
"""Of `grid_loss`, beside L1. More takes more of the grid away, but PSNR too: on seven held-out iPhone pairs a weight of
3 cost 0.05 dB (one seed)."""

# Of the perceptual objective, beside L1; chosen on five held-out iPhone pairs, by one seed.
GAN_WEIGHT: Final = 0.005
LOW_WEIGHT: Final = 1.0
PERCEPTUAL_GRID_WEIGHT: Final = 3.0
# Less than a patch, so that there is something to be shifted.
_DISTANCE_SHARE: Final = 7 / 8
_GAN_PX: Final = 64
_DISTANCE, _GENERATOR, _DISCRIMINATOR = range(3)

# The first part of a perceptual run teaches the discriminator but does not listen to it yet.
WARM_UP_SHARE: Final = 0.1
MAX_WARM_UP: Final = 1000

_DISTANCE_KEY: Final = "perceptual_distance"
_WARM_UP_KEY: Final = "warm_up"
_ADVERSARY: Final = "adversary/"


@dataclass(frozen=True)
class ObjectiveOutput:
    """The loss of one batch.

    Attributes:
        total: Scalar, what the adapter minimises.
        parts: Detached scalars by name, unweighted, for the log.
    """

    total: Tensor
    parts: dict[str, Tensor]


class Objective(Protocol):
    """What the training loop needs of an objective.

    All losses are means over the batch, so that those of its shares, weighted by their size, add up. Everything is
    computed in fp32, whatever autocast says outside.

    Attributes:
        name: As in ``--objective``.
        seeks_psnr: Whether a better adapter has a higher PSNR. Where it has not, the last adapter is the one to keep,
            not that of the highest PSNR, which would be one that has hardly been trained.
        is_steady: Whether every iteration computes the same, and `after_step` nothing.
    """

    name: ObjectiveName
    seeks_psnr: bool
    is_steady: bool

    def losses(self, sr: Tensor, hr: Tensor, iteration: int) -> ObjectiveOutput:
        """The loss to be minimised.

        Args:
            sr: (B, 3, H, W) network output, any float type, not clamped.
            hr: (B, 3, H, W) float32 in [0, 1].
            iteration: From 0.
        """

    def after_step(self, sr: Tensor, hr: Tensor, iteration: int, reduce: Reduce) -> dict[str, Tensor]:
        """Train what belongs to the objective, such as a discriminator.

        Call it once an iteration, after the backward pass of `losses` and outside of `parametrize.cached()`, which
        would keep the weights of the step before.

        Args:
            sr: This process's share of the batch, as for `losses`; no gradient flows into it.
            hr: As for `losses`.
            iteration: From 0.
            reduce: Replaces gradients of means over this process's share of the batch by those of means over the whole
                batch, in place; does nothing for one process.

        Returns:
            Detached means over the share by name, for the log. Nothing where nothing is trained.
        """

    def state(self) -> dict[str, Tensor]:
        """State for resuming bit for bit, on the CPU; empty where nothing is trained."""

    def load(self, state: Mapping[str, Tensor], place: str) -> None:
        """Put a saved state back.

        Args:
            state: From `state`.
            place: Where it comes from, for messages.

        Raises:
            ArtifactError: A tensor is missing, too many or of another shape, or the state is another objective's.
        """

    def describe(self) -> str:
        """One line for people."""


def make_objective(
    choice: ObjectiveName, *, weights_dir: Path, device: torch.device, seed: int, iterations: int, scale: int
) -> Objective:
    """Build an objective by its name.

    Args:
        choice: As in ``--objective``.
        weights_dir: Where the networks of the perceptual distance lie.
        device: Where to compute.
        seed: Of the discriminator's weights and of what it sees; the global random state is left alone.
        iterations: Planned length of the run, for the discriminator's warm-up.
        scale: Of the network, the period of the grid that it may leave.

    Raises:
        MissingWeights: No network for the perceptual distance is there.
        CheckpointError: The network is there but damaged or another one.
    """
    l1 = Term("l1", "L1", 1.0, l1_of_pixels)
    match choice:
        case "fidelity":
            grid = Term("grid", f"{GRID_WEIGHT:g} grid", GRID_WEIGHT, partial(grid_loss, period_px=scale))
            return PixelObjective(choice, (l1, grid))
        case "l1":
            return PixelObjective(choice, (l1,))
        case "l1+fft":
            fft = Term("fft", f"{FFT_WEIGHT:g} FFT", FFT_WEIGHT, spectrum_loss)
            return PixelObjective(choice, (l1, fft))
        case "charbonnier":
            text = f"Charbonnier (epsilon {CHARBONNIER_EPSILON:g})"
            return PixelObjective(choice, (Term("charbonnier", text, 1.0, charbonnier_loss),))
        case "perceptual":
            distance = load_perceptual_distance(weights_dir, device)
            warm_up = min(MAX_WARM_UP, round(WARM_UP_SHARE * iterations))
            return PerceptualObjective(
                distance, Adversary(device=device, seed=seed), warm_up=warm_up, seed=seed, scale=scale
            )
    assert_never(choice)


def l1_of_pixels(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 loss (AdaptSR, Section 4.1), computed in fp32.

    Args:
        sr: (B, 3, H, W) network output, any float type, not clamped.
        hr: (B, 3, H, W) float32 in [0, 1].

    Returns:
        A scalar in the same unit as the images.
    """
    return l1_loss(sr.float(), hr)


def spectrum_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 distance of the real and imaginary parts of the orthonormal Fourier coefficients; arguments as above.

    Orthonormal, so that its size depends neither on the patch nor much on its being taken of the spectrum: of an error
    without structure it is 0.7 times the L1 loss.
    """
    # The transform is linear: that of the difference is the difference of the transforms, at half the cost.
    spectrum = torch.fft.rfft2(sr.float() - hr, norm="ortho")  # (B, 3, H, W // 2 + 1) complex64
    return torch.view_as_real(spectrum).abs().mean()


def charbonnier_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2): L1 that is smooth below epsilon = 1e-3, a quarter of a grey level of 255.

    Its least value is epsilon, not 0. Arguments as above. Source: Lai et al. 2017, LapSRN.
    """
    return torch.hypot(sr.float() - hr, sr.new_tensor(CHARBONNIER_EPSILON, dtype=torch.float32)).mean()


@dataclass(frozen=True)
class Term:
    """One part of a pixel objective.

    Attributes:
        name: In the log.
        text: For people, with its weight.
        weight: In the total.
        loss: (sr, hr) -> scalar.
    """

    name: str
    text: str
    weight: float
    loss: Callable[[Tensor, Tensor], Tensor]


class PixelObjective:
    """A weighted sum of losses that compare pixels; nothing in it is trained.

    Args:
        name: As in ``--objective``.
        terms: Its parts.
    """

    seeks_psnr = True
    is_steady = True

    def __init__(self, name: ObjectiveName, terms: Sequence[Term]) -> None:
        self.name: ObjectiveName = name
        self._terms = tuple(terms)

    def losses(self, sr: Tensor, hr: Tensor, iteration: int) -> ObjectiveOutput:
        """See `Objective.losses`."""
        with torch.autocast(sr.device.type, enabled=False):
            values = [term.loss(sr, hr) for term in self._terms]
        total = torch.stack([term.weight * value for term, value in zip(self._terms, values, strict=True)]).sum()
        return ObjectiveOutput(
            total, {term.name: value.detach() for term, value in zip(self._terms, values, strict=True)}
        )

    def after_step(self, sr: Tensor, hr: Tensor, iteration: int, reduce: Reduce) -> dict[str, Tensor]:
        """Nothing to train."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Nothing to keep."""
        return {}

    def load(self, state: Mapping[str, Tensor], place: str) -> None:
        """See `Objective.load`."""
        if state:
            raise _other_objective(place, f"{len(state)} tensors that {self.name} does not have")

    def describe(self) -> str:
        """See `Objective.describe`."""
        return " + ".join(term.text for term in self._terms)


class PerceptualObjective:
    """L1 + perceptual distance + GAN, as AdaptSR-GAN, made to hold in a short run and to leave no grid.

    Colours are held by L1, once more by that of the means over the cells of the LR grid, and the perceptual parts see
    `judged` images in random windows. The grid is penalised (`grid_loss`).

    Args:
        distance: The perceptual distance.
        adversary: The discriminator and its training.
        warm_up: Iterations in which the adapter does not listen to the discriminator yet. It starts from random
            weights, and what it says of the first images is noise.
        seed: Of the windows.
        scale: Of the network.

    Source: AdaptSR, Table 1; the weights are our own.
    """

    name: ObjectiveName = "perceptual"
    seeks_psnr = False
    is_steady = False

    def __init__(
        self, distance: PerceptualDistance, adversary: Adversary, *, warm_up: int, seed: int, scale: int
    ) -> None:
        self._distance = distance
        self._adversary = adversary
        self._warm_up = warm_up
        self._seed = seed
        self._scale = scale

    def losses(self, sr: Tensor, hr: Tensor, iteration: int) -> ObjectiveOutput:
        """See `Objective.losses`.

        Raises:
            UsageError: The patches are too small for the network of the perceptual distance.
        """
        with torch.autocast(sr.device.type, enabled=False):
            sr = sr.float()
            seen = judged(sr, hr)
            side_px = round(_DISTANCE_SHARE * min(sr.shape[-2:]))
            terms = {
                "l1": (1.0, l1_of_pixels(sr, hr)),
                "low": (LOW_WEIGHT, avg_pool2d(sr - hr, self._scale).abs().mean()),
                "perceptual": (
                    self._distance.weight,
                    self._distance(*self._windows((seen, hr), side_px, iteration, _DISTANCE)),
                ),
                "grid": (PERCEPTUAL_GRID_WEIGHT, grid_loss(sr, hr, self._scale)),
            }
            if iteration >= self._warm_up:
                windows = self._windows((seen, hr), _GAN_PX, iteration, _GENERATOR)
                terms["gan"] = (GAN_WEIGHT, self._adversary.generator_loss(*windows))
            total = torch.stack([weight * value for weight, value in terms.values()]).sum()
        return ObjectiveOutput(total, {name: value.detach() for name, (_, value) in terms.items()})

    def after_step(self, sr: Tensor, hr: Tensor, iteration: int, reduce: Reduce) -> dict[str, Tensor]:
        """Train the discriminator; see `Objective.after_step`."""
        with torch.autocast(sr.device.type, enabled=False):
            seen = judged(sr.detach().float(), hr)
            made, real = self._windows((seen, hr), _GAN_PX, iteration, _DISCRIMINATOR)
            return self._adversary.train_step(made, real, reduce)

    def _windows(
        self, images: tuple[Tensor, Tensor], side_px: int, iteration: int, purpose: int
    ) -> tuple[Tensor, Tensor]:
        """The same random window of both."""
        height, width = images[0].shape[-2:]
        rows, columns = random_window(height, width, side_px, seed=self._seed, iteration=iteration, purpose=purpose)
        return images[0][..., rows, columns], images[1][..., rows, columns]

    def state(self) -> dict[str, Tensor]:
        """See `Objective.state`."""
        tensors = {f"{_ADVERSARY}{key}": tensor for key, tensor in self._adversary.state().items()}
        # Another network for the distance is another objective, and training would go on with it unnoticed.
        name = torch.tensor(list(self._distance.name.encode()), dtype=torch.uint8)
        return {_DISTANCE_KEY: name, _WARM_UP_KEY: torch.tensor(self._warm_up), **tensors}

    def load(self, state: Mapping[str, Tensor], place: str) -> None:
        """See `Objective.load`."""
        name = state.get(_DISTANCE_KEY)
        if name is None or name.dtype != torch.uint8 or name.ndim != 1:
            raise _other_objective(place, f"no state of {self.name}")
        before = bytes(name.tolist()).decode(errors="replace")
        if before != self._distance.name:
            raise ArtifactError(
                f"{place}: the perceptual distance was {before}, now {self._distance.name}",
                "restore the earlier file in the weights folder to resume, or start again with `force`",
            )
        known = state.get(_WARM_UP_KEY)
        if known is not None and (known.dtype != torch.int64 or known.ndim):
            raise _other_objective(place, f"a warm-up that {self.name} does not have")
        if known is not None:  # states of earlier versions have none
            self._warm_up = int(known)  # a longer plan must not stop listening to what is taught already
        own = {key: tensor for key, tensor in state.items() if key not in {_DISTANCE_KEY, _WARM_UP_KEY}}
        foreign = [key for key in own if not key.startswith(_ADVERSARY)]
        if foreign:
            raise _other_objective(place, f"{foreign[0]}, which {self.name} does not have")
        self._adversary.load({key.removeprefix(_ADVERSARY): tensor for key, tensor in own.items()}, place)

    def describe(self) -> str:
        """See `Objective.describe`."""
        judges = (
            f"{self._distance.weight:g} {self._distance.name} + {PERCEPTUAL_GRID_WEIGHT:g} grid + {GAN_WEIGHT:g} GAN"
        )
        params = format_params(self._adversary.params)
        return (
            f"L1 + {LOW_WEIGHT:g} L1 of means + {judges} "
            f"(discriminator of {params} parameters, from iteration {self._warm_up})"
        )


def _other_objective(place: str, found: str) -> ArtifactError:
    return ArtifactError(f"{place}: the objective's state holds {found}", "start again with `force`")
