"""Stage ``eval``: scores of any models, and of other systems' images, by one named protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch

from adaptsr_cli.artifacts.base import Scalar
from adaptsr_cli.artifacts.degradation import Degradation
from adaptsr_cli.artifacts.evaluation import ColourChartScores, Evaluation, ImageScores, LeftOutImage, Seen
from adaptsr_cli.artifacts.files import FileAccount
from adaptsr_cli.artifacts.metrics import METRICS
from adaptsr_cli.backbones.catalogue import weights_dir
from adaptsr_cli.data.accounts import account_files
from adaptsr_cli.data.layouts import Pair, PairSet, files_of
from adaptsr_cli.data.mixture import Mixture, name_faults
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import AdaptsrError, ArtifactError, DataError, Interrupted, UsageError
from adaptsr_cli.io.atomic import write_text
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.metrics.colour_chart import COLOURS, count_broken, make_chart
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.protocol import Protocol, default_metrics, find_protocol, parse_metrics
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.report.findings import list_warnings
from adaptsr_cli.report.gallery import BestAndWorst, ImageDetail, select
from adaptsr_cli.report.sheet import draw_comparison
from adaptsr_cli.report.tables import TABLES, TableKind
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.common.lr_degradation import (
    DEFAULT_TO_SCORE_ON,
    degradation_sha256,
    refuse_unknown,
    run_degradation,
    tell_unused,
)
from adaptsr_cli.stages.common.run_folder import (
    EvaluationFiles,
    RunFolder,
    provenance,
    refuse_foreign,
    refuse_inputs,
    refuse_overwriting,
)
from adaptsr_cli.stages.common.training_data import CacheSizes, fingerprint_of, open_reader
from adaptsr_cli.stages.evaluate.dial import open_dial_scorer
from adaptsr_cli.stages.evaluate.files import choose_files
from adaptsr_cli.stages.evaluate.html_report import write_report
from adaptsr_cli.stages.evaluate.images import ScoredImages, choose_images
from adaptsr_cli.stages.evaluate.models import EvaluatedModel, make_distinct, open_folder, open_networks
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.scoring import ImageScorer, make_sheet_rows, refuse_unscorable, score_share
from adaptsr_cli.stages.evaluate.seen_by_adapters import find_seen_by_adapters
from adaptsr_cli.stages.evaluate.summary import summarise
from adaptsr_cli.units import plural

# Libraries whose next version may move a score.
_LIBRARIES: Final = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "pillow", "spandrel", "lpips")


@dataclass(frozen=True)
class EvaluateResult:
    """The scores, and where they were written.

    Attributes:
        evaluation: The scores, as ``eval.json`` holds them.
        eval_json: The file of the scores.
        report: The HTML page.
        comparison: The comparison sheet; None where there is no reference to compare with.
        tables: The tables that were asked for.
        details: The details of images that the report shows.
    """

    evaluation: Evaluation
    eval_json: Path
    report: Path
    comparison: Path | None
    tables: tuple[Path, ...]
    details: tuple[ImageDetail, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it: what ``eval.json`` holds."""
        return self.evaluation.model_dump(mode="json")


@dataclass(frozen=True)
class _Subject:
    """What is scored.

    Attributes:
        images: Which images, and what the run has seen of them.
        fingerprint: Identity of the images.
        degradation: What makes the LR side of photographs; None where nothing is degraded.
        reader: The same images, as they are given to the models.
        models: The networks, and what other systems made.
        seen: What the training of the models has seen of the images; None where that is not known.
    """

    images: ScoredImages
    fingerprint: str
    degradation: Degradation | None
    reader: Mixture
    models: list[EvaluatedModel]
    seen: Seen | None = None

    @property
    def is_of_training(self) -> bool:
        """Whether they are the run's backbone alone, or with what the run's training made of it."""
        networks = [model for model in self.models if model.scale is not None]
        return len(networks) == 1 or networks[-1].is_of_training


def run_evaluate(
    options: EvaluateOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS
) -> EvaluateResult:
    """Score all models on all images and write ``eval.json``, ``comparison.png`` and ``report.html``.

    Another data set than the first one in the run folder has files of its own; see `choose_files`.

    Args:
        options: What to score on what.
        progress: Where to tell.
        world: The processes that share the images; only the first one writes.

    Raises:
        DataError: No pair to score on.
        UsageError: Models of different scales, or an unknown metric.
        OutputExistsError: The run holds the evaluation of other models on these images, and `force` is not set.
    """
    run, protocol, device = RunFolder(options.run), find_protocol(options.protocol), pick_device(options.device)
    metrics = _choose_metrics(options, protocol)
    tables = _table_paths(options)
    refuse_overwriting(
        {f"`{kind}`": path for kind, path in tables.items()}, force=options.force, elsewhere="another name"
    )

    subject = _open_subject(options, run, protocol, device, progress, world)
    made_with = _options_of(options, metrics, subject, device)
    files = choose_files(options, run, subject.images.split, subject.fingerprint, subject.models, made_with)
    written = {"scores": files.scores, "comparison sheet": files.comparison, "report": files.report}
    refuse_overwriting(written, force=True)  # whether they can be written; choose_files has asked
    if not options.force:
        refuse_foreign(run, [files.comparison, files.report])
    refuse_inputs({**written, **{f"`{kind}`": path for kind, path in tables.items()}}, _inputs(options, subject))
    scorer = _open_scorer(options, protocol, metrics, subject.reader.scale, device, progress)

    refuse_unscorable(scorer, subject.models, subject.reader, strict=options.strict)

    best_and_worst = BestAndWorst(len(subject.models))
    share = world.share(len(subject.reader))
    found = world.gather_shares(score_share(scorer, subject.models, subject.reader, share, best_and_worst, progress))
    images = {place: entry for place, entry in enumerate(found) if isinstance(entry, ImageScores)}
    left_out = [entry for entry in found if isinstance(entry, LeftOutImage)]
    if not images:
        raise DataError(
            f"none of {plural(len(found), 'image')} could be scored: {left_out[0].name}: {left_out[0].reason}",
            "give other images, or another `protocol` or other `metrics`",
        )
    order = {place: position for position, place in enumerate(images)}
    chosen = select(world.gather(best_and_worst.details), best_and_worst.each_end)
    details = [replace(detail, index=order[detail.index]) for detail in chosen]

    evaluation = _make_evaluation(options, made_with, subject, scorer, images, left_out)
    chart = world.from_main(lambda: _score_colour_chart(subject.models, progress))
    evaluation = evaluation.model_copy(update={"colour_chart": chart})
    if world.is_main_process:
        for said in list_warnings(evaluation):
            progress.warn(said)
    dial = open_dial_scorer(options, run, scorer, subject.reader, device)
    if dial is not None:
        curve = dial.score(images, evaluation.models[0].name, world, progress)
        evaluation = evaluation.model_copy(update={"dial": curve})
        details = dial.show(details, list(images))
    if world.is_main_process:
        write_document(files.scores, evaluation)
        for kind, path in tables.items():
            write_text(path, TABLES[kind](evaluation))
        _write_sheet(files, scorer, subject, images)
        if options.report:
            adapted = options.scores_models_of_run and subject.models[-1].is_of_training
            machine = describe_machine(device)
            write_report(run, files.report, evaluation, details, machine, progress, adapted=adapted)
    return EvaluateResult(
        evaluation=evaluation,
        eval_json=files.scores,
        report=files.report,
        comparison=files.comparison if files.comparison.exists() else None,
        tables=tuple(tables.values()),
        details=tuple(details),
    )


def _score_colour_chart(models: Sequence[EvaluatedModel], progress: Progress) -> ColourChartScores | None:
    """How the networks take the colour chart; None where there are only images that others made."""
    chart, broken = make_chart(), {}
    for model in models:
        if model.scale is None:
            continue
        try:
            broken[model.name] = count_broken(model.produce("the colour chart", chart), model.scale)
        except Interrupted:
            raise
        except AdaptsrError as error:  # the images have their scores without it
            progress.warn(f"{model.name} goes without the colour chart: {error.message}")
    return ColourChartScores(colours=COLOURS, broken=broken) if broken else None


def _choose_metrics(options: EvaluateOptions, protocol: Protocol) -> tuple[str, ...]:
    """The metrics that are asked for.

    Raises:
        UsageError: One is unknown, or compares where there is nothing to compare with.
    """
    metrics = parse_metrics(options.metrics or default_metrics(protocol.name))
    comparing = [name for name in metrics if METRICS[name].needs_reference]
    if comparing and not protocol.has_reference:
        raise UsageError(
            f"metric {comparing[0]!r} needs a reference, and protocol {protocol.name} has none",
            f"give `metrics` as {','.join(name for name, spec in METRICS.items() if not spec.needs_reference)}",
        )
    return metrics


def _table_paths(options: EvaluateOptions) -> dict[TableKind, Path]:
    """The tables that are asked for, by kind."""
    named: dict[TableKind, Path | None] = {"csv": options.csv, "markdown": options.markdown, "latex": options.latex}
    return {kind: path for kind, path in named.items() if path is not None}


def _open_subject(
    options: EvaluateOptions,
    run: RunFolder,
    protocol: Protocol,
    device: torch.device,
    progress: Progress,
    world: World,
) -> _Subject:
    """Find the images and open the models."""
    with world.rank_zero_first():  # what it has checked, the others need not check again
        images = choose_images(options, run, progress)
    sets = images.sets
    networks = open_networks(options, run, device, progress)
    # Without a reference nothing is degraded, though photographs cannot be opened without saying how they would be.
    degrade = options.degrade if protocol.has_reference else DEFAULT_TO_SCORE_ON
    degradation = run_degradation(run, sets, degrade)
    if options.degrade is not None and degradation is None:
        progress.note(tell_unused(options.degrade))
    elif options.degrade is not None and not protocol.has_reference:
        refuse_unknown(options.degrade)
        progress.note(
            f"`degrade` {options.degrade} is not used: protocol {protocol.name} scores photographs as they are"
        )
    cache = CacheSizes().open()
    reader = open_reader(sets, _find_scale(networks, sets), degradation, options.seed, cache)
    names = [pair.name for pair in reader.pairs]
    folders = [open_folder(name, folder, names, strict=options.strict) for name, folder in options.output_folders]
    used = degradation if protocol.has_reference else None
    subject = _Subject(images, fingerprint_of(sets), used, reader, make_distinct([*networks, *folders]))
    # Nobody knows what other models have been trained on than those of the run's training, and adapters of other runs.
    is_known = options.scores_run and subject.is_of_training
    seen = images.seen if is_known else find_seen_by_adapters(options.adapters, run, sets, progress)
    return replace(subject, seen=seen)


def _inputs(options: EvaluateOptions, subject: _Subject) -> Iterator[Path]:
    """Every file that is read."""
    yield from files_of(subject.reader.pairs)
    for model in subject.models:
        yield from model.files.values()
    yield from (Path(name) for name in options.models)
    yield from options.adapters
    if options.list_file is not None:
        yield options.list_file


def _find_scale(networks: Sequence[EvaluatedModel], sets: Sequence[PairSet]) -> int:
    """The upscaling factor of the networks, else of the pairs."""
    scales = {network.scale for network in networks}
    if len(scales) > 1:
        raise UsageError("the models have different scales", "compare models of one scale")
    ratios = {pairs.ratio for pairs in sets}
    scale = scales.pop() if scales else ratios.pop() if len(ratios) == 1 else None
    if not scale or scale == 1:
        raise UsageError(
            "these folders alone do not tell the scale",
            "name a model or a `run` too",
        )
    return scale


def _open_scorer(
    options: EvaluateOptions,
    protocol: Protocol,
    metrics: Sequence[str],
    scale: int,
    device: torch.device,
    progress: Progress,
) -> ImageScorer:
    """Open the metrics; note which of them are skipped, and why."""
    measures = Measures(metrics, protocol, weights_dir(options.weights_dir), device)
    for name, reason in measures.skipped.items():
        progress.note(f"{name}: {reason}")
    possible = tuple(name for name in metrics if name not in measures.skipped)
    if not possible:
        raise ArtifactError("none of the metrics can be computed", "psnr and ssim need no weights")
    return ImageScorer(protocol, scale, possible, measures)


def _options_of(
    options: EvaluateOptions, metrics: Sequence[str], subject: _Subject, device: torch.device
) -> dict[str, Scalar]:
    """What the scores depend on besides images, models and protocol, as ``eval.json`` names it."""
    degradation = subject.degradation
    return {
        "metrics": ",".join(metrics),
        "degrade": degradation.name if degradation is not None else None,
        "degradation_sha256": degradation_sha256(degradation) or None,
        "tile_px": options.tile,
        "device": device.type,
        "precision": options.precision,
    }


def _make_evaluation(
    options: EvaluateOptions,
    made_with: Mapping[str, Scalar],
    subject: _Subject,
    scorer: ImageScorer,
    images: Mapping[int, ImageScores],
    left_out: Sequence[LeftOutImage],
) -> Evaluation:
    """Put together what ``eval.json`` holds."""
    pairs = subject.reader.pairs
    scored = [
        image.model_copy(update={"scene": subject.images.scenes.get(pairs[place].hr)})
        for place, image in images.items()
    ]
    models, comparisons = summarise(subject.models, scored, options.seed)
    unusable = [LeftOutImage(name=name, reason=reason) for name, reason in name_faults(subject.images.opened)]
    protocol, scale = scorer.protocol, scorer.scale
    return Evaluation(
        provenance=provenance("eval", made_with, options.seed, subject.fingerprint),
        protocol=protocol.name,
        protocol_text=protocol.describe(scale),
        parameters=protocol.parameters(scale),
        versions={name: version(name) for name in _LIBRARIES},
        scale=scale,
        data=options.images.describe(),
        split=subject.images.split,
        seen=subject.seen,
        simulated_lr=protocol.has_reference and any(pairs.ratio is None for pairs in subject.images.sets),
        skipped_metrics=scorer.measures.skipped,
        models=models,
        comparisons=comparisons,
        images=tuple(scored),
        left_out=(*unusable, *left_out),
        files=_account(subject, [pairs[place] for place in images]),
    )


def _account(subject: _Subject, scored: Sequence[Pair]) -> tuple[FileAccount, ...]:
    """What became of every file of the data folders."""
    images, done = subject.images, files_of(scored)
    wanted = files_of(pair for pairs in images.sets for pair in pairs.pairs)
    accounts = []
    for pairs in images.opened:
        kept = pairs.keep(
            [pair for pair in pairs.pairs if pair.hr in done or pair.hr not in wanted],
            "of images that cannot be scored",
        )
        accounts.append(account_files(kept, {"scored": scored}, f"of images that `split` {images.split} leaves out"))
    return tuple(accounts)


def _write_sheet(
    files: EvaluationFiles, scorer: ImageScorer, subject: _Subject, images: Mapping[int, ImageScores]
) -> None:
    """Draw the comparison sheet, or remove an earlier one: one of other images must not lie beside these scores."""
    files.comparison.unlink(missing_ok=True)
    if rows := make_sheet_rows(scorer, subject.models, images, subject.reader):
        draw_comparison(files.comparison, rows, scorer.protocol.describe(scorer.scale), scorer.protocol.luma)
