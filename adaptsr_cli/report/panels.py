"""Layout of the panels of a heatmap, in inches; no drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptsr_cli.report.site_grid import Arrangement, S

CELL_WIDTH_IN = 0.44
CELL_HEIGHT_IN = 0.235
_CHARACTER_IN = 0.072  # a mean letter of the 9 pt sans-serif face used for labels
_GAP_IN = 0.3
_TITLE_IN = 0.3
_MAX_ROWS = 40  # taller panels are continued beside, so that a page of 200 blocks still fits on a screen


@dataclass(frozen=True)
class Panel:
    """A block of cells with labels.

    Attributes:
        title: What the rows are.
        rows: Row labels.
        columns: Column labels; one empty string for a plain list.
        values: (rows, columns) float64, NaN where no site is.
        rules: Rows before which a new group begins.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    rules: tuple[int, ...]

    @property
    def gutter_in(self) -> float:
        """Width of the row labels."""
        return max(len(label) for label in self.rows) * _CHARACTER_IN + 0.12

    @property
    def header_in(self) -> float:
        """Height of the title and of the column labels, which are set at 45 degrees."""
        return _TITLE_IN + 0.71 * self._longest_column * _CHARACTER_IN + (0.14 if self._longest_column else 0.0)

    @property
    def width_in(self) -> float:
        """Width with labels; slanted labels and the title may reach beyond the last column."""
        cells = len(self.columns) * CELL_WIDTH_IN
        slanted = cells + max(0.0, 0.71 * self._longest_column * _CHARACTER_IN - 0.2)
        return max(self.gutter_in + slanted, len(self.title) * _CHARACTER_IN * 1.12)

    @property
    def height_in(self) -> float:
        """Height with labels."""
        return self.header_in + len(self.rows) * CELL_HEIGHT_IN

    @property
    def _longest_column(self) -> int:
        return max(len(label) for label in self.columns)


@dataclass(frozen=True)
class PanelPosition:
    """A panel and the place of its top left corner on the page."""

    panel: Panel
    left_in: float
    top_in: float


@dataclass(frozen=True)
class Page:
    """Panels side by side, and how much room they take."""

    placements: tuple[PanelPosition, ...]
    width_in: float
    height_in: float


def panels_of(arrangement: Arrangement[S], value: Callable[[S], float]) -> list[Panel]:
    """Turn grids and the sites outside of them into panels of at most 40 rows.

    Args:
        arrangement: The sites.
        value: The number to show for a site.
    """
    panels: list[Panel] = []
    for grid in arrangement.grids:
        cells = [[np.nan if site is None else value(site) for site in row] for row in grid.cells]
        values = np.array(cells, dtype=np.float64)
        panels += _split(f"rows: {grid.pattern}", grid.labels, grid.modules, values, _rules_of(grid.labels))
    if arrangement.outside:
        names = tuple(site.name for site in arrangement.outside)
        column = np.array([[value(site)] for site in arrangement.outside], dtype=np.float64)
        panels += _split("outside of blocks" if panels else "sites", names, ("",), column, set())
    return panels


def _rules_of(labels: Sequence[str]) -> set[int]:
    """Rows at which the outer number changes: the groups of a SwinIR, for example."""
    outer = [label.rpartition(".")[0] for label in labels]
    return {row for row in range(1, len(outer)) if outer[row] != outer[row - 1]}


def _split(
    title: str, rows: Sequence[str], columns: Sequence[str], values: NDArray[np.float64], rules: set[int]
) -> list[Panel]:
    """Panels of at most 40 rows, cut where a group ends if that leaves them at least half full."""
    parts: list[Panel] = []
    start = 0
    while start < len(rows):
        stop = min(start + _MAX_ROWS, len(rows))
        if stop < len(rows):
            stop = max((rule for rule in rules if start + _MAX_ROWS // 2 <= rule <= stop), default=stop)
        inside = tuple(row - start for row in sorted(rules) if start < row < stop)
        heading = title if start == 0 else f"{title} (continued)"
        parts.append(Panel(heading, tuple(rows[start:stop]), tuple(columns), values[start:stop], inside))
        start = stop
    return parts


def pack(panels: Sequence[Panel]) -> Page:
    """Stack panels in columns no higher than the highest panel."""
    highest = max((panel.height_in for panel in panels), default=0.0)
    placements: list[PanelPosition] = []
    left = top = width = 0.0
    for panel in panels:
        if top > 0 and top + panel.height_in > highest:
            left, top, width = left + width + _GAP_IN, 0.0, 0.0
        placements.append(PanelPosition(panel, left, top))
        top += panel.height_in + _GAP_IN
        width = max(width, panel.width_in)
    return Page(tuple(placements), left + width, highest)
