from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from adaptsr_cli.report.panels import Page, Panel, pack, panels_of
from adaptsr_cli.report.site_grid import arrange_sites


@dataclass(frozen=True)
class Place:
    name: str
    block: str


def places_of(groups: int, blocks: int, modules: tuple[str, ...]) -> list[Place]:
    names = [f"body.{group}.body.{block}" for group in range(groups) for block in range(blocks)]
    return [Place(f"{name}.{module}", name) for name in names for module in modules]


def panels_for(places: list[Place]) -> list[Panel]:
    values = {place.name: float(number) for number, place in enumerate(places)}
    return panels_of(arrange_sites(places), lambda place: values[place.name])


def test_values_stand_where_the_sites_are_and_nan_elsewhere() -> None:
    places = [Place("b.0.x", "b.0"), Place("b.1.x", "b.1"), Place("b.1.y", "b.1"), Place("last", "")]
    grid, rest = panels_for(places)
    np.testing.assert_array_equal(grid.values, [[0, np.nan], [1, 2]])
    assert (grid.title, grid.rows, grid.columns) == ("rows: b.#", ("0", "1"), ("x", "y"))
    assert (rest.title, rest.rows, rest.columns) == ("outside of blocks", ("last",), ("",))


@pytest.mark.parametrize(("groups", "blocks"), [(10, 20), (6, 6), (9, 6), (1, 100), (3, 41)])
def test_long_grids_are_cut_into_panels_and_lose_no_row(groups: int, blocks: int) -> None:
    panels = panels_for(places_of(groups, blocks, ("0", "2")))
    assert all(len(panel.rows) <= 40 for panel in panels)
    labels = [f"{group}.{block}" for group in range(groups) for block in range(blocks)]
    assert [row for panel in panels for row in panel.rows] == labels
    assert sum(panel.values.size for panel in panels) == 2 * groups * blocks


def test_cuts_fall_between_groups_where_that_is_possible() -> None:
    panels = panels_for(places_of(10, 20, ("0",)))
    assert [panel.rows[0] for panel in panels] == ["0.0", "2.0", "4.0", "6.0", "8.0"]
    assert all(panel.rules == (20,) for panel in panels)
    assert panels[1].title.endswith("(continued)")


@pytest.mark.parametrize(
    "places",
    [
        [*places_of(6, 6, ("attn.qkv#q", "mlp.fc1")), Place("conv_before_upsample.0", ""), Place("conv_last", "")],
        places_of(10, 20, ("body.0", "body.3.conv_du.2")) + [Place(f"tail.{n}", "") for n in range(50)],
        [Place(f"b.{n}.x", f"b.{n}") for n in range(8)] + [Place("to_feat", "")],
        [Place("only", "")],
    ],
)
def test_panels_on_a_page_do_not_overlap_and_lie_inside(places: list[Place]) -> None:
    page = pack(panels_for(places))
    boxes = [(p.left_in, p.top_in, p.left_in + p.panel.width_in, p.top_in + p.panel.height_in) for p in page.placements]
    for box in boxes:
        assert box[2] <= page.width_in + 1e-9
        assert box[3] <= page.height_in + 1e-9
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_no_panel_takes_no_room() -> None:
    assert pack([]) == Page((), 0.0, 0.0)
