"""Sites: which weights can be adapted, under which names."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import save_tiny
from spandrel.architectures.SwinIR import SwinIR
from torch import nn

from adaptsr_cli.adapters.sites import SiteTable, find_sites
from adaptsr_cli.backbones.backbone import Traits
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.ranking.allocation import AllocationSite, allocate_uniform


def table_of(name: str, folder: Path) -> SiteTable:
    backbone = load_backbone(save_tiny(name, folder / f"{name}.safetensors"))
    return find_sites(backbone.model, backbone.traits)


def test_check_figure_of_swinir_m() -> None:
    """Uniform rank 8 on SwinIR-M x4 costs 884,208 parameters by the formulas of AdaptSR, Eq. 1-3 and 5."""
    model = SwinIR(
        upscale=4,
        img_size=64,
        window_size=8,
        img_range=1.0,
        depths=[6] * 6,
        embed_dim=180,
        num_heads=[6] * 6,
        mlp_ratio=2,
        upsampler="pixelshuffle",
        resi_connection="1conv",
    )
    sites = find_sites(model, Traits()).sites
    assert sum(8 * site.rank_cost for site in sites) == 884_208
    candidates = [AllocationSite(site.name, 1.0, site.rank_cost, site.max_rank) for site in sites]
    ranks = allocate_uniform(candidates, 886_000)
    # What is spent is less, since rank 8 on the 3 channels of the first convolution would outgrow its weight.
    assert {name: rank for name, rank in ranks.items() if rank != 8} == {"conv_first": 2}
    assert sum(candidate.rank_cost * ranks[candidate.name] for candidate in candidates) == 874_470
    assert sum(site.kind == "attention" for site in sites) == 36 * 4
    assert sum(site.kind == "mlp" for site in sites) == 36 * 2
    blocks = {site.block for site in sites if site.kind == "mlp"}
    assert len(blocks) == 36
    assert "layers.0.residual_group.blocks.3" in blocks


def test_fused_projection_is_three_sites(tmp_path: Path) -> None:
    table = table_of("swinir", tmp_path)
    fused = [site for site in table.sites if site.module == "layers.0.residual_group.blocks.0.attn.qkv"]
    width = fused[0].shape[0]
    assert [site.name.rpartition("#")[2] for site in fused] == ["q", "k", "v"]
    assert [site.rows for site in fused] == [(0, width), (width, 2 * width), (2 * width, 3 * width)]


def test_depthwise_convolutions_are_left_out_with_the_reason(tmp_path: Path) -> None:
    table = table_of("safmn", tmp_path)
    left_out = {entry.name: entry.reason for entry in table.skipped}
    assert "one rank costs" in left_out["feats.0.safm.mfr.0"]
    assert "feats.0.safm.aggr" in table.by_name()


def test_mean_shifts_are_never_adapted(tmp_path: Path) -> None:
    for name in ("edsr_pytorch", "rcan"):
        table = table_of(name, tmp_path)
        assert not [site for site in table.sites if "mean" in site.name]


def test_no_adapter_can_outgrow_its_weight(tmp_path: Path) -> None:
    for name in ("edsr_basicsr", "safmn", "swinir", "drct", "hat", "dat", "span", "realplksr", "rrdb"):
        for site in table_of(name, tmp_path).sites:
            assert site.max_rank >= 1
            assert site.max_rank * site.rank_cost <= site.params < (site.max_rank + 1) * site.rank_cost


def test_shared_weight_is_adapted_once() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    model[1].weight = model[0].weight
    table = find_sites(model, Traits())
    assert [site.name for site in table.sites] == ["0"]
    assert table.skipped[0].reason == "shares its weight with 0"


def test_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    table = table_of("safmn", tmp_path)
    with pytest.raises(ArtifactError, match=r"does not have: feats\.0\.ccm\.ccm\.1") as caught:
        table.select(["feats.0.ccm.ccm.1"], "rank_map.json")
    assert "feats.0.ccm.ccm" in caught.value.hint


def test_convolutions_inside_a_block_share_its_row(tmp_path: Path) -> None:
    blocks = {site.name: site.block for site in table_of("rrdb", tmp_path).sites}
    assert {block for name, block in blocks.items() if ".RDB1." in name} != {""}
    blocks = {site.name: site.block for site in table_of("edsr_pytorch", tmp_path).sites}
    assert blocks["body.0.body.0"] == blocks["body.0.body.2"] == "body.0"
    assert blocks["head.0"] == ""
