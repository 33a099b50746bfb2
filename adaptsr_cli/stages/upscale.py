"""Stage ``upscale``: super-resolving image files, each failing alone (R13, R15)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import AdaptsrError, ArtifactError, UsageError
from adaptsr_cli.inference.colour import upscale_picture
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.images import IMAGE_SUFFIXES, list_images, read_picture, write_picture
from adaptsr_cli.progress import Progress, Task
from adaptsr_cli.runtime import describe_device, pick_device, pick_precision
from adaptsr_cli.stages.run_folder import ModelChoice, RunFolder, load_model, open_backbone


@dataclass(frozen=True)
class UpscaleConfig:
    """What to upscale and where to put it.

    Attributes:
        inputs: Image files and folders.
        output: A file (for one input) or a folder; None for beside the input.
        outscale: Final factor; None for the network's own.
        tile_px: Tile side in LR pixels, 0 for the whole image, None for automatic.
        pad_px: LR pixels of context around a tile; None for what the network needs.
        suffix: Put behind the name; None for ``_x4`` (the factor); empty keeps the name.
        ext: File type of the result, without dot; ``auto`` keeps the input's.
    """

    run: RunFolder
    model: ModelChoice
    inputs: tuple[Path, ...]
    output: Path | None = None
    outscale: float | None = None
    tile_px: int | None = None
    pad_px: int | None = None
    suffix: str | None = None
    ext: str = "auto"
    quality: int = 95
    recursive: bool = False
    device: str = "auto"
    precision: str = "auto"
    force: bool = False


@dataclass(frozen=True)
class UpscaleReport:
    """What became of the inputs.

    Attributes:
        written: Input and output of what was made.
        skipped: Outputs that existed already.
        failed: Input and the reason.
    """

    written: tuple[tuple[Path, Path], ...]
    skipped: tuple[Path, ...]
    failed: tuple[tuple[Path, str], ...]

    @property
    def summary(self) -> str:
        """``N ok, M failed, K skipped``."""
        return f"{len(self.written)} ok, {len(self.failed)} failed, {len(self.skipped)} skipped"


@dataclass(frozen=True)
class _Job:
    source: Path
    target: Path


def upscale(config: UpscaleConfig, progress: Progress) -> UpscaleReport:
    """Upscales every input; a file that fails is reported and the others go on.

    Raises:
        UsageError: No input, an input that does not exist, or two inputs with one output.
    """
    sources = list(_expand(config))
    backbone = _open_model(config, progress)
    factor = config.outscale or float(backbone.scale)
    jobs = _plan(config, sources, factor)
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device, bf16=backbone.traits.bf16, fp16=backbone.traits.fp16)
    upscaler = Upscaler(
        backbone,
        device=device,
        precision=precision,
        tile_px=config.tile_px,
        pad_px=config.pad_px,
        progress=progress,
    )
    written, skipped, failed = [], [], []
    title = f"upscale x{factor:g} on {describe_device(device)}, {precision}"
    with progress.task(title, len(jobs), unit="image") as task:
        for job in jobs:
            if job.target.exists() and not config.force:
                progress.note(f"{job.target} exists already: skipped (--force replaces it)")
                skipped.append(job.target)
            else:
                try:
                    _upscale_file(job, config, upscaler, factor, progress, task)
                    written.append((job.source, job.target))
                except AdaptsrError as error:
                    progress.warn(f"{job.source}: {error.message}" + (f"; {error.hint}" if error.hint else ""))
                    failed.append((job.source, error.message))
            task.advance()
    return UpscaleReport(tuple(written), tuple(skipped), tuple(failed))


def _upscale_file(
    job: _Job, config: UpscaleConfig, upscaler: Upscaler, factor: float, progress: Progress, task: Task
) -> None:
    task.show(file=job.source.name)
    picture = read_picture(job.source)
    if picture.reduced_from_16_bit:
        progress.warn(f"{job.source}: 16 bits a channel were read as 8")
    result = upscale_picture(upscaler, picture, outscale=factor)
    write_picture(job.target, result, quality=config.quality)


def _open_model(config: UpscaleConfig, progress: Progress) -> Backbone:
    """``--model``, else the run's merged model, else its backbone, else the embedded default; says which."""
    run, choice = config.run, config.model
    if choice.name is None and run.merged.exists():
        merged = ModelChoice(str(run.merged), choice.weights_dir, choice.offline)
        return load_model(merged, progress)
    if choice.name is None and run.record.exists():
        todo = "adaptsr merge" if run.adapter.exists() else "adaptsr train"
        progress.warn(f"{run.root} has no merged model: using its backbone as it is (`{todo}` comes first)")
        return open_backbone(run, choice, progress, record=False)
    return load_model(choice, progress)


def _expand(config: UpscaleConfig) -> Iterator[tuple[Path, Path]]:
    """Every input image with its path relative to the folder it was found in."""
    if not config.inputs:
        raise UsageError("no image to upscale", "name images or folders: adaptsr upscale in.png")
    for place in config.inputs:
        if place.is_dir():
            images = list_images(place, recursive=config.recursive)
            if not images:
                deeper = list_images(place, recursive=True)
                hint = "give --recursive to go into its folders" if deeper else "is it the right folder?"
                raise UsageError(f"{place} has no image", hint)
            yield from ((image, image.relative_to(place)) for image in images)
        elif place.exists():
            yield place, Path(place.name)
        else:
            raise UsageError(f"{place} does not exist", "check the path")


def _plan(config: UpscaleConfig, sources: Sequence[tuple[Path, Path]], factor: float) -> list[_Job]:
    suffix = f"_x{factor:g}" if config.suffix is None else config.suffix
    output = config.output
    names_file = output is not None and output.suffix.lower() in IMAGE_SUFFIXES and not output.is_dir()
    if output is not None and names_file:
        if len(sources) != 1:
            raise UsageError(f"--output {output} is one file, but there are {len(sources)} images", "give a folder")
        jobs = [_Job(sources[0][0], output)]
    else:
        jobs = []
        for source, relative in sources:
            ext = source.suffix if config.ext == "auto" else f".{config.ext.lower().lstrip('.')}"
            if ext.lower() not in IMAGE_SUFFIXES:
                known = ", ".join(sorted(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES))
                raise UsageError(f"{ext or source} is no image type that can be written", f"give --ext: {known}")
            place = source.parent if output is None else output / relative.parent
            jobs.append(_Job(source, place / f"{source.stem}{suffix}{ext}"))
    targets: dict[Path, Path] = {}
    for job in jobs:
        if job.target.resolve() == job.source.resolve():
            raise UsageError(f"{job.source} would be overwritten by its own result", "give --suffix or --output")
        if job.target in targets:
            raise UsageError(
                f"{targets[job.target]} and {job.source} would both become {job.target}",
                "give another --ext or upscale them into different folders",
            )
        targets[job.target] = job.source
    return jobs


def single_result(report: UpscaleReport) -> Path:
    """The one output of a report on one input.

    Raises:
        ArtifactError: It failed.
    """
    if report.failed:
        source, reason = report.failed[0]
        raise ArtifactError(f"{source} could not be upscaled: {reason}")
    return report.written[0][1] if report.written else report.skipped[0]
