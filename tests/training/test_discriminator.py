"""The discriminator, its training, and the state that resumes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.adversarial import Adversary
from adaptsr_cli.training.discriminator import make_discriminator

CPU = torch.device("cpu")


def keep(_gradients: Sequence[Tensor]) -> None:
    """One process: nothing to reduce."""


def make_adversary(seed: int = 1) -> Adversary:
    return Adversary(device=CPU, seed=seed, features=4)


def images(seed: int, count: int = 2, side_px: int = 16) -> tuple[Tensor, Tensor]:
    """Smooth made images and sharp real ones."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.rand(count, 3, side_px, side_px, generator=generator)
    return torch.nn.functional.avg_pool2d(real, 3, stride=1, padding=1), real


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("size", [(16, 16), (8, 8), (18, 38)])
def test_every_place_is_judged_at_any_even_size(size: tuple[int, int]) -> None:
    judgement = make_discriminator(0, 4)(torch.rand(2, 3, *size))
    assert judgement.shape == (2, 1, size[0] // 2, size[1] // 2)


def test_a_judgement_sees_18_pixels() -> None:
    image = torch.rand(1, 3, 48, 48).requires_grad_()
    make_discriminator(0, 4)(image)[0, 0, 12, 12].backward()
    assert image.grad is not None
    seen = image.grad[0].abs().sum(dim=(0, 1)).nonzero().flatten()
    assert (seen.min().item(), seen.max().item()) == (24 - 8, 25 + 8)


def test_weights_have_a_spectral_norm_of_one() -> None:
    discriminator = make_discriminator(0, 4).train()
    for _ in range(50):
        discriminator(torch.zeros(1, 3, 16, 16))
    for conv in discriminator.middle:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)


def test_weights_depend_on_the_seed_alone_and_leave_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    first = make_discriminator(5, 4).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(7)
    assert same(first, make_discriminator(5, 4).state_dict())
    assert not same(first, make_discriminator(6, 4).state_dict())


def test_judging_leaves_no_trace() -> None:
    adversary = make_adversary()
    before = adversary.state()
    sr = images(0)[0].requires_grad_()
    loss = adversary.generator_loss(sr, images(0)[1])
    assert torch.equal(loss, adversary.generator_loss(sr, images(0)[1]))
    loss.backward()
    assert sr.grad is not None
    assert sr.grad.abs().sum() > 0
    assert same(before, adversary.state())
    assert all(parameter.grad is None for parameter in adversary._parameters)


def test_loss_is_log_2_where_it_cannot_tell_and_of_equal_images() -> None:
    adversary = make_adversary()
    made, real = images(0)
    assert adversary.generator_loss(real, real).item() == pytest.approx(math.log(2))
    assert adversary.generator_loss(made, real).item() != pytest.approx(math.log(2), rel=1e-4)
    nn.init.zeros_(adversary._discriminator.last.weight)
    assert adversary.generator_loss(made, real).item() == pytest.approx(math.log(2))


def test_it_learns_to_tell_made_from_real() -> None:
    adversary = Adversary(device=CPU, seed=1, features=16)
    told = [adversary.train_step(*images(step, side_px=24), keep)["discriminator"].item() for step in range(80)]
    assert told[0] == pytest.approx(math.log(2), abs=0.1)
    assert told[-1] < 0.7 * told[0]
    made, real = images(1000, side_px=24)
    assert adversary._discriminator(real).mean() > adversary._discriminator(made).mean()
    assert adversary.generator_loss(made, real) > math.log(2)


def test_no_gradient_reaches_the_images() -> None:
    sr, hr = images(0)
    sr.requires_grad_()
    make_adversary().train_step(sr.detach(), hr, keep)
    assert sr.grad is None


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_resumed_equals_straight_bit_for_bit(stop: int) -> None:
    straight = make_adversary()
    for step in range(5):
        straight.generator_loss(*images(step))
        straight.train_step(*images(step), keep)
    first = make_adversary()
    for step in range(stop):
        first.train_step(*images(step), keep)
    second = make_adversary(seed=99)
    second.load(first.state(), "state.safetensors")
    for step in range(stop, 5):
        second.train_step(*images(step), keep)
    state = straight.state()
    assert same(state, second.state())
    assert {key.split("/")[0] for key in state} == {"weights", "adam"}
    assert any(key.endswith("_u") for key in state)


def test_state_is_a_copy() -> None:
    adversary = make_adversary()
    adversary.train_step(*images(0), keep)
    state = adversary.state()
    kept = {key: tensor.clone() for key, tensor in state.items()}
    adversary.train_step(*images(1), keep)
    assert same(kept, state)
    assert not same(state, adversary.state())


def test_shares_of_a_batch_give_the_gradients_of_the_whole() -> None:
    whole: list[Tensor] = []
    make_adversary().train_step(*images(0, count=4), lambda gradients: whole.extend(g.clone() for g in gradients))
    parts: list[list[Tensor]] = []
    sr, hr = images(0, count=4)
    for rows, share in ((slice(0, 3), 0.75), (slice(3, 4), 0.25)):
        make_adversary().train_step(
            sr[rows], hr[rows], lambda gradients, share=share: parts.append([share * g for g in gradients])
        )
    assert len(whole) == len(parts[0]) == len(make_adversary()._parameters)
    for total, first, second in zip(whole, *parts, strict=True):
        torch.testing.assert_close(first + second, total)


def test_reduced_gradients_are_those_that_are_stepped() -> None:
    adversary = make_adversary()
    before = [parameter.clone() for parameter in adversary._parameters]

    def silence(gradients: Sequence[Tensor]) -> None:
        for gradient in gradients:
            gradient.zero_()

    adversary.train_step(*images(0), silence)
    assert all(torch.equal(*both) for both in zip(before, adversary._parameters, strict=True))


@pytest.mark.parametrize(
    "fault", ["missing weight", "extra weight", "shape", "missing moment", "extra moment", "foreign"]
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(fault: str) -> None:
    adversary = make_adversary()
    adversary.train_step(*images(0), keep)
    state = adversary.state()
    match fault:
        case "missing weight":
            del state["weights/first.weight"]
        case "extra weight":
            state["weights/more"] = torch.zeros(1)
        case "shape":
            state["weights/first.weight"] = torch.zeros(1)
        case "missing moment":
            del state["adam/0/exp_avg"]
        case "extra moment":
            state["adam/99/step"] = torch.zeros(())
        case "foreign":
            state["other"] = torch.zeros(1)
    other = make_adversary(seed=2)
    before = other.state()
    with pytest.raises(ArtifactError, match=r"state\.safetensors: the (discriminator's|optimiser) state is damaged"):
        other.load(state, "state.safetensors")
    assert same(before, other.state())


@pytest.mark.gpu
def test_it_learns_and_resumes_on_the_gpu() -> None:
    device = torch.device("cuda")
    adversary = Adversary(device=device, seed=1, features=8)
    batch = [[image.to(device) for image in images(step)] for step in range(3)]
    state = {}
    for step, (sr, hr) in enumerate(batch):
        state = adversary.state() if step == 2 else state
        adversary.train_step(sr, hr, keep)
    other = Adversary(device=device, seed=2, features=8)
    other.load(state, "state.safetensors")
    other.train_step(*batch[2], keep)
    for key, tensor in adversary.state().items():
        torch.testing.assert_close(other.state()[key], tensor, rtol=1e-4, atol=1e-5)
