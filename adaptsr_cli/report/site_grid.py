"""Grids of blocks x modules for the sites, the rows and columns of the paper's Figure 5."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

_NUMBER = re.compile(r"(\d+)")


class Located(Protocol):
    """Anything with a site name and the name of the block it lies in: `SiteRank`, `SiteSaliency`."""

    @property
    def name(self) -> str:
        """Exact site name."""

    @property
    def block(self) -> str:
        """Name of its block, a prefix of the site name; empty where it lies in none."""


S = TypeVar("S", bound=Located)


@dataclass(frozen=True)
class Grid(Generic[S]):
    """The sites of all blocks whose names differ in their numbers only.

    Attributes:
        pattern: The blocks' name with ``#`` for each number: ``layers.#.residual_group.blocks.#``.
        blocks: Block names, the rows, in natural order (2 before 10).
        labels: One short label a row, the numbers alone: ``0.3``.
        modules: Names inside the block, the columns, in the order in which the sites name them: ``attn.qkv#q``.
        cells: One row a block, one entry a column; None where the block has no such site.
    """

    pattern: str
    blocks: tuple[str, ...]
    labels: tuple[str, ...]
    modules: tuple[str, ...]
    cells: tuple[tuple[S | None, ...], ...]


@dataclass(frozen=True)
class Arrangement(Generic[S]):
    """All sites: the repeated blocks as grids, largest first, and what is repeated nowhere, in the given order."""

    grids: tuple[Grid[S], ...]
    outside: tuple[S, ...]


def natural_key(text: str) -> tuple[int | str, ...]:
    """A key that sorts numbers inside of names by value: ``blocks.2`` before ``blocks.10``."""
    # re.split with a group alternates text and digits, so equal positions always hold equal types.
    return tuple(int(part) if index % 2 else part for index, part in enumerate(_NUMBER.split(text)))


def arrange_sites(sites: Sequence[S]) -> Arrangement[S]:
    """Sort sites into grids of blocks x modules.

    A block whose name pattern occurs once is no row of anything: its sites are listed as outside, as are sites
    without a block and sites that are their own block.

    Args:
        sites: The sites, in the order of the network's modules.
    """
    groups: dict[str, dict[str, list[S]]] = {}
    for site in sites:
        if site.name.startswith(f"{site.block}.") and site.block:
            groups.setdefault(_NUMBER.sub("#", site.block), {}).setdefault(site.block, []).append(site)
    grids = [_grid_of(pattern, blocks) for pattern, blocks in groups.items() if len(blocks) > 1]
    placed = {site.name for grid in grids for row in grid.cells for site in row if site is not None}
    # sort() is stable: grids of equal size stay in the order of the network
    grids.sort(key=lambda grid: -len(grid.blocks) * len(grid.modules))
    return Arrangement(tuple(grids), tuple(site for site in sites if site.name not in placed))


def _grid_of(pattern: str, blocks: dict[str, list[S]]) -> Grid[S]:
    """The grid of the blocks of one name pattern."""
    names = sorted(blocks, key=natural_key)
    found = {(block, site.name[len(block) + 1 :]): site for block in names for site in blocks[block]}
    modules = tuple(dict.fromkeys(module for _, module in found))  # a dict keeps the order, a set does not
    return Grid(
        pattern=pattern,
        blocks=tuple(names),
        labels=tuple(".".join(_NUMBER.findall(name)) for name in names),
        modules=modules,
        cells=tuple(tuple(found.get((block, module)) for module in modules) for block in names),
    )
