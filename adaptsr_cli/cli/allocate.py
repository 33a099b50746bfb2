"""``adaptsr allocate``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.artifacts.rank_map import RankMap
    from adaptsr_cli.stages.allocate.options import AllocateOptions


def run(options: AllocateOptions, as_json: bool) -> None:
    """Spend a parameter budget on ranks."""
    from adaptsr_cli.cli.text import suggest
    from adaptsr_cli.stages.allocate.stage import run_allocate
    from adaptsr_cli.stages.common.run_folder import RunFolder

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_allocate(options, progress=console)
    show_rank_map(console, result.rank_map)
    console.line(f"wrote {result.path} and {result.heatmap.name}")
    console.line(suggest("train", "--data", "DIR", run=options.run, replaces=RunFolder(options.run).training.state))
    console.json(result.to_json())


def make() -> Callable[..., None]:
    """The function that typer registers."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.allocate.options import AllocateOptions

    return make_command(AllocateOptions, run)


def show_rank_map(console: Console, rank_map: RankMap) -> None:
    """A row per site, and what of the budget is spent."""
    from adaptsr_cli.units import format_params

    console.table(
        f"ranks, {rank_map.strategy}",
        ("site", "kind", "score", "rank", "parameters"),
        [
            (site.name, site.kind, f"{site.score:.4g}", str(site.rank), f"{site.params:,}")
            for site in sorted(rank_map.sites, key=lambda site: -site.score)
        ],
    )
    adapted = sum(site.rank > 0 for site in rank_map.sites)
    share = rank_map.total_params / rank_map.backbone.params
    console.line(
        f"{rank_map.total_params:,} parameters of a budget of {rank_map.budget_params:,} "
        f"({share:.1%} of the backbone's {format_params(rank_map.backbone.params)}) at {adapted} of "
        f"{len(rank_map.sites)} sites"
    )
