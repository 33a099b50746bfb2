"""The training step with thin products computes what the parametrization computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from networks import ARCHITECTURES, save_tiny
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from adaptsr_cli.adapters.attach import Attachment, attach, fold
from adaptsr_cli.adapters.fast_lora import LowRankStep
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.backbones.backbone import Traits, set_differentiable, super_resolve
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(16, 24), (2, 9, 16)),
    "linear without bias": (nn.Linear(16, 24, bias=False), (30, 16)),
    "fused projection": (nn.Linear(16, 48), (2, 9, 16)),
    "conv": (nn.Conv2d(32, 48, 3, padding=1), (1, 32, 7, 9)),
    "batch of conv": (nn.Conv2d(32, 48, 3, padding=1), (3, 32, 7, 9)),
    "1x1": (nn.Conv2d(32, 48, 1), (2, 32, 7, 9)),
    "strided, dilated, oblong": (
        nn.Conv2d(32, 48, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        (2, 32, 9, 12),
    ),
}


def trained(attachment: Attachment) -> Attachment:
    for parameter in attachment.parameters():
        nn.init.normal_(parameter, std=0.1)
    return attachment


def gradients(output: Tensor, x: Tensor, attachment: Attachment) -> list[Tensor]:
    loss = (output * torch.linspace(-1, 1, output.numel()).view(output.shape)).sum()
    return list(torch.autograd.grad(loss, [x, *attachment.parameters()]))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_outputs_and_gradients_are_those_of_the_parametrization(kind: str, channels_last: bool) -> None:
    layer, shape = LAYERS[kind]
    model = nn.ModuleDict({"qkv": layer})
    sites = find_sites(model, Traits(fused_qkv=("qkv",))).sites
    attachment = trained(attach(model, [(site, 2 if site.rows else 1) for site in sites], alpha=3.0))
    try:
        x = torch.randn(shape, requires_grad=True)
        given = x.contiguous(memory_format=torch.channels_last) if channels_last and x.dim() == 4 else x
        expected = layer(given)
        wanted = gradients(expected, x, attachment)
        step = LowRankStep(attachment)
        assert len(step) == 1
        with step.weights():
            output = layer(given)
            assert "LinearStep" in type(output.grad_fn).__name__ or "ConvStep" in type(output.grad_fn).__name__
            found = gradients(output, x, attachment)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
            assert one.dtype == other.dtype
        assert "forward" not in vars(layer)
    finally:
        fold(attachment)


@pytest.mark.parametrize("kind", ["fused projection", "batch of conv"])
def test_under_bf16_the_gradients_are_fp32_and_near(kind: str) -> None:
    layer, shape = LAYERS[kind]
    model = nn.ModuleDict({"qkv": layer})
    attachment = trained(attach(model, [(site, 1) for site in find_sites(model, Traits()).sites], alpha=3.0))
    x = torch.randn(shape, requires_grad=True)
    try:
        wanted = gradients(layer(x), x, attachment)
        with torch.autocast("cpu", torch.bfloat16):
            plain = layer(x)
        usual = gradients(plain, x, attachment)
        with LowRankStep(attachment).weights():
            with torch.autocast("cpu", torch.bfloat16):
                output = layer(x)
            found = gradients(output, x, attachment)
        assert output.dtype == torch.bfloat16
        for one, other, exact in zip(found, usual, wanted, strict=True):
            assert one.dtype == torch.float32
            # Sums that nearly cancel are uncertain in bf16, however they are computed.
            assert float((one - exact).norm()) < 3 * float((other - exact).norm()) + 0.02 * float(exact.norm())
    finally:
        fold(attachment)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 24, 3, padding=1, groups=2),
        nn.Conv2d(16, 24, 3, padding="same"),
        nn.Conv2d(16, 24, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 3, 3, padding=1),  # so few outputs that the gradient of the whole weight is cheaper
    ],
)
def test_layers_that_it_does_not_suit_stay_parametrized(layer: nn.Module) -> None:
    model = nn.ModuleDict({"c": layer})
    rank = 8 if layer.out_channels == 3 else 1
    attachment = attach(model, [(site, rank) for site in find_sites(model, Traits()).sites], alpha=1.0)
    assert len(LowRankStep(attachment)) == 0


@pytest.mark.parametrize("method", ["full", "dora", "shira", "difffit", "arc", "rasa", "bitfit"])
def test_other_methods_stay_parametrized(method: Method) -> None:
    model = nn.ModuleDict({"a": nn.Linear(16, 24), "b": nn.Linear(16, 24)})
    attachment = attach(model, [(site, 4) for site in find_sites(model, Traits()).sites], alpha=1.0, method=method)
    assert len(LowRankStep(attachment)) == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_on_every_architecture_a_step_equals_that_of_the_parametrizations(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / f"{name}.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    attachment = trained(attach(backbone.model, [(site, 1) for site in sites], alpha=0.1))
    parameters = list(attachment.parameters())
    set_differentiable(backbone, True)
    lr, hr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64)

    def step() -> tuple[Tensor, list[Any]]:
        sr = super_resolve(backbone, lr)
        loss = functional.mse_loss(sr, hr)
        return sr.detach(), list(torch.autograd.grad(loss, parameters, allow_unused=True))

    with parametrize.cached():
        expected_sr, expected = step()
    low_rank = LowRankStep(attachment)
    with low_rank.weights(), parametrize.cached():
        sr, found = step()
    torch.testing.assert_close(sr, expected_sr, atol=1e-5, rtol=1e-4)
    largest = max(float(gradient.abs().max()) for gradient in expected if gradient is not None)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4 * largest, rtol=1e-3)


def test_untrained_adapters_change_no_bit(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("swinir", tmp_path / "swinir.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    attachment = attach(backbone.model, [(site, 1) for site in sites], alpha=1.0)
    with LowRankStep(attachment).weights():
        for name, _ in attachment.places:
            module = backbone.model.get_submodule(name)
            layer = getattr(vars(module).get("forward"), "__self__", None)
            if layer is not None:
                assert torch.equal(layer.weight, before[f"{name}.weight"])


def test_the_gradient_of_an_image_lies_as_the_image_does() -> None:
    """Else all of the backward pass before it works on numbers that lie apart: 15 % of a step of SwinIR-M."""
    model = nn.Sequential(nn.Conv2d(64, 24, 3, padding=1))
    attachment = attach(model, [(site, 1) for site in find_sites(model, Traits()).sites], alpha=1.0)
    images = torch.randn(1, 32, 32, 64, requires_grad=True)
    with LowRankStep(attachment).weights():
        given = images.permute(0, 3, 1, 2) * 1
        (found,) = torch.autograd.grad(model(given).square().sum(), given)
    assert given.is_contiguous(memory_format=torch.channels_last)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_weights_follow_the_factors() -> None:
    model = nn.ModuleDict({"l": nn.Linear(16, 24)})
    attachment = trained(attach(model, [(site, 2) for site in find_sites(model, Traits()).sites], alpha=1.0))
    step, x = LowRankStep(attachment), torch.randn(5, 16)
    with step.weights():
        first = model["l"](x)
    trained(attachment)
    with step.weights():
        second = model["l"](x)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(second, model["l"](x))


def test_nothing_is_kept_before_the_first_adapted_layer() -> None:
    """The graph begins where the first adapter is: what lies before it costs forward time only."""
    model = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16))
    sites = find_sites(model, Traits()).sites
    attachment = trained(attach(model, [(sites[1], 2)], alpha=1.0))
    saved: list[tuple[int, ...]] = []
    inputs: list[bool] = []
    model[2].register_forward_pre_hook(lambda _module, given: inputs.append(given[0].requires_grad))

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tuple(tensor.shape))
        return tensor

    with (
        LowRankStep(attachment).weights(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        model(torch.randn(7, 16))
    assert inputs == [False]
    # The input of the adapted layer and the GELU behind it; no weight but frozen ones.
    assert saved.count((7, 16)) == 2


@pytest.mark.parametrize("name", ["swinir", "bundled"])
def test_the_merged_model_scores_the_same_whichever_way_it_was_trained(name: str, tmp_path: Path) -> None:
    scores = []
    lr, hr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64)
    path = default_model() if name == "bundled" else save_tiny(name, tmp_path / f"{name}.safetensors")
    for fast in (True, False):
        backbone = load_backbone(path)
        sites = find_sites(backbone.model, backbone.traits).sites
        attachment = attach(backbone.model, [(site, min(2, site.max_rank)) for site in sites], alpha=1.0)
        optimizer = torch.optim.Adam(attachment.parameters(), lr=1e-3)
        step = LowRankStep(attachment)
        for _ in range(3):
            optimizer.zero_grad()
            if fast:
                with step.weights(), parametrize.cached():
                    functional.l1_loss(super_resolve(backbone, lr), hr).backward()
            else:
                functional.l1_loss(super_resolve(backbone, lr), hr).backward()
            optimizer.step()
        fold(attachment)
        with torch.no_grad():
            sr = super_resolve(backbone, lr).clamp(0, 1)
        scores.append(float(-10 * torch.log10(functional.mse_loss(sr, hr))))
    assert abs(scores[0] - scores[1]) < 0.01
