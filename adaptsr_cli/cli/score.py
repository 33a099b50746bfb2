"""``adaptsr score``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.artifacts.saliency import Saliency


def run_command(
    data: o.Data = None,
    hr: o.Hr = None,
    lr_folder: o.Lr = None,
    list_file: o.ListFile = None,
    align: o.Align = None,
    run: o.Run = o.DEFAULT_RUN,
    model: o.Model = None,
    val: o.Val = None,
    criterion: Annotated[
        str,
        typer.Option(help="The score: gradient, fisher, activation, weight, snip, random or spectral; all are kept."),
    ] = "gradient",
    batches: Annotated[int, typer.Option(min=1, help="Batches that the score is averaged over.")] = 20,
    batch: o.Batch = None,
    patch: o.Patch = None,
    degrade: o.Degrade = None,
    cache_ram: o.CacheRam = None,
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    device: o.Device = "auto",
    precision: o.PrecisionChoice = "auto",
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Measure how much the loss wants each weight changed."""
    from typing import get_args

    from adaptsr_cli.artifacts.base import Criterion
    from adaptsr_cli.artifacts.saliency import Saliency
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.cli.parse import cache_sizes, choose, choose_images, model_choice
    from adaptsr_cli.io.documents import read_document
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.score import ScoreOptions, score

    config = ScoreOptions(
        run=RunFolder(run),
        model=model_choice(model, weights_dir, offline),
        data=choose_images(data, hr, lr_folder, list_file, align),
        val=val,
        criterion=choose("--criterion", criterion, get_args(Criterion)),
        batches=batches,
        batch=batch or ScoreOptions.batch,
        patch_px=patch,
        degrade=degrade,
        cache=cache_sizes(cache_ram),
        device=device,
        precision=precision,
        seed=seed,
        force=force,
    )
    with join_group(as_json=json) as (world, console):
        path = score(config, console, world)
        show_saliency(console, read_document(path, Saliency))
        console.line(f"wrote {path}, {path.with_suffix('.png').name} and {path.with_suffix('.safetensors').name}")
        console.line(f"next: adaptsr allocate --budget 8%{o.run_flag(run)}")


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
    console.json(saliency.model_dump(mode="json"))
