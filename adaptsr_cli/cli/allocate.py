"""``adaptsr allocate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console
from adaptsr_cli.errors import UsageError

if TYPE_CHECKING:
    from adaptsr_cli.artifacts.rank_map import RankMap
    from adaptsr_cli.stages.allocate.from_adapter import ReallocateResult
    from adaptsr_cli.stages.common.run_folder import RunFolder


def run_command(
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="Trainable parameters: 886k, 1.2M, 8%, 886000.",
            show_default="8%; with --from what the adapter has",
        ),
    ] = None,
    run: o.Run = o.DEFAULT_RUN,
    adapter: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Spend the budget by what this trained adapter has learnt, instead of the saliency; `train` then goes "
            "on from it.",
            show_default=False,
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="spectral, greedy (the paper's Algorithm 1), proportional or uniform.", show_default="spectral"
        ),
    ] = None,
    min_rank: Annotated[
        int | None,
        typer.Option(min=0, help="Least rank. Left out: 1 if affordable; 0 for spectral.", show_default=False),
    ] = None,
    max_rank: Annotated[
        int | None,
        typer.Option(
            min=1, help="Largest rank. Left out: twice the uniform rank for greedy, else no limit.", show_default=False
        ),
    ] = None,
    modules: Annotated[
        str | None, typer.Option(help="Only these kinds of site: conv,attention,mlp,linear.", show_default=False)
    ] = None,
    saliency: Annotated[
        Path | None, typer.Option(help="Saliency file; left out: the run's.", show_default=False)
    ] = None,
    model: o.Model = None,
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Spend a parameter budget on ranks."""
    from typing import get_args

    from adaptsr_cli.artifacts.base import Strategy
    from adaptsr_cli.artifacts.rank_map import RankMap
    from adaptsr_cli.cli.parse import choose, model_choice
    from adaptsr_cli.io.documents import read_document
    from adaptsr_cli.ranking.allocation import DEFAULT_STRATEGY
    from adaptsr_cli.stages.allocate.from_adapter import ReallocateOptions, reallocate
    from adaptsr_cli.stages.allocate.stage import AllocateOptions, allocate, parse_modules
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.units import parse_budget

    console = Console(as_json=json)
    if adapter is not None:
        for name, given in (("--strategy", strategy), ("--saliency", saliency)):
            if given is not None:
                raise UsageError(f"--from goes by the adapter alone, not by {name}", f"leave {name} out, or --from")
        again = ReallocateOptions(
            run=RunFolder(run),
            model=model_choice(model, weights_dir, offline),
            adapter=adapter,
            budget=None if budget is None else parse_budget(budget),
            min_rank=min_rank,
            max_rank=max_rank,
            modules=parse_modules(modules) if modules else None,
            force=force,
        )
        show_reallocation(console, reallocate(again, console), again.run)
        return
    if model is not None:
        raise UsageError("--model is for --from", "the saliency file knows its backbone: leave --model out")
    config = AllocateOptions(
        run=RunFolder(run),
        budget=parse_budget(budget or "8%"),
        saliency=saliency,
        strategy=choose("--strategy", strategy or DEFAULT_STRATEGY, get_args(Strategy)),
        min_rank=min_rank,
        max_rank=max_rank,
        modules=parse_modules(modules) if modules else None,
        force=force,
    )
    path = allocate(config, console)
    rank_map = read_document(path, RankMap)
    show_rank_map(console, rank_map)
    console.line(f"wrote {path} and {path.with_suffix('.png').name}")
    console.line(f"next: adaptsr train --data DIR{o.run_flag(run)}")


def show_reallocation(console: Console, report: ReallocateResult, run: RunFolder) -> None:
    """The new ranks, and what becomes of the adapter that they were made from."""
    from adaptsr_cli.units import plural

    show_rank_map(console, report.rank_map)
    console.line(
        f"{plural(report.pruned, 'rank')} taken away, {report.grown:,} given; training goes on from "
        f"{report.kept_share:.2%} of the adapter's squared updates"
    )
    path = report.path
    console.line(f"wrote {path}, {path.with_suffix('.safetensors').name} and {path.with_suffix('.png').name}")
    force = " --force" if run.training.state.exists() else ""
    console.line(f"next: adaptsr train --data DIR{o.run_flag(run.root)}{force}")


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
    console.json(rank_map.model_dump(mode="json"))
