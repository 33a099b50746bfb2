from __future__ import annotations

from dataclasses import dataclass

from adaptsr_cli.report.site_grid import arrange_sites, natural_key


@dataclass(frozen=True)
class Place:
    name: str
    block: str


def swinir_places() -> list[Place]:
    places = [Place("conv_first", "")]
    for layer in range(2):
        for number in range(12):
            block = f"layers.{layer}.residual_group.blocks.{number}"
            modules = ("attn.qkv#q", "attn.qkv#k", "attn.qkv#v", "attn.proj", "mlp.fc1", "mlp.fc2")
            places += [Place(f"{block}.{module}", block) for module in modules]
        places.append(Place(f"layers.{layer}.conv", f"layers.{layer}"))
    return [*places, Place("upsample.0", "")]


def test_natural_key_sorts_by_number() -> None:
    names = ["blocks.10", "blocks.2", "blocks.2.b", "block", "1.blocks.0"]
    assert sorted(names, key=natural_key) == ["1.blocks.0", "block", "blocks.2", "blocks.2.b", "blocks.10"]


def test_blocks_are_rows_in_natural_order_and_modules_columns_in_network_order() -> None:
    blocks, groups = arrange_sites(swinir_places()).grids
    assert blocks.pattern == "layers.#.residual_group.blocks.#"
    assert blocks.labels == tuple(f"{layer}.{number}" for layer in range(2) for number in range(12))
    assert blocks.blocks[10] == "layers.0.residual_group.blocks.10"
    assert blocks.modules == ("attn.qkv#q", "attn.qkv#k", "attn.qkv#v", "attn.proj", "mlp.fc1", "mlp.fc2")
    cell = blocks.cells[10][2]
    assert cell is not None
    assert cell.name == "layers.0.residual_group.blocks.10.attn.qkv#v"
    assert (groups.pattern, groups.labels, groups.modules) == ("layers.#", ("0", "1"), ("conv",))


def test_every_site_is_placed_once() -> None:
    places = swinir_places()
    arrangement = arrange_sites(places)
    cells = [cell for grid in arrangement.grids for row in grid.cells for cell in row if cell is not None]
    assert sorted(place.name for place in [*cells, *arrangement.outside]) == sorted(place.name for place in places)
    assert [place.name for place in arrangement.outside] == ["conv_first", "upsample.0"]


def test_a_block_without_a_module_has_an_empty_cell() -> None:
    places = [Place("body.0.a", "body.0"), Place("body.1.a", "body.1"), Place("body.1.b", "body.1")]
    (grid,) = arrange_sites(places).grids
    assert grid.modules == ("a", "b")
    assert grid.cells[0] == (places[0], None)
    assert grid.cells[1] == (places[1], places[2])


def test_a_single_block_and_a_block_of_its_own_are_outside() -> None:
    places = [Place("head.0.a", "head.0"), Place("tail", "tail"), Place("conv", "")]
    arrangement = arrange_sites(places)
    assert arrangement.grids == ()
    assert arrangement.outside == tuple(places)


def test_a_block_name_that_only_looks_like_a_prefix_is_none() -> None:
    places = [Place("body.1.a", "body.1"), Place("body.10.a", "body.10"), Place("body.11", "body.1")]
    arrangement = arrange_sites(places)
    assert arrangement.outside == (places[2],)


def test_numbered_names_without_dots_are_blocks_too() -> None:
    (grid,) = arrange_sites([Place("block_2.c1", "block_2"), Place("block_10.c1", "block_10")]).grids
    assert (grid.pattern, grid.labels) == ("block_#", ("2", "10"))


def test_nothing_gives_nothing() -> None:
    arrangement = arrange_sites([])
    assert arrangement.grids == ()
    assert arrangement.outside == ()
