"""Triton's kernels against torch: in Triton's interpreter on the CPU, and as they are on a GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import save_tiny
from torch import Tensor, nn

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import set_differentiable, super_resolve
from adaptsr_cli.backbones.fast import attention, on_cuda
from adaptsr_cli.backbones.fast.forwards import published_forwards
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.runtime import exact_products
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.step import GradientStep

CUDA = torch.device("cuda")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
GRIDS = [
    (on_cuda.Grid(2, 16, 24, 8, 4), 2, 30),
    (on_cuda.Grid(1, 16, 16, 8, 0), 1, 16),
    (on_cuda.Grid(2, 14, 21, 7, 3), 3, 10),
]


def reference(qkv: Tensor, biases: Tensor, grid: on_cuda.Grid, heads: int, scale: float) -> Tensor:
    """Attention by torch, in float64."""
    order = attention._make_order(grid.batch, grid.height, grid.width, grid.window, grid.shift, qkv.device)
    windows = qkv[order.there].view(-1, grid.window**2, qkv.shape[1])
    out = attention._attend(windows.double(), biases.double(), order, heads, scale)
    return out.reshape(-1, qkv.shape[1] // 3)[order.back]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def check_attention(device: torch.device, dtype: torch.dtype, limit: float) -> None:
    torch.manual_seed(0)
    for grid, heads, depth in GRIDS:
        count = grid.batch * grid.height * grid.width
        exact = torch.randn(count, 3 * heads * depth, device=device).to(dtype)
        kinds = 4 if grid.shift else 1
        biases = torch.randn(kinds, 1, heads, grid.window**2, grid.window**2, device=device).to(dtype)
        weights = torch.randn(count, heads * depth, device=device)
        results = []
        for attend in (on_cuda.attend, reference):
            qkv = exact.clone().requires_grad_()
            out = attend(qkv, biases, grid, heads, 0.3)
            torch.autograd.backward((out.float() * weights).sum())
            assert qkv.grad is not None
            results.append((out.detach(), qkv.grad))
        for found, expected in zip(*results, strict=True):
            assert relative(found, expected) < limit


def check_norm(device: torch.device, limit: float) -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(180, device=device).requires_grad_(False)
    norm.weight.uniform_()
    norm.bias.uniform_()
    wide = torch.randn(50, 184, device=device)[:, :180].bfloat16()
    for added in (None, wide):
        first, second = torch.randn(2, 50, 180, device=device)
        results = []
        for ours in (True, False):
            torch.manual_seed(1)
            x = torch.randn(50, 180, device=device, requires_grad=True)
            other = None if added is None else added.clone().requires_grad_()
            if ours:
                total, out = on_cuda.add_norm(x, other, norm, torch.float32)
            else:
                total = x if other is None else x + other
                out = norm(total)
            torch.autograd.backward((total * first + out * second).sum())
            assert x.grad is not None
            results.append([total.detach(), out.detach(), x.grad, *([] if other is None else [other.grad])])
        for found, expected in zip(*results, strict=True):
            assert relative(found, expected) < (limit if found.dtype == torch.float32 else 1e-2)


@pytest.mark.skipif(not INTERPRETED, reason="run by the test below")
def test_in_the_interpreter() -> None:
    check_attention(torch.device("cpu"), torch.float32, 1e-5)
    check_norm(torch.device("cpu"), 1e-5)


@pytest.mark.skipif(not INTERPRETED, reason="run by the test below")
@pytest.mark.parametrize("name", ["swinir", "hat", "drct"])
def test_training_step_in_the_interpreter(name: str, tmp_path: Path) -> None:
    """Outputs and gradients of whole networks by the kernels, against the published code."""
    path = save_tiny(name, tmp_path / "m.safetensors")
    draw = torch.Generator().manual_seed(0)
    lr, hr = torch.rand(1, 3, 16, 24, generator=draw), torch.rand(1, 3, 64, 96, generator=draw)
    found, expected = (gradients_of(path, lr, hr, by_kernels=by_kernels) for by_kernels in (True, False))
    assert found.keys() == expected.keys()
    assert max(relative(found[key], expected[key]) for key in expected) < 1e-4


def gradients_of(path: Path, lr: Tensor, hr: Tensor, *, by_kernels: bool) -> dict[str, Tensor]:
    """Gradients of all adapters in one training step by name, and the output as ``sr``."""
    cpu, backbone = torch.device("cpu"), load_backbone(path)
    sites = find_sites(backbone.model, backbone.traits).sites
    attachment = attach(backbone.model, [(site, min(2, site.max_rank)) for site in sites], alpha=1.0, seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for adapter in attachment.adapters.values():
            up = adapter.get_parameter("lora_B")
            up.copy_(0.01 * torch.randn(up.shape, generator=draw))
    set_differentiable(backbone, True)
    if by_kernels:
        objective = make_objective("l1", weights_dir=path.parent, device=cpu, seed=0, iterations=1, scale=4)
        means, sr = GradientStep(backbone, attachment, objective, device=cpu, precision="fp32").run(lr, hr, 0)
        means.put_back()
    else:
        with published_forwards(backbone.model):
            sr = super_resolve(backbone, lr)
            torch.autograd.backward(nn.functional.l1_loss(sr, hr))
    gradients = {
        f"{site}.{name}": parameter.grad
        for site, adapter in attachment.adapters.items()
        for name, parameter in adapter.named_parameters()
        if parameter.grad is not None
    }
    return {"sr": sr.detach(), **gradients}


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter's process")
def test_kernels_interpreted_on_the_cpu() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "in_the_interpreter"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "4 passed" in done.stdout


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_attention_on_cuda(dtype: torch.dtype, limit: float) -> None:
    assert on_cuda.has_kernels(CUDA)
    check_attention(CUDA, dtype, limit)


@pytest.mark.gpu
def test_norm_on_cuda() -> None:
    check_norm(CUDA, 1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["swinir", "hat", "drct"])
def test_networks_on_cuda_are_the_published_ones(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / "m.safetensors")).to(CUDA)
    lr = torch.rand(2, 3, 40, 48, device=CUDA)
    with torch.inference_mode(), exact_products(CUDA):
        found = super_resolve(backbone, lr)
        with published_forwards(backbone.model):
            expected = super_resolve(backbone, lr)
        assert (found - expected).abs().max() * 255 < 0.02
        # Rounding to bf16 costs as much as in the published code, which depends on the network.
        with torch.autocast("cuda", torch.bfloat16):
            own = (super_resolve(backbone, lr).float() - expected).abs().mean()
            with published_forwards(backbone.model):
                theirs = (super_resolve(backbone, lr).float() - expected).abs().mean()
        assert own < 1.2 * theirs


def test_products_of_unaligned_sizes_are_those_of_a_linear_layer() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(180, 30).bfloat16()
    x = torch.randn(2, 7, 184).bfloat16()[..., :180]
    found = on_cuda.multiply_aligned(x, layer.weight, layer.bias)
    assert found.shape == (2, 7, 30)
    torch.testing.assert_close(found, layer(x), atol=2e-2, rtol=2e-2)
