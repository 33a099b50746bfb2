"""Networks computed with deferred attention, against their published code."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from spandrel.architectures.ATD import ATD
from spandrel.architectures.CRAFT import CRAFT
from spandrel.architectures.DAT import DAT
from spandrel.architectures.DCTLSA import DCTLSA
from spandrel.architectures.DRCT import DRCT
from spandrel.architectures.FDAT import FDAT
from spandrel.architectures.GRL import GRL
from spandrel.architectures.HAT import HAT
from spandrel.architectures.OmniSR import OmniSR
from spandrel.architectures.RGT import RGT
from spandrel.architectures.Swin2SR import Swin2SR
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor, nn

from adaptsr_cli.backbones.fast import attention_products, deferred
from adaptsr_cli.backbones.fast.deferral import Deferral, is_deferred
from adaptsr_cli.backbones.fast.deferred import Scores
from adaptsr_cli.backbones.fast.forwards import published_forwards
from adaptsr_cli.backbones.fast.network import fuse
from adaptsr_cli.training.checkpointing import blocks_checkpointed

_SWIN = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 2), "window_size": 8, "img_size": 32, "upscale": 4}
_DIRECT = {"upsampler": "pixelshuffledirect"}
_DUAL = {"img_size": 32, "embed_dim": 32, "num_heads": [4, 4], "upscale": 2}

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ATD": lambda: ATD(**_SWIN, **_DIRECT, category_size=32, num_tokens=16, reducted_dim=4, mlp_ratio=1),
    "CRAFT": lambda: CRAFT(embed_dim=48, depths=(2, 2), num_heads=(4, 4), split_size_0=4, split_size_1=16, upscale=2),
    "DAT": lambda: DAT(**_DUAL, split_size=[8, 16], depth=[3, 3]),
    "DCTLSA": lambda: DCTLSA(nf=20, num_head=4),
    "DRCT": lambda: DRCT(**_SWIN, upsampler="pixelshuffle", resi_connection="1conv", gc=8),
    "FDAT": lambda: FDAT(scale=2, embed_dim=24, num_groups=1, depth_per_group=2, num_heads=2, window_size=8),
    "GRL": lambda: GRL(img_size=32, embed_dim=24, depths=[2], num_heads_window=[2], num_heads_stripe=[2], upscale=2),
    "HAT": lambda: HAT(**_SWIN, upsampler="pixelshuffle", overlap_ratio=0.5, compress_ratio=3, squeeze_factor=4),
    "OmniSR": lambda: OmniSR(num_feat=16, block_num=1, res_num=1, up_scale=2, window_size=8),
    "RGT": lambda: RGT(**_DUAL, split_size=[8, 16], depth=[3, 3]),
    "Swin2SR": lambda: Swin2SR(**_SWIN, **_DIRECT),
    "SwinIR": lambda: SwinIR(**_SWIN, **_DIRECT),
}
CASES = [((64, 64), torch.channels_last), ((64, 96), torch.contiguous_format), ((32, 32), torch.channels_last)]
"""Sizes, multiples of all windows, the last that for which DAT keeps its masks; and how the picture lies in memory."""


def _make(name: str) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # in spandrel's code
        model = NETWORKS[name]().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # initial biases are zero, which would prove nothing
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    fuse(model)
    return model


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """A tiny network with all faster forward passes."""
    return _make(request.param)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of few windows, so that these images have several."""
    monkeypatch.setattr(attention_products, "_PIECE_BYTES", 2**16)


def _image(size: tuple[int, int], batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(2))


def _assert_close(found: Tensor, expected: Tensor, within: float = 2e-5) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).norm()) <= within * float(expected.norm())


@pytest.mark.parametrize(("size", "layout"), CASES)
def test_the_picture_is_the_published_one(
    network: nn.Module, size: tuple[int, int], layout: torch.memory_format
) -> None:
    lr = _image(size).contiguous(memory_format=layout)
    with torch.inference_mode():
        with published_forwards(network):
            expected = network(lr.clone(memory_format=torch.preserve_format))
        _assert_close(network(lr.clone(memory_format=torch.preserve_format)), expected)


def _gradients(model: nn.Module, lr: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    model.requires_grad_(True)
    sr = model(lr)
    torch.autograd.backward((sr * torch.linspace(-1, 1, sr.shape[-1])).sum())
    model.requires_grad_(False)
    named = model.named_parameters()
    return {"sr": sr.detach(), **{name: part.grad.clone() for name, part in named if part.grad is not None}}


@pytest.mark.filterwarnings("ignore:'saved_variables'")  # in OmniSR's code
def test_gradients_are_the_published_ones(network: nn.Module) -> None:
    lr = _image((32, 64), batch=2)
    with published_forwards(network):
        expected = _gradients(network, lr)
    found = _gradients(network, lr)
    assert found.keys() == expected.keys()
    largest = max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():  # that of a bias which shifts all scores of a row is zero up to rounding
        apart = float((found[name] - gradient).norm())
        assert apart <= 1e-3 * float(gradient.norm()) + 1e-6 * largest, name


def test_networks_that_attend_are_recognised_and_others_left_alone() -> None:
    assert [name for name in NETWORKS if not is_deferred(_make(name))] == ["DRCT", "SwinIR"]  # fused blocks only
    plain = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Linear(4, 8))
    fuse(plain)
    assert not is_deferred(plain)


@pytest.mark.parametrize("name", ["ATD", "CRAFT", "DAT", "GRL", "HAT", "OmniSR", "RGT", "Swin2SR"])
def test_scores_are_never_there_as_a_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attended, computed_whole = [], []
    attend, compute = deferred.attend, Scores.compute
    monkeypatch.setattr(deferred, "attend", lambda *parts: attended.append(1) or attend(*parts))
    monkeypatch.setattr(Scores, "compute", lambda scores: computed_whole.append(1) or compute(scores))
    with torch.inference_mode():
        _make(name)(_image((32, 64)))
    assert attended
    assert not computed_whole


def test_what_is_not_expected_of_scores_computes_them() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(6, 2, 16, 4, generator=generator) for _ in range(3))
    bias = torch.randn(2, 16, 16, generator=generator)
    expected = (query @ key.mT * 2 + bias).clamp(max=1).softmax(-1)
    with Deferral():
        scores = query @ key.transpose(-2, -1) * 2 + bias
        assert isinstance(scores, Scores)
        found = scores.clamp(max=1).softmax(-1)
        assert type(scores.view(-1)) is Tensor
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(scores.exp(), (query @ key.mT * 2 + bias).exp())  # one that is used later
    torch.testing.assert_close(torch.stack([scores, scores])[1] @ value, (query @ key.mT * 2 + bias) @ value)


@pytest.mark.parametrize("shape", [(1, 6, 1, 16, 16), (3, 1, 1, 16, 16), (3, 6, 2, 16, 16), (2, 1, 16), (1,)])
def test_terms_of_any_shape_are_added(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(18, 2, 16, 4, generator=generator) for _ in range(3))
    term = torch.randn(shape, generator=generator)
    expected = ((query @ key.mT).view(3, 6, 2, 16, 16) + term).view(18, 2, 16, 16).softmax(-1) @ value
    with Deferral():
        scores = ((query @ key.mT).view(3, 6, 2, 16, 16) + term).view(-1, 2, 16, 16).softmax(dim=-1)
        found = scores @ value
    assert isinstance(scores, Scores)
    torch.testing.assert_close(found, expected)


def test_half_precision_runs_the_published_code() -> None:
    model, lr = _make("DAT"), _image((32, 32))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = model(lr)
        with published_forwards(model):
            assert torch.equal(found, model(lr))


def test_checkpointed_blocks_are_run_again_in_the_same_way() -> None:
    model, lr = _make("DAT"), _image((32, 32))
    expected = _gradients(model, lr)
    with blocks_checkpointed(model, ["layers.0.blocks.0", "layers.1.blocks.2"]):
        found = _gradients(model, lr)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
