"""The objectives: their values, their parts, which network the perceptual one takes, and its state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
import torchvision
from torch import Tensor

from adaptsr_cli.artifacts.train_config import ObjectiveName
from adaptsr_cli.errors import ArtifactError, CheckpointError, UsageError
from adaptsr_cli.io.tensors import write_tensors
from adaptsr_cli.metrics.perceptual import Lpips, MissingWeights
from adaptsr_cli.training.adversarial import Adversary
from adaptsr_cli.training.judged import judged, random_window
from adaptsr_cli.training.objective import (
    GAN_WEIGHT,
    GRID_WEIGHT,
    LOW_WEIGHT,
    PERCEPTUAL_GRID_WEIGHT,
    Objective,
    PerceptualObjective,
    charbonnier_loss,
    l1_of_pixels,
    make_objective,
    spectrum_loss,
)
from adaptsr_cli.training.perceptual import VggFeatures, load_perceptual_distance

CPU = torch.device("cpu")
PIXEL_OBJECTIVES = ("fidelity", "l1", "l1+fft", "charbonnier")
STEMS = {"squeeze": "squeezenet1_1", "alex": "alexnet-owt", "vgg": "vgg16", "vgg19": "vgg19"}
NETWORKS = {
    "squeeze": torchvision.models.squeezenet1_1,
    "alex": torchvision.models.alexnet,
    "vgg": torchvision.models.vgg16,
    "vgg19": torchvision.models.vgg19,
}


def keep(_gradients: Sequence[Tensor]) -> None:
    """One process: nothing to reduce."""


def save_random_trunk(net: str, folder: Path) -> Path:
    """The convolutions of a network, with random weights in fp16 that keep the signal's size."""
    with torch.device("meta"):
        shapes = NETWORKS[net](weights=None).features.state_dict()
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for key, tensor in shapes.items():
        gain = (2 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.01
        tensors[f"features.{key}"] = (gain * torch.randn(tensor.shape, generator=generator)).half()
    path = folder / f"{STEMS[net]}_random.safetensors"
    write_tensors(path, tensors, {})
    return path


@pytest.fixture(scope="module")
def squeeze_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_random_trunk("squeeze", folder)
    return folder


def batch(count: int = 2, side_px: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hr = torch.rand(count, 3, side_px, side_px, generator=generator)
    return hr + 0.1 * torch.randn(hr.shape, generator=generator), hr


def make(choice: ObjectiveName, weights_dir: Path, *, seed: int = 1, iterations: int = 100) -> Objective:
    return make_objective(choice, weights_dir=weights_dir, device=CPU, seed=seed, iterations=iterations, scale=4)


def perceptual(weights_dir: Path, *, adversary_seed: int = 1, warm_up: int = 0) -> PerceptualObjective:
    """The perceptual objective with a small discriminator."""
    distance = load_perceptual_distance(weights_dir, CPU)
    adversary = Adversary(device=CPU, seed=adversary_seed, features=4)
    return PerceptualObjective(distance, adversary, warm_up=warm_up, seed=1, scale=4)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_l1_and_charbonnier_have_the_values_of_their_formulas() -> None:
    sr, hr = batch()
    difference = (sr - hr).double()
    assert l1_of_pixels(sr, hr).item() == pytest.approx(difference.abs().mean().item(), rel=1e-6)
    expected = (difference**2 + 1e-6).sqrt().mean().item()
    assert charbonnier_loss(sr, hr).item() == pytest.approx(expected, rel=1e-6)


def test_charbonnier_is_smooth_where_nothing_is_wrong() -> None:
    hr = batch()[1]
    sr = hr.clone().requires_grad_()
    loss = charbonnier_loss(sr, hr)
    loss.backward()
    assert loss.item() == pytest.approx(1e-3)
    assert torch.equal(sr.grad, torch.zeros_like(hr))


def test_spectrum_loss_compares_real_and_imaginary_parts() -> None:
    sr, hr = batch(side_px=12)
    spectra = [torch.fft.rfft2(image.double(), norm="ortho") for image in (sr, hr)]
    difference = spectra[0] - spectra[1]
    expected = torch.cat([difference.real, difference.imag]).abs().mean().item()
    assert spectrum_loss(sr, hr).item() == pytest.approx(expected, rel=1e-5)


def test_spectrum_loss_does_not_depend_on_the_patch() -> None:
    generator = torch.Generator().manual_seed(3)
    values = []
    for side_px in (32, 128):
        noise = torch.randn(2, 3, side_px, side_px, generator=generator)
        zero = torch.zeros_like(noise)
        values.append((spectrum_loss(noise, zero) / l1_of_pixels(noise, zero)).item())
    assert values == pytest.approx([0.71, 0.71], abs=0.03)


@pytest.mark.parametrize("choice", get_args(ObjectiveName))
def test_total_is_the_weighted_sum_of_detached_parts(choice: ObjectiveName, squeeze_dir: Path) -> None:
    sr, hr = batch()
    sr.requires_grad_()
    objective = perceptual(squeeze_dir) if choice == "perceptual" else make(choice, squeeze_dir)
    losses = objective.losses(sr, hr, 50)
    weights = {"l1": 1.0, "fft": 0.05, "charbonnier": 1.0, "perceptual": 0.1, "gan": GAN_WEIGHT}
    weights |= {"low": LOW_WEIGHT, "grid": PERCEPTUAL_GRID_WEIGHT if choice == "perceptual" else GRID_WEIGHT}
    expected = sum(weights[name] * part.item() for name, part in losses.parts.items())
    assert losses.total.item() == pytest.approx(expected, rel=1e-6)
    assert losses.total.shape == ()
    assert not any(part.requires_grad for part in losses.parts.values())
    losses.total.backward()
    assert sr.grad is not None
    assert torch.isfinite(sr.grad).all()
    assert sr.grad.abs().sum() > 0
    assert objective.name == choice
    assert objective.seeks_psnr == (choice in PIXEL_OBJECTIVES)


@pytest.mark.parametrize("choice", get_args(ObjectiveName))
def test_losses_of_shares_weighted_by_their_size_add_up(choice: ObjectiveName, squeeze_dir: Path) -> None:
    sr, hr = batch(count=3)
    objective = perceptual(squeeze_dir) if choice == "perceptual" else make(choice, squeeze_dir)
    whole = objective.losses(sr, hr, 0).total.item()
    shares = [objective.losses(sr[rows], hr[rows], 0).total.item() for rows in (slice(0, 2), slice(2, 3))]
    assert 2 / 3 * shares[0] + 1 / 3 * shares[1] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("choice", get_args(ObjectiveName))
def test_all_is_computed_in_fp32(choice: ObjectiveName, squeeze_dir: Path) -> None:
    sr, hr = batch()
    sr = sr.bfloat16()
    objective, other = (
        (perceptual(squeeze_dir) if choice == "perceptual" else make(choice, squeeze_dir)) for _ in "ab"
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = objective.losses(sr, hr, 0)
        told = objective.after_step(sr, hr, 0, keep)
    outside = other.losses(sr.float(), hr, 0)
    assert inside.total.dtype == torch.float32
    assert torch.equal(inside.total, outside.total)
    assert same(told, other.after_step(sr.float(), hr, 0, keep))


@pytest.mark.parametrize("choice", PIXEL_OBJECTIVES)
def test_pixel_objectives_have_nothing_to_train_or_keep(choice: ObjectiveName, tmp_path: Path) -> None:
    objective = make(choice, tmp_path)
    assert objective.after_step(*batch(), 0, keep) == {}
    assert objective.state() == {}
    objective.load({}, "state.safetensors")
    with pytest.raises(ArtifactError, match=r"state\.safetensors: the objective's state holds 1 tensors"):
        objective.load({"adversary/x": torch.zeros(1)}, "state.safetensors")


def test_descriptions_say_what_is_minimised(squeeze_dir: Path) -> None:
    texts = [make(choice, squeeze_dir).describe() for choice in get_args(ObjectiveName)]
    assert texts == [
        "L1 + 1 grid",
        "L1",
        "L1 + 0.05 FFT",
        "Charbonnier (epsilon 0.001)",
        "L1 + 1 L1 of means + 0.1 LPIPS (squeeze, squeezenet1_1_random.safetensors) + 3 grid + 0.005 GAN "
        "(discriminator of 13.2k parameters, from iteration 10)",
    ]


@pytest.mark.parametrize(("iterations", "warm_up"), [(3, 0), (300, 30), (100_000, 1000)])
def test_warm_up_is_a_tenth_of_the_run_and_a_thousand_at_most(iterations: int, warm_up: int, squeeze_dir: Path) -> None:
    assert make("perceptual", squeeze_dir, iterations=iterations).describe().endswith(f"from iteration {warm_up})")


def test_discriminator_is_not_listened_to_in_the_warm_up_but_learns(squeeze_dir: Path) -> None:
    objective = perceptual(squeeze_dir, warm_up=3)
    before = objective.state()
    assert [("gan" in objective.losses(*batch(), iteration).parts) for iteration in (0, 2, 3)] == [False, False, True]
    told = objective.after_step(*batch(), 0, keep)
    assert {name: round(loss.item(), 1) for name, loss in told.items()} == {
        "discriminator": round(math.log(2), 1),
    }
    assert not same(before, objective.state())


def train(objective: PerceptualObjective, start: int, stop: int, bias: Tensor) -> Tensor:
    """A network of one bias; returns it after the steps."""
    for iteration in range(start, stop):
        sr, hr = batch(seed=iteration)
        parameter = bias.clone().requires_grad_()
        objective.losses(sr + parameter, hr, iteration).total.backward()
        bias = bias - 0.1 * parameter.grad
        objective.after_step((sr + bias).detach(), hr, iteration, keep)
    return bias


@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_equals_straight_bit_for_bit(stop: int, squeeze_dir: Path) -> None:
    start = torch.zeros(3, 1, 1)
    straight = perceptual(squeeze_dir, warm_up=2)
    end = train(straight, 0, 5, start)
    first, second = (perceptual(squeeze_dir, adversary_seed=seed, warm_up=2) for seed in (1, 9))
    middle = train(first, 0, stop, start)
    second.load(first.state(), "state.safetensors")
    torch.rand(5)  # what others draw must not matter
    assert torch.equal(train(second, stop, 5, middle), end)
    assert same(second.state(), straight.state())


def test_a_longer_plan_does_not_stop_listening_to_the_discriminator(squeeze_dir: Path) -> None:
    """Of 100 iterations ten were the warm-up; of 2,000 it would be 200."""
    sr, hr = batch()
    first, longer = (make("perceptual", squeeze_dir, iterations=iterations) for iterations in (100, 2_000))
    assert "gan" not in longer.losses(sr, hr, 100).parts
    longer.load(first.state(), "state.safetensors")
    assert "gan" in longer.losses(sr, hr, 100).parts
    assert "from iteration 10)" in longer.describe()
    older = {key: tensor for key, tensor in first.state().items() if key != "warm_up"}
    longer.load(older, "state.safetensors")  # of a version that did not keep it


def test_state_goes_through_a_file(squeeze_dir: Path, tmp_path: Path) -> None:
    state = perceptual(squeeze_dir).state()
    write_tensors(tmp_path / "state.safetensors", state, {})
    assert all(tensor.is_contiguous() and tensor.device == CPU for tensor in state.values())


def test_another_network_for_the_distance_is_another_objective(squeeze_dir: Path, tmp_path: Path) -> None:
    state = perceptual(squeeze_dir).state()
    save_random_trunk("alex", tmp_path)
    with pytest.raises(ArtifactError, match=r"was LPIPS \(squeeze, .*\), now LPIPS \(alex, alexnet-owt_random"):
        perceptual(tmp_path).load(state, "state.safetensors")


@pytest.mark.parametrize("fault", ["empty", "foreign", "no text", "warm-up"])
def test_a_state_of_another_objective_is_refused(fault: str, squeeze_dir: Path) -> None:
    objective = perceptual(squeeze_dir)
    state = objective.state()
    match fault:
        case "empty":
            state = {}
        case "foreign":
            state["other"] = torch.zeros(1)
        case "no text":
            state["perceptual_distance"] = torch.zeros(2)
        case "warm-up":
            state["warm_up"] = torch.zeros(2)
    with pytest.raises(ArtifactError, match=r"state\.safetensors: the objective's state holds"):
        objective.load(state, "state.safetensors")


def test_without_any_network_files_checksums_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights) as caught:
        make("perceptual", tmp_path / "weights")
    message = caught.value.message
    for part in ("vgg19-dcbb9e9d.pth", "vgg16-397923af.pth", "alexnet-owt-7be5be79.pth", "squeezenet1_1-b8a52dc0.pth"):
        assert part in message
    assert "SHA-256 starts with b8a52dc0" in message
    assert str(tmp_path / "weights") in message
    assert "`objective` fidelity" in caught.value.hint


def test_the_best_network_that_is_there_is_taken(squeeze_dir: Path, tmp_path: Path) -> None:
    found = []
    for net in ("squeeze", "alex", "vgg", "vgg19"):
        save_random_trunk(net, tmp_path)
        found.append(load_perceptual_distance(tmp_path, CPU).name)
    assert found == [
        "LPIPS (squeeze, squeezenet1_1_random.safetensors)",
        "LPIPS (alex, alexnet-owt_random.safetensors)",
        "LPIPS (vgg, vgg16_random.safetensors)",
        "VGG19 features (vgg19_random.safetensors)",
    ]


def test_a_damaged_network_is_never_passed_over(squeeze_dir: Path, tmp_path: Path) -> None:
    save_random_trunk("squeeze", tmp_path)
    (tmp_path / "vgg19-dcbb9e9d.pth").write_bytes(b"half a download")
    with pytest.raises(CheckpointError, match="is damaged"):
        make("perceptual", tmp_path)
    (tmp_path / "vgg19-dcbb9e9d.pth").unlink()
    (tmp_path / "squeezenet1_1_random.safetensors").rename(tmp_path / "vgg19_wrong.safetensors")
    with pytest.raises(CheckpointError, match="does not fit the VGG loss: features"):
        make("perceptual", tmp_path)


def test_vgg_features_are_those_before_the_activations_of_the_five_stages(tmp_path: Path) -> None:
    path = save_random_trunk("vgg19", tmp_path)
    distance = VggFeatures(path, CPU)
    sr, hr = batch(count=1, side_px=16)
    features = torchvision.models.vgg19(weights=None).features.eval()
    features.load_state_dict(distance._layers.state_dict(), strict=False)
    normalise = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = 0.0
    for last, weight in ((2, 0.1), (7, 0.1), (16, 1.0), (25, 1.0), (34, 1.0)):
        with torch.no_grad():
            first, second = (features[: last + 1](normalise(image)) for image in (sr, hr))
        expected += weight * (first - second).abs().mean().item()
    assert distance(sr, hr).item() == pytest.approx(expected, rel=1e-5)
    assert distance(hr, hr).item() == 0
    sr.requires_grad_()
    distance(sr, hr).backward()
    assert sr.grad is not None
    assert sr.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in distance._layers.parameters())


def test_loading_draws_no_random_numbers(squeeze_dir: Path, tmp_path: Path) -> None:
    save_random_trunk("vgg19", tmp_path)
    before = torch.random.get_rng_state()
    for folder in (tmp_path, squeeze_dir):
        perceptual(folder)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("net", "least_px"), [("squeeze", 17), ("vgg19", 16)])
def test_patches_too_small_for_the_network_are_refused(net: str, least_px: int, tmp_path: Path) -> None:
    save_random_trunk(net, tmp_path)
    distance = load_perceptual_distance(tmp_path, CPU)
    assert torch.isfinite(distance(*batch(side_px=least_px)))
    with pytest.raises(UsageError, match=f"needs {least_px} px"):
        distance(*batch(side_px=least_px - 1))


def test_real_weights_give_the_metric_that_is_reported(shared: Path) -> None:
    weights_dir = shared / "weights" / "metrics"
    objective = perceptual(weights_dir)
    sr, hr = batch()
    losses = objective.losses(sr, hr, 0)
    rows, columns = random_window(32, 32, 28, seed=1, iteration=0, purpose=0)
    seen = (judged(sr, hr)[..., rows, columns], hr[..., rows, columns])
    expected = Lpips("squeeze", weights_dir=weights_dir).distance(*seen).mean()
    assert losses.parts["perceptual"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert "LPIPS (squeeze, squeezenet1_1_torchvision_fp16.safetensors)" in objective.describe()
