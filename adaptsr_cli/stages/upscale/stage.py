"""Stage ``upscale``: super-resolving image files, one or a million."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.progress import Progress
from adaptsr_cli.runtime import describe_device, pick_device, pick_precision
from adaptsr_cli.stages.common.adapted_model import model_sha256, open_adapted
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.upscale.jobs import InputError, Inputs, Job, OutputNaming, find_inputs, plan_jobs
from adaptsr_cli.stages.upscale.metadata import UpscaleSettings
from adaptsr_cli.stages.upscale.pipeline import FileUpscaler
from adaptsr_cli.stages.upscale.watch import watch_folders


@dataclass(frozen=True)
class UpscaleOptions:
    """What to upscale and where to put it.

    Attributes:
        inputs: Image files and folders.
        output: A file (for one input) or a folder; None for beside the input.
        outscale: Final factor; None for the network's own.
        tile_px: Tile side in LR pixels, 0 for the whole image, None for automatic.
        pad_px: LR pixels of context around a tile; None for what the network needs.
        suffix: Put behind the name; None for ``_x4`` (the factor); empty keeps the name.
        ext: File type of the result, without dot; ``auto`` keeps the input's.
        quality: Of lossy files.
        recursive: Go into the folders below; they are mirrored under `output`.
        list_file: A text file of further inputs; ``-`` for the standard input.
        watch: Stay, and upscale what comes into the folders.
        adapters: Adapter files whose updates are added to the backbone, in memory.
        strength: 0 for the backbone, 1 for the adapted model.
        ensemble: Average over eight turned and mirrored copies.
        compile_blocks: Try the network's blocks compiled where there is enough work, and keep what is faster.
        shard: Which of how many processes this is; it takes every so many-th file.
        force: Replace whatever exists.
    """

    run: RunFolder
    model: ModelSpec
    inputs: tuple[Path, ...]
    output: Path | None = None
    outscale: float | None = None
    tile_px: int | None = None
    pad_px: int | None = None
    suffix: str | None = None
    ext: str = "auto"
    quality: int = 95
    recursive: bool = False
    list_file: str | None = None
    watch: bool = False
    adapters: tuple[Path, ...] = ()
    strength: float = 1.0
    ensemble: bool = False
    compile_blocks: bool = False
    shard: tuple[int, int] = (0, 1)
    device: str = "auto"
    precision: str = "auto"
    force: bool = False


@dataclass(frozen=True)
class UpscaleResult:
    """What became of the inputs.

    Attributes:
        written: Input and output of what was made.
        skipped: Outputs that existed already, the other ones included.
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
        return f"{counts} ({len(self.kept)} of them made otherwise)" if self.kept else counts


def upscale(config: UpscaleOptions, progress: Progress) -> UpscaleResult:
    """Upscales every input; a file that fails is reported and the others go on.

    With `watch` this never returns: it ends by KeyboardInterrupt.

    Raises:
        UsageError: No input, an input that does not exist, or two inputs with one output.
        ArtifactError: An adapter that belongs to another backbone.
    """
    if config.watch:
        _refuse_what_cannot_be_watched(config)
        found = Inputs()
    else:
        found = find_inputs(config.inputs, recursive=config.recursive, list_file=config.list_file)
    backbone = open_adapted(config.run, config.model, progress, adapters=config.adapters, strength=config.strength)
    factor = config.outscale or float(backbone.scale)
    suffix = f"_x{factor:g}" if config.suffix is None else config.suffix
    naming = OutputNaming(config.output, suffix, config.ext)
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device, bf16=backbone.traits.bf16, fp16=backbone.traits.fp16)
    settings = UpscaleSettings(model_sha256(backbone), factor, precision, config.ensemble, config.quality)
    upscaler = Upscaler(
        backbone,
        device=device,
        precision=precision,
        tile_px=config.tile_px,
        pad_px=config.pad_px,
        ensemble=config.ensemble,
        compile_blocks=config.compile_blocks,
        progress=progress,
    )
    files = FileUpscaler(upscaler, settings, force=config.force, progress=progress)
    title = f"upscale x{factor:g} on {describe_device(device)}, {precision}"
    if config.watch:
        progress.note(f"watching {', '.join(map(str, config.inputs))}; Ctrl-C ends it")
        for sources in watch_folders(config.inputs, recursive=config.recursive):
            jobs, faults, _ = plan_jobs(Inputs(sources), naming)
            _run_files(files, jobs, faults, title, progress)
    jobs, faults, results = plan_jobs(found, naming)
    for result in results:
        progress.note(f"{result.target} is the result of {result.source}: not upscaled again")
    rank, size = config.shard
    return _run_files(files, jobs[rank::size], faults[rank::size], title, progress)


def _run_files(
    files: FileUpscaler, jobs: Sequence[Job], faults: Sequence[InputError], title: str, progress: Progress
) -> UpscaleResult:
    written, skipped, failed, kept = [], [], [], []
    for fault in faults:
        _warn(progress, fault.source, fault.error.message, fault.error.hint)
        failed.append((fault.source, fault.error.message))
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
        progress.note(f"made just so already, and skipped: {len(skipped) - len(kept)} (--force makes them again)")
    return UpscaleResult(tuple(written), tuple(skipped), tuple(failed), tuple(kept))


def _warn(progress: Progress, source: Path, message: str, hint: str) -> None:
    progress.warn(f"{source}: {message}" + (f"; {hint}" if hint else ""))


def _refuse_what_cannot_be_watched(config: UpscaleOptions) -> None:
    """A watched folder into which results are written would feed itself."""
    if not config.inputs or not all(place.is_dir() for place in config.inputs) or config.list_file is not None:
        raise UsageError("--watch is for folders", "name one or more folders and nothing else")
    if config.output is None:
        raise UsageError("--watch needs --output", "give a folder outside of those that are watched")
    output = config.output.resolve()
    for place in config.inputs:
        if output.is_relative_to(place.resolve()):
            raise UsageError(f"--output {config.output} lies in the watched folder {place}", "give one outside of it")
    if config.shard != (0, 1):
        raise UsageError("--watch is work for one process", "run it without torchrun")


def join_reports(reports: Sequence[UpscaleResult]) -> UpscaleResult:
    """What became of the inputs of several processes."""
    return UpscaleResult(
        tuple(item for report in reports for item in report.written),
        tuple(item for report in reports for item in report.skipped),
        tuple(item for report in reports for item in report.failed),
        tuple(item for report in reports for item in report.kept),
    )


def single_result(report: UpscaleResult) -> Path:
    """The one output of a report on one input.

    Raises:
        ArtifactError: It failed.
    """
    if report.failed:
        source, reason = report.failed[0]
        raise ArtifactError(f"{source} could not be upscaled: {reason}")
    return report.written[0][1] if report.written else report.skipped[0]
