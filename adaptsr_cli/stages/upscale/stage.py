"""Stage ``upscale``: super-resolution of image files, one or a million."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch

from adaptsr_cli.artifacts.base import EngineChoice
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, ImageError, UsageError
from adaptsr_cli.inference.cpu_engines import CpuEngines
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.formats.camera_raw import RawRendering
from adaptsr_cli.io.images import holds_raw, is_lossy
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.runtime import Precision, describe_device, pick_device, pick_precision
from adaptsr_cli.stages.common.adapted_model import model_sha256, open_adapted
from adaptsr_cli.stages.common.auto_sharpness import settle_sharpness
from adaptsr_cli.stages.common.dial import open_run_dial
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.upscale.inputs import Inputs, find_inputs
from adaptsr_cli.stages.upscale.jobs import OutputNaming, Plan, Planner
from adaptsr_cli.stages.upscale.metadata import UpscaleSettings
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.pipeline import FileUpscaler
from adaptsr_cli.stages.upscale.results import set_results_aside
from adaptsr_cli.stages.upscale.watch import watch_folders
from adaptsr_cli.units import format_path

_MOST_NOTES: Final = 20


@dataclass(frozen=True)
class UpscaleResult:
    """What became of the inputs.

    Attributes:
        written: Input and output of what was made.
        skipped: Outputs that existed already, up to date or not.
        failed: Input and the reason.
        kept: Outputs among `skipped` that are not what would have been made now.
        left_out: What was named or found and is no input, and why: other files, and results of earlier calls.
        engines: What ran the network -> how many of `written` it made.
        engine_remarks: Why, where something other than torch was tried.
    """

    written: tuple[tuple[Path, Path], ...]
    skipped: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]
    kept: tuple[Path, ...] = ()
    left_out: tuple[tuple[Path, str], ...] = ()
    engines: Mapping[str, int] = field(default_factory=dict)
    engine_remarks: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """``N ok, M failed, K skipped``, and how many are no inputs."""
        counts = f"{len(self.written)} ok, {len(self.failed)} failed, {len(self.skipped)} skipped"
        counts += f" ({len(self.kept)} of them with a warning)" if self.kept else ""
        return f"{counts}, {len(self.left_out)} left out" if self.left_out else counts

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        return {
            "written": [{"input": str(source), "output": str(target)} for source, target in self.written],
            "skipped": [str(path) for path in self.skipped],
            "kept": [str(path) for path in self.kept],
            "failed": [{"input": str(source), "reason": reason} for source, reason in self.failed],
            "left_out": [{"input": str(source), "reason": reason} for source, reason in self.left_out],
            "engines": dict(self.engines),
            "engine_remarks": list(self.engine_remarks),
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
        UsageError: No input, or nothing but one that does not exist or is no image; an output that cannot be.
        ArtifactError: An adapter that belongs to another backbone.
    """
    return upscale_and_tell(options, lambda result: None, progress=progress, world=world)


def upscale_and_tell(
    options: UpscaleOptions, tell: Callable[[UpscaleResult], None], *, progress: Progress, world: World
) -> UpscaleResult:
    """`run_upscale`, with what it cannot return.

    Args:
        options: See there, as for the others.
        tell: Told with `watch` what became of the images that have come together, and what was done before a
            KeyboardInterrupt.
        progress: See there.
        world: See there.
    """
    naming = OutputNaming(options.output, options.suffix, options.ext)
    found = Inputs()
    if options.watch:
        _refuse_what_cannot_be_watched(options, world)
    else:
        found = find_inputs(options.inputs, recursive=options.recursive, list_file=options.list_file)
    naming.check(found)
    if not options.watch:
        found = set_results_aside(found)
        if not found.sources:  # no network is needed to say so
            return _report_plan(Plan([], found.errors, found.left_out), progress)
    upscaler = open_upscaler(options, progress, [source.path for source in found.sources])
    factor = options.outscale or float(upscaler.backbone.scale)
    identity = upscaler.backbone.identity
    network = f"{identity.architecture} x{identity.scale}"
    settings = UpscaleSettings(
        model_sha256(upscaler.backbone),
        network,
        factor,
        upscaler.precision,
        options.ensemble,
        options.quality,
        RawRendering(options.raw_white_balance, options.raw_exposure),
        options.dpi,
        options.strip,
        options.tile,
        options.tile_pad,
    )
    files = FileUpscaler(
        upscaler, settings, force=options.force, progress=progress, keep_damaged=options.damaged == "keep"
    )
    planner = Planner(naming, factor)
    title = f"upscale x{factor:g} on {describe_device(upscaler.device)}, {upscaler.precision}"
    if options.watch:
        progress.note(f"watching {', '.join(map(str, options.inputs))}; Ctrl-C ends it")
        for sources in watch_folders(options.inputs, recursive=options.recursive):
            tell(_run_files(files, planner.plan(set_results_aside(Inputs(sources))), title, progress, tell))
    plan = planner.plan(found)
    _tell_unused(options, plan, progress)
    result = _run_files(files, plan.share_of(world.rank, world.size), title, progress, tell)
    if upscaler.engines is not None:
        result = replace(result, engine_remarks=tuple(upscaler.engines.remarks))
    return _join_results(world, result, progress)


def open_upscaler(options: UpscaleOptions, progress: Progress = SILENT, photographs: Sequence[Path] = ()) -> Upscaler:
    """Open the network that the options name, adapters folded in, on its device.

    Args:
        options: Which network, and how it is run.
        progress: Told which network was loaded.
        photographs: By which `sharpness` auto chooses.

    Raises:
        UsageError: A strength, and nothing that is adapted; an unknown device; nothing to choose a sharpness by.
        ArtifactError: An adapter or a model that belongs to another backbone.
        CheckpointError: No usable network.
    """
    choice = ModelSpec.of(options.model, options.weights_dir, offline=options.offline, options=options.model_options)
    run, device = RunFolder(options.run), pick_device(options.device)
    if options.sharpness is None:
        backbone = open_adapted(run, choice, progress, adapters=options.adapters, strength=options.strength)
    else:
        dial = open_run_dial(run, choice, progress, adapters=options.adapters, strength=options.strength)
        sharpness = settle_sharpness(options.sharpness, dial, device, progress, photographs=photographs)
        dial.put(sharpness)
        progress.note(f"with {run.adapter.name} and sharpness {sharpness:g} of {dial.adapters[1].path}")
        backbone = dial.backbone.to(torch.device("cpu"))
    return make_upscaler(backbone, options, progress)


def make_upscaler(backbone: Backbone, options: UpscaleOptions, progress: Progress = SILENT) -> Upscaler:
    """Set up a network that is open, on its device.

    Args:
        backbone: The network.
        options: How it is run.
        progress: Told by what.

    Raises:
        UsageError: An unknown device, or options that contradict each other.
    """
    device = pick_device(options.device)
    if options.fp32 and options.precision not in ("auto", "fp32"):
        raise UsageError(f"`fp32` and `precision` {options.precision} contradict each other", "give one of them")
    wanted = "fp32" if options.fp32 else options.precision
    precision = pick_precision(wanted, device, bf16=backbone.traits.bf16, fp16=backbone.traits.fp16)
    compiles = options.compile == "auto"
    return Upscaler(
        backbone,
        device=device,
        precision=precision,
        tile_px=options.tile,
        pad_px=options.tile_pad,
        ensemble=options.ensemble,
        compile_blocks=compiles,
        engines=open_engines(backbone, options.engine, device, precision, progress, compiles=compiles),
        progress=progress,
    )


def open_engines(
    backbone: Backbone,
    wanted: EngineChoice,
    device: torch.device,
    precision: Precision,
    progress: Progress,
    *,
    compiles: bool = False,
) -> CpuEngines | None:
    """Set up what may run the network beside torch; None: nothing.

    Args:
        backbone: The network.
        wanted: An engine, or ``auto``.
        device: Where it runs.
        precision: In what.
        progress: Told what was decided.
        compiles: torch compiles the network's blocks.

    Raises:
        UsageError: An engine by name that does not go with the rest, or whose package is not installed.
    """
    if wanted == "torch":
        return None
    fits = device.type == "cpu" and precision == "fp32" and not compiles
    if wanted != "auto" and not fits:
        raise UsageError(
            f"`engine` {wanted} runs on the CPU in fp32, and `compile` is for torch",
            f"leave out {'`compile`' if compiles else '`device` and `precision`'}, or use `engine` torch",
        )
    return CpuEngines(backbone, wanted, progress.note) if fits else None


def _tell_unused(options: UpscaleOptions, plan: Plan, progress: Progress) -> None:
    """Tell of options for files of a kind that is not there."""
    given = options.given() if plan.jobs else {}
    if "quality" in given and not any(is_lossy(job.target) for job in plan.jobs):
        progress.note("`quality` is not used: no result is JPEG, WebP, AVIF, HEIC or JPEG XL (`ext` makes it so)")
    of_raw = [name for name in ("raw_white_balance", "raw_exposure") if name in given]
    if of_raw and not any(_holds_raw(job.source) for job in plan.jobs):
        for name in of_raw:
            progress.note(f"`{name}` is not used: no image is a camera's raw file")


def _holds_raw(path: Path) -> bool:
    try:
        return holds_raw(path)
    except ImageError:  # it will fail when it is read
        return False


def _report_plan(plan: Plan, progress: Progress) -> UpscaleResult:
    """Tell what is known before the work."""
    for unusable in plan.errors:
        _warn(progress, unusable.source, unusable.error.message, unusable.error.hint)
    for other in plan.left_out[:_MOST_NOTES]:
        progress.note(f"{format_path(other.source)} {other.reason}" + (f" ({other.hint})" if other.hint else ""))
    if len(plan.left_out) > _MOST_NOTES:
        progress.note(f"{len(plan.left_out) - _MOST_NOTES} more are left out")
    return UpscaleResult(
        (),
        (),
        tuple((unusable.source, unusable.error.message) for unusable in plan.errors),
        left_out=tuple((other.source, other.reason) for other in plan.left_out),
    )


def _run_files(
    files: FileUpscaler, plan: Plan, title: str, progress: Progress, tell: Callable[[UpscaleResult], None]
) -> UpscaleResult:
    known = _report_plan(plan, progress)
    written: list[tuple[Path, Path]] = []
    skipped: list[Path] = []
    kept: list[Path] = []
    failed = list(known.failed)
    engines: Counter[str] = Counter()

    def result() -> UpscaleResult:
        return UpscaleResult(tuple(written), tuple(skipped), tuple(failed), tuple(kept), known.left_out, engines)

    try:
        with progress.task(title, len(plan.jobs), unit="image") as task:
            for outcome in files.run(plan.jobs, task):
                source, target = outcome.job.source, outcome.job.target
                if outcome.kind == "written":
                    written.append((source, target))
                    engines[outcome.engine] += 1
                elif outcome.kind == "failed":
                    _warn(progress, source, outcome.message, outcome.hint)
                    failed.append((source, outcome.message))
                else:
                    skipped.append(target)
                    if outcome.kind == "kept":
                        kept.append(target)
                        progress.warn(f"{format_path(target)} {outcome.message}: skipped ({outcome.hint})")
    except KeyboardInterrupt:
        tell(result())
        raise
    if len(skipped) > len(kept):
        progress.note(f"{len(skipped) - len(kept)} up to date, skipped (`force` makes them again)")
    return result()


def _warn(progress: Progress, source: Path, message: str, hint: str) -> None:
    progress.warn(f"{format_path(source)}: {message}" + (f"; {hint}" if hint else ""))


def _refuse_what_cannot_be_watched(options: UpscaleOptions, world: World) -> None:
    """Refuse a watched folder into which results are written: it would feed itself."""
    if not options.inputs or not all(place.is_dir() for place in options.inputs) or options.list_file is not None:
        raise UsageError("`watch` is for folders", "name one or more folders and nothing else")
    if options.output is None:
        raise UsageError("`watch` needs `output`", "give a folder outside of those that are watched")
    if OutputNaming(options.output, options.suffix, options.ext).is_file:
        raise UsageError(f"`output` {options.output} is one file, and `watch` needs a folder", "name a folder")
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
            progress.warn(f"{format_path(source)}: {reason}")
    # This process's own come first, as it has reported them.
    ordered = [own, *(result for rank, result in enumerate(results) if rank != world.rank)]
    return UpscaleResult(
        tuple(item for result in ordered for item in result.written),
        tuple(item for result in ordered for item in result.skipped),
        tuple(item for result in ordered for item in result.failed),
        tuple(item for result in ordered for item in result.kept),
        tuple(item for result in ordered for item in result.left_out),
        sum((Counter(result.engines) for result in ordered), Counter()),
        tuple(dict.fromkeys(item for result in ordered for item in result.engine_remarks)),
    )


def single_result(result: UpscaleResult) -> Path:
    """The one output for one input.

    Raises:
        ArtifactError: It failed.
    """
    if result.failed or result.left_out:
        source, reason = (*result.failed, *result.left_out)[0]
        raise ArtifactError(f"{source} could not be upscaled: {reason}")
    return result.written[0][1] if result.written else result.skipped[0]
