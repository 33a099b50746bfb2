"""``adaptsr export``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.export.options import ExportOptions


def run(options: ExportOptions, as_json: bool) -> None:
    """Write the adapted network in a file format of other programs: ONNX, ncnn (upscayl), OpenVINO, peft."""
    from adaptsr_cli.stages.export.stage import run_export

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_export(options, progress=console)
    console.line(
        f"largest difference from adapter + backbone on a probe image: {result.proof.probe_difference:.1e} of the range"
    )
    for line in result.proof.describe():
        console.line(line)
    console.line(f"wrote {result.output}" + (f" and {result.card}" if result.card else ""))
    console.json(result.to_json())


def make() -> Callable[..., None]:
    """The command."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.export.options import ExportOptions

    return make_command(ExportOptions, run)
