"""``adaptsr score``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.artifacts.saliency import Saliency
    from adaptsr_cli.stages.score.options import ScoreOptions


def run(options: ScoreOptions, as_json: bool) -> None:
    """Measure how much the loss wants each weight changed."""
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.cli.text import suggest
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.score.stage import run_score

    with join_group(as_json=as_json, wording=options.to_flags) as (world, console):
        result = run_score(options, progress=console, world=world)
        show_saliency(console, result.saliency)
        console.line(f"wrote {result.path}, {result.heatmap.name} and {result.directions.name}")
        console.line(suggest("allocate", "--budget", "8%", run=options.run, replaces=RunFolder(options.run).rank_map))
        console.json(result.to_json())


def make() -> Callable[..., None]:
    """The function that typer registers."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.score.options import ScoreOptions

    return make_command(ScoreOptions, run, config_file=True)


def show_saliency(console: Console, saliency: Saliency) -> None:
    """The twelve highest sites and how stable the ranking is."""
    from adaptsr_cli.units import format_params, plural

    order = sorted(saliency.sites, key=lambda site: -site.score)
    shown = order[:12]
    console.table(
        f"{len(order)} sites by {saliency.criterion}, the highest {len(shown)}",
        ("site", "kind", "shape", "weights", "score", "± over batches"),
        [
            (
                site.name,
                site.kind,
                "x".join(map(str, site.shape)),
                format_params(site.params),
                f"{site.score:.4g}",
                f"{site.score_std:.2g}",
            )
            for site in shown
        ],
    )
    if saliency.mean_spearman is not None:
        console.line(
            f"rank correlation between batches: {saliency.mean_spearman:.3f} (Spearman, mean of all pairs of "
            f"{saliency.batches} batches; the paper reports 0.91)"
        )
    if saliency.skipped:
        first = saliency.skipped[0]
        console.note(
            f"{plural(len(saliency.skipped), 'weight')} left out, each with its reason in saliency.json; the first: "
            f"{first.name}: {first.reason}"
        )
