"""Stage ``upscale``: super-resolution of image files, one or a million."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.runtime import describe_device, pick_device, pick_precision
from adaptsr_cli.stages.common.adapted_model import model_sha256, open_adapted
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.upscale.jobs import InputError, Inputs, Job, OutputNaming, find_inputs, plan_jobs
from adaptsr_cli.stages.upscale.metadata import UpscaleSettings
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.pipeline import FileUpscaler
from adaptsr_cli.stages.upscale.watch import watch_folders


@dataclass(frozen=True)
class UpscaleResult:
    """What became of the inputs.

    Attributes:
        written: Input and output of what was made.
        skipped: Outputs that existed already, up to date or not.
        failed: Input and the reason.
        kept: Outputs among `skipped` that are not what would have been made now.
    """

    written: tuple[tuple[Path, Path], ...]
    skipped: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]
    kept: tuple[Path, ...] = ()

    @property
    def summary(self) -> str:
        """``N ok, M failed, K skipped``."""
        counts = f"{len(self.written)} ok, {len(self.failed)} failed, {len(self.skipped)} skipped"
        return f"{counts} ({len(self.kept)} of them made with other settings)" if self.kept else counts

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        return {
            "written": [{"input": str(source), "output": str(target)} for source, target in self.written],
            "skipped": [str(path) for path in self.skipped],
            "kept": [str(path) for path in self.kept],
            "failed": [{"input": str(source), "reason": reason} for source, reason in self.failed],
        }


def run_upscale(
    options: UpscaleOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS
) -> UpscaleResult:
    """Upscale every input; a file that fails is reported and the others are still done.

    With `watch` this never returns: it ends by KeyboardInterrupt.

    Args:
        options: Which images, by which model, and where to.
        progress: Where to tell.
        world: The processes that share the files; all of them return what became of all files.

    Raises:
        UsageError: No input, an input that does not exist, or two inputs with one output.
        ArtifactError: An adapter that belongs to another backbone.
    """
    if options.watch:
        _refuse_what_cannot_be_watched(options, world)
        found = Inputs()
    else:
        found = find_inputs(options.inputs, recursive=options.recursive, list_file=options.list_file)
    upscaler = open_upscaler(options, progress)
    factor = options.outscale or float(upscaler.backbone.scale)
    settings = UpscaleSettings(
        model_sha256(upscaler.backbone), factor, upscaler.precision, options.ensemble, options.quality
    )
    files = FileUpscaler(upscaler, settings, force=options.force, progress=progress)
    naming = OutputNaming(options.output, f"_x{factor:g}" if options.suffix is None else options.suffix, options.ext)
    title = f"upscale x{factor:g} on {describe_device(upscaler.device)}, {upscaler.precision}"
    if options.watch:
        progress.note(f"watching {', '.join(map(str, options.inputs))}; Ctrl-C ends it")
        for sources in watch_folders(options.inputs, recursive=options.recursive):
            jobs, errors, _ = plan_jobs(Inputs(sources), naming)
            _run_files(files, jobs, errors, title, progress)
    jobs, errors, results = plan_jobs(found, naming)
    for result in results:
        progress.note(f"{result.target} is the result of {result.source}: not upscaled again")
    own = _run_files(files, jobs[world.rank :: world.size], errors[world.rank :: world.size], title, progress)
    return _join_results(world, own, progress)


def open_upscaler(options: UpscaleOptions, progress: Progress = SILENT) -> Upscaler:
    """Open the network that the options name, adapters folded in, on its device.

    Args:
        options: Which network, and how it is run.
        progress: Told which network was loaded.

    Raises:
        UsageError: A strength, and nothing that is adapted; or an unknown device.
        ArtifactError: An adapter or a model that belongs to another backbone.
        CheckpointError: No usable network.
    """
    choice = ModelSpec.of(options.model, options.weights_dir, offline=options.offline)
    backbone = open_adapted(
        RunFolder(options.run), choice, progress, adapters=options.adapters, strength=options.strength
    )
    device = pick_device(options.device)
    wanted = "fp32" if options.fp32 else options.precision
    return Upscaler(
        backbone,
        device=device,
        precision=pick_precision(wanted, device, bf16=backbone.traits.bf16, fp16=backbone.traits.fp16),
        tile_px=options.tile,
        pad_px=options.tile_pad,
        ensemble=options.ensemble,
        compile_blocks=options.compile == "auto",
        progress=progress,
    )


def _run_files(
    files: FileUpscaler, jobs: Sequence[Job], errors: Sequence[InputError], title: str, progress: Progress
) -> UpscaleResult:
    written, skipped, failed, kept = [], [], [], []
    for unusable in errors:
        _warn(progress, unusable.source, unusable.error.message, unusable.error.hint)
        failed.append((unusable.source, unusable.error.message))
    with progress.task(title, len(jobs), unit="image") as task:
        for outcome in files.run(jobs, task):
            source, target = outcome.job.source, outcome.job.target
            if outcome.kind == "written":
                written.append((source, target))
            elif outcome.kind == "failed":
                _warn(progress, source, outcome.message, outcome.hint)
                failed.append((source, outcome.message))
            else:
                skipped.append(target)
                if outcome.kind == "kept":
                    kept.append(target)
                    progress.warn(f"{target} {outcome.message}: skipped ({outcome.hint})")
    if len(skipped) > len(kept):
        progress.note(f"{len(skipped) - len(kept)} up to date, skipped (`force` makes them again)")
    return UpscaleResult(tuple(written), tuple(skipped), tuple(failed), tuple(kept))


def _warn(progress: Progress, source: Path, message: str, hint: str) -> None:
    progress.warn(f"{source}: {message}" + (f"; {hint}" if hint else ""))


def _refuse_what_cannot_be_watched(options: UpscaleOptions, world: World) -> None:
    """Refuse a watched folder into which results are written: it would feed itself."""
    if not options.inputs or not all(place.is_dir() for place in options.inputs) or options.list_file is not None:
        raise UsageError("`watch` is for folders", "name one or more folders and nothing else")
    if options.output is None:
        raise UsageError("`watch` needs `output`", "give a folder outside of those that are watched")
    output = options.output.resolve()
    for place in options.inputs:
        if output.is_relative_to(place.resolve()):
            raise UsageError(f"`output` {options.output} lies in the watched folder {place}", "give one outside of it")
    if world.size > 1:
        raise UsageError("`watch` runs in one process only", "run it without torchrun")


def _join_results(world: World, own: UpscaleResult, progress: Progress) -> UpscaleResult:
    """Gather what became of the files of all processes; warn of the failures of the others."""
    results = world.gather(own)
    for rank, result in enumerate(results):
        for source, reason in result.failed if rank != world.rank else ():
            progress.warn(f"{source}: {reason}")
    # This process's own come first, as it has reported them.
    ordered = [own, *(result for rank, result in enumerate(results) if rank != world.rank)]
    return UpscaleResult(
        tuple(item for result in ordered for item in result.written),
        tuple(item for result in ordered for item in result.skipped),
        tuple(item for result in ordered for item in result.failed),
        tuple(item for result in ordered for item in result.kept),
    )


def single_result(result: UpscaleResult) -> Path:
    """The one output for one input.

    Raises:
        ArtifactError: It failed.
    """
    if result.failed:
        source, reason = result.failed[0]
        raise ArtifactError(f"{source} could not be upscaled: {reason}")
    return result.written[0][1] if result.written else result.skipped[0]
