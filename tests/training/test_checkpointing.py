"""Checkpointed blocks give the same gradients from less that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import save_tiny
from torch import Tensor

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.step import GradientStep


@pytest.mark.parametrize(("name", "method"), [("swinir", "lora"), ("swinir", "dora"), ("edsr_basicsr", "lora")])
def test_gradients_are_the_same_and_less_is_kept(name: str, method: Method, tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / f"{name}.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    attachment = attach(backbone.model, [(site, 1) for site in sites], alpha=1.0, method=method)
    parameters = list(attachment.parameters())
    for parameter in parameters:
        torch.nn.init.normal_(parameter, std=0.1)
    cpu = torch.device("cpu")
    objective = make_objective("fidelity", weights_dir=tmp_path, device=cpu, seed=0, iterations=1, scale=4)
    lr, hr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64)
    results = []
    for blocks in ((), tuple({site.block for site in sites if site.block})):
        kept: dict[int, int] = {}

        def pack(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        step = GradientStep(backbone, attachment, objective, device=cpu, precision="fp32", checkpointed=blocks)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            means, sr = step.run(lr, hr, 0)
        means.put_back()
        results.append((sr, [parameter.grad.clone() for parameter in parameters], sum(kept.values())))
        assert not any("_Again" in type(vars(module).get("forward")).__name__ for module in backbone.model.modules())
    (sr, gradients, _), (sr_again, gradients_again, _) = results
    assert torch.equal(sr, sr_again)
    torch.testing.assert_close(gradients_again, gradients, atol=1e-6, rtol=1e-4)


def test_a_checkpointed_block_keeps_its_input_only() -> None:
    from adaptsr_cli.training.checkpointing import blocks_checkpointed

    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)))
    x = torch.randn(5, 8, requires_grad=True)
    sizes = []
    for blocks in ((), ("0",)):
        saved: list[int] = []

        def pack(tensor: Tensor, saved: list[int] = saved) -> Tensor:
            saved.append(tensor.numel())
            return tensor

        with (
            blocks_checkpointed(model, blocks),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            model(x)
        sizes.append(sum(saved))
    assert sizes[1] < sizes[0] / 2
