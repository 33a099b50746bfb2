"""Every backbone: attach, train a few steps, fold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import save_tiny
from torch.nn.functional import l1_loss

from adaptsr_cli.adapters.attach import attach, fold
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable, super_resolve
from adaptsr_cli.backbones.loader import load_backbone

NAMES = ("edsr_pytorch", "edsr_basicsr", "safmn", "swinir", "drct", "hat", "dat", "span", "realplksr", "rrdb", "rcan")


def originals(backbone: Backbone) -> dict[str, torch.Tensor]:
    """The backbone's own tensors, adapted or not, without what the network derives from others."""
    state = backbone.model.state_dict()
    own = {name.replace("parametrizations.weight.original", "weight"): value for name, value in state.items()}
    return {name: value.clone() for name, value in own.items() if ".adapters." not in name and "eval_conv" not in name}


@pytest.mark.parametrize("name", NAMES)
def test_zero_update_is_bit_identical_and_training_leaves_the_backbone_alone(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / "net.safetensors"))
    image = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        expected = super_resolve(backbone, image)
    before = originals(backbone)
    table = find_sites(backbone.model, backbone.traits)
    attachment = attach(backbone.model, [(site, min(2, site.max_rank)) for site in table.sites], alpha=4.0)
    with torch.inference_mode():
        assert torch.equal(super_resolve(backbone, image), expected)

    optimizer = torch.optim.Adam(attachment.parameters(), lr=1e-2)
    target = torch.rand(1, 3, 24 * backbone.scale, 24 * backbone.scale)
    set_differentiable(backbone, True)
    for _ in range(3):
        optimizer.zero_grad()
        l1_loss(super_resolve(backbone, image), target).backward()
        optimizer.step()
    set_differentiable(backbone, False)
    after = originals(backbone)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    untouched = [site for site, factors in attachment.adapters.items() if not factors.lora_B.any()]
    assert not untouched, "no gradient reached them"

    with torch.inference_mode():
        attached = super_resolve(backbone, image)
        assert not torch.equal(attached, expected)
        fold(attachment)
        folded = super_resolve(backbone, image)
    # within 1e-6 of the output's range: the same weights, perhaps computed in another order
    assert (folded - attached).abs().max() <= 1e-6 * max(1.0, float(attached.abs().max()))
