"""Calling networks: sizes, padding, gradients, and the facts in the table."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import ARCHITECTURES, save_tiny
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import (
    MAX_REACH_PX,
    TRAITS,
    Backbone,
    Traits,
    fit_to_network,
    padded_size_px,
    receptive_field_px,
    set_differentiable,
    super_resolve,
    traits_of,
)
from adaptsr_cli.backbones.loader import load_backbone


@pytest.fixture
def load(tmp_path: Path):  # type: ignore[no-untyped-def]
    return lambda name: load_backbone(save_tiny(name, tmp_path / f"{name}.safetensors"))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 33), (17, 5)])
def test_images_of_any_size_are_enlarged(name: str, height: int, width: int, load) -> None:  # type: ignore[no-untyped-def]
    lr = torch.rand(1, 3, height, width)
    with torch.no_grad():
        sr = super_resolve(load(name), lr)
    assert sr.shape == (1, 3, 4 * height, 4 * width)
    assert bool(torch.isfinite(sr).all())


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [16, 19])
def test_the_callers_image_is_never_changed(name: str, size: int, load) -> None:  # type: ignore[no-untyped-def]
    lr = torch.rand(2, 3, size, size)
    before = lr.clone()
    backbone = load(name)
    super_resolve(backbone, lr)
    set_differentiable(backbone, True)
    super_resolve(backbone, lr)
    assert torch.equal(lr, before)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_reach_every_weight_that_may_be_adapted(name: str, load) -> None:  # type: ignore[no-untyped-def]
    backbone = load(name)
    with torch.no_grad():
        plain = super_resolve(backbone, torch.full((2, 3, 16, 16), 0.5))
    backbone.model.requires_grad_(True)
    set_differentiable(backbone, True)
    sr = super_resolve(backbone, torch.full((2, 3, 16, 16), 0.5))
    torch.testing.assert_close(sr.detach(), plain, atol=2e-3, rtol=1e-3)
    sr.square().sum().backward()
    missed = [n for n, parameter in backbone.model.named_parameters() if parameter.grad is None]
    never = backbone.traits.never_adapt
    assert [n for n in missed if not any(re.fullmatch(p, n.rpartition(".")[0]) for p in never)] == []


def test_differentiable_wakes_no_dropout_and_no_batch_statistics(load) -> None:  # type: ignore[no-untyped-def]
    for name in ("dat", "swinir", "realplksr", "span"):
        backbone = load(name)
        set_differentiable(backbone, True)
        awake = {type(module).__name__ for module in backbone.model.modules() if module.training}
        assert awake <= {"PLKConv2d", "Conv2d"}
        assert bool(awake) == (name == "realplksr")
        set_differentiable(backbone, False)
        assert not [module for module in backbone.model.modules() if module.training]


def test_realplksr_without_train_mode_has_no_gradient(load) -> None:  # type: ignore[no-untyped-def]
    """Why the trait exists: should this ever pass, the trait can go."""
    backbone = load("realplksr")
    backbone.model.requires_grad_(True)
    with pytest.raises(RuntimeError, match="inplace"):
        super_resolve(backbone, torch.rand(1, 3, 8, 8)).sum().backward()


class Nearest(nn.Module):
    """Repeats every pixel, keeps what it was given, and computes a batch as if it were its first image."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def forward(self, lr: Tensor) -> Tensor:
        self.given.append(lr)
        return lr[:1].expand_as(lr).repeat_interleave(2, 2).repeat_interleave(2, 3)


def nearest(load, **changes: object) -> Backbone:  # type: ignore[no-untyped-def]
    backbone = load("safmn_x2")
    return replace(backbone, model=Nearest(), multiple_px=1, minimum_px=1, square=False, **changes)


def test_padding_is_a_mirror_and_then_the_edge(load) -> None:  # type: ignore[no-untyped-def]
    backbone = replace(nearest(load), minimum_px=8)
    lr = torch.tensor([1.0, 2.0, 3.0]).expand(1, 3, 1, 3)
    sr = super_resolve(backbone, lr)
    assert backbone.model.given[0][0, 0].tolist() == [[1, 2, 3, 2, 1, 1, 1, 1]] * 8
    assert torch.equal(sr[0, 0, 0], torch.tensor([1.0, 1, 2, 2, 3, 3]))
    assert sr.shape == (1, 3, 2, 6)


def test_no_padding_where_none_is_needed(load) -> None:  # type: ignore[no-untyped-def]
    backbone = replace(nearest(load), multiple_px=8, minimum_px=8)
    assert fit_to_network(backbone, torch.rand(1, 3, 8, 16)).shape == (1, 3, 8, 16)


@pytest.mark.parametrize(
    ("multiple", "minimum", "square", "expected"),
    [(1, 1, False, (10, 7)), (8, 1, False, (16, 8)), (8, 20, False, (24, 24)), (4, 1, True, (12, 12))],
)
def test_padded_sizes(multiple: int, minimum: int, square: bool, expected: tuple[int, int], load) -> None:  # type: ignore[no-untyped-def]
    backbone = replace(nearest(load), multiple_px=multiple, minimum_px=minimum, square=square)
    assert padded_size_px(backbone, 10, 7) == expected


def test_networks_that_cannot_take_a_batch_get_one_image_at_a_time(load) -> None:  # type: ignore[no-untyped-def]
    backbone = nearest(load, traits=Traits(one_image_at_a_time=True))
    lr = torch.rand(3, 3, 4, 4)
    assert torch.equal(super_resolve(backbone, lr)[..., ::2, ::2], lr)
    assert len(backbone.model.given) == 3


def test_reach_counts_kernels_and_dilation() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, (3, 5), dilation=2))
    assert receptive_field_px(model) == 5


def test_the_reach_of_a_chain_is_what_a_pixel_depends_on(load) -> None:  # type: ignore[no-untyped-def]
    for name in ("edsr_pytorch", "span", "rrdb"):
        backbone = load(name)
        assert backbone.halo_px is not None
        size = 2 * backbone.halo_px + 9
        lr = torch.rand(1, 3, size, size, requires_grad=True)
        set_differentiable(backbone, True)
        centre = size // 2 * 4
        super_resolve(backbone, lr)[..., centre : centre + 4, centre : centre + 4].sum().backward()
        assert lr.grad is not None
        columns = lr.grad.abs().sum((0, 1, 2)).nonzero().flatten()
        reach = max(size // 2 - int(columns.min()), int(columns.max()) - size // 2)
        assert backbone.halo_px - 3 <= reach <= backbone.halo_px  # convolutions after the enlargement reach less


def test_halo_and_alignment_are_those_of_the_network(load) -> None:  # type: ignore[no-untyped-def]
    assert load("swinir").tile_multiple_px == 8
    assert load("safmn").tile_multiple_px == 8
    assert load("drct").tile_multiple_px == 16
    for name in ARCHITECTURES:
        backbone = load(name)
        assert backbone.halo_px is not None
        assert 0 < backbone.halo_px <= MAX_REACH_PX
        assert backbone.halo_px % backbone.tile_multiple_px == 0


def test_the_table_names_only_what_spandrel_or_we_know() -> None:
    from spandrel import MAIN_REGISTRY

    assert set(TRAITS) - {str(support.architecture.id) for support in MAIN_REGISTRY} == {"EDSR"}
    assert traits_of("NoSuchNetwork") == Traits()


def test_constants_are_never_adapted(load) -> None:  # type: ignore[no-untyped-def]
    for name, constant in (("rcan", "sub_mean"), ("edsr_pytorch", "add_mean")):
        backbone = load(name)
        backbone.model.get_submodule(constant)
        assert any(re.fullmatch(pattern, constant) for pattern in backbone.traits.never_adapt)


def test_what_tiles_give_is_told(load) -> None:  # type: ignore[no-untyped-def]
    assert load("span").describe_tiles().endswith("; equal to the whole image")
    assert "fades" in load("safmn").describe_tiles()
    for name in ("dat", "hat", "rcan", "realplksr"):
        assert load(name).traits.looks_at_all
        assert "not equal" in load(name).describe_tiles()
    for name in ("edsr_pytorch", "safmn", "swinir"):
        assert not load(name).traits.looks_at_all
