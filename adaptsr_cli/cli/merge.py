"""``adaptsr merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console


def run_command(
    run: o.Run = o.DEFAULT_RUN,
    adapter: Annotated[Path | None, typer.Option(help="Adapter file; left out: the run's.", show_default=False)] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Merged file.", show_default=False)] = None,
    format: Annotated[str, typer.Option("--format", help="safetensors, or pth with {'params': ...}.")] = "safetensors",
    model: o.Model = None,
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Fold the adapter into the backbone's weights: same file layout, same inference cost."""
    from adaptsr_cli.cli.choices import choose, model_choice
    from adaptsr_cli.stages.merge import MergeConfig, merge
    from adaptsr_cli.stages.run_folder import RunFolder
    from adaptsr_cli.training.card import describe_params

    console = Console(as_json=json)
    config = MergeConfig(
        run=RunFolder(run),
        model=model_choice(model, weights_dir, offline),
        adapter=adapter,
        output=output,
        format=choose("--format", format, ("safetensors", "pth")),
        force=force,
    )
    report = merge(config, console)
    console.line(
        f"merged {report.sites} sites; largest difference from adapter + backbone on a probe image: "
        f"{report.max_difference:.1e} of the range"
    )
    console.line(describe_params(report.updated_params, report.inference_params))
    console.line(f"wrote {report.output}")
    console.json(
        {
            "output": str(report.output),
            "sites": report.sites,
            "updated_params": report.updated_params,
            "inference_params": report.inference_params,
            "probe_max_difference": report.max_difference,
        }
    )
    console.line(f"next: adaptsr eval --data DIR{o.run_flag(run)}")
