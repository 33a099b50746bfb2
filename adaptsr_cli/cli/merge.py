"""``adaptsr merge``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptsr_cli.cli.console import Console
from adaptsr_cli.cli.text import suggest

if TYPE_CHECKING:
    from adaptsr_cli.stages.merge.options import MergeOptions
    from adaptsr_cli.stages.merge.stage import MergeResult


def run(options: MergeOptions, as_json: bool) -> None:
    """Fold adapters into the backbone's weights: same file layout, same inference cost."""
    from adaptsr_cli.artifacts.card import describe_params
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.merge.stage import run_merge

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_merge(options, progress=console)
    _show_blend(console, result)
    console.line(
        f"merged {result.sites} sites; largest difference from adapter + backbone on a probe image: "
        f"{result.max_difference:.1e} of the range"
    )
    console.line(describe_params(result.updated_params, result.inference_params))
    console.line(f"wrote {result.output}")
    console.json(result.to_json())
    named = () if options.output is None else ("--model", result.output)
    scores = RunFolder(options.run).evaluation if options.output is None else None
    console.line(suggest("eval", "--data", "DIR", *named, run=options.run, replaces=scores))


def _show_blend(console: Console, result: MergeResult) -> None:
    """Show which adapters were merged with which weight, and what tuning has gained."""
    blend, tuned = result.blend, result.tuned
    if blend is None:
        return
    if len(blend.parts) > 1 or tuned is not None or blend.strength != 1:
        parts = ", ".join(f"{part.weight:g} x {part.name}" for part in blend.parts)
        console.line(f"blend: {parts}; strength {blend.strength:g}")
    if blend.perceptual is not None:
        console.line(f"sharpness {blend.perceptual.sharpness:g} of {blend.perceptual.name}, on top of that")
    if tuned is not None:
        if len(tuned.alone) > 1:
            alone = ", ".join(f"{score:.3f}" for score in tuned.alone)
            console.line(f"the adapters alone: {alone} dB PSNR-Y; their average: {tuned.plain:.3f} dB")
        plain = "the average" if len(tuned.alone) > 1 else "the adapter as trained"
        gain = tuned.score - tuned.plain
        console.line(f"tuned: {tuned.score:.3f} dB PSNR-Y, {gain:+.3f} dB over {plain}")


def make() -> Callable[..., None]:
    """The command."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.merge.options import MergeOptions

    return make_command(MergeOptions, run)
