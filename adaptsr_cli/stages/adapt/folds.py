"""Cross-validation by ``adapt --folds K``: K trainings for the score, and one on all images for the model.

Each fold is a run in ``folds/1``, ``folds/2`` and so on: its images are scored by a training that has not seen them,
not even to choose ranks, rate or iteration. The final model cannot be scored so: it is trained on all images, for as
many iterations as the folds needed.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from statistics import geometric_mean, median
from typing import Any

import numpy as np

from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.evaluation import ColourChartScores, Evaluation, FoldScores
from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data.pairs import pair_fingerprints
from adaptsr_cli.data.preflight import refuse_small
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import parse_document, read_document, write_document
from adaptsr_cli.io.headers import read_metadata
from adaptsr_cli.progress import Progress
from adaptsr_cli.report.findings import leading_metric
from adaptsr_cli.report.gallery import BestAndWorst, select
from adaptsr_cli.report.metric_names import name_metric
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.adapt.steps import evaluate, merge, plan_ranks
from adaptsr_cli.stages.common.dial import join_dials
from adaptsr_cli.stages.common.models import ModelSpec, expected_scale, open_backbone
from adaptsr_cli.stages.common.open_run import OpenRun
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.training_data import CacheSizes, FoldedData, open_folded_data
from adaptsr_cli.stages.evaluate.html_report import write_report
from adaptsr_cli.stages.evaluate.stage import EvaluateResult
from adaptsr_cli.stages.evaluate.summary import summarise
from adaptsr_cli.stages.train.fold_findings import FoldFindings
from adaptsr_cli.stages.train.stage import TrainResult, train_backbone
from adaptsr_cli.training.state import read_state
from adaptsr_cli.units import plural


@dataclass(frozen=True)
class OpenFolds:
    """The run folder, which is held, its backbone and its images by fold."""

    opened: OpenRun
    data: FoldedData


@dataclass(frozen=True)
class FoldResult:
    """What one fold came to.

    Attributes:
        number: From 1.
        settings: Options that its training was begun with, as its adapter tells.
    """

    number: int
    training: TrainResult
    evaluation: EvaluateResult
    settings: dict[str, Any]


@contextmanager
def open_folds(options: AdaptOptions, folds: int, progress: Progress, world: World) -> Iterator[OpenFolds]:
    """Hold the run folder, check the images and deal them into folds, and load the network.

    Args:
        options: Which images, network and run folder.
        folds: How many parts.
        progress: Told what was found.
        world: The processes at work.

    Raises:
        UsageError: Folders are named for validation or test, or there are fewer scenes than folds.
        ArtifactError: The run folder holds another training.
        BusyError: Another process is at work in the run folder.
        DataError: There are no usable images, or some are too small for the network.
    """
    if options.val is not None or options.test is not None:
        name = "val" if options.val is not None else "test"
        raise UsageError(f"`folds` together with `{name}`", "folds take their validation and test images from `data`")
    images, cache, run = options.images, CacheSizes.of(options.cache_ram), options.run_folder
    with ExitStack() as stack:
        if world.is_main_process:
            stack.enter_context(run.held())
        with world.rank_zero_first():
            scale = expected_scale(run, options.model)
            data = open_folded_data(images, folds, options.seed, progress, scale, cache, options.degrade)
            spec = ModelSpec.of(
                options.model, options.weights_dir, offline=options.offline, options=options.model_options
            )
            backbone = open_backbone(run, spec, progress, record=world.is_main_process)
            refuse_small(data.whole.train, backbone.scale)
            if world.is_main_process and options.force:
                shutil.rmtree(run.folds, ignore_errors=True)
        if not options.force:
            _refuse_another_training(run, data)
        yield OpenFolds(OpenRun(run, backbone, data.whole), data)


def _refuse_another_training(run: RunFolder, data: FoldedData) -> None:
    """Say at once, not after hours of folds, that the final training cannot go into the run folder.

    Raises:
        ArtifactError: It holds the training on other images, or on a part of these, or folds of another division.
    """
    state = run.training.state
    if state.exists() and read_state(state)[0].plan.data_fingerprint != data.whole.fingerprint:
        raise ArtifactError(
            f"{run.training.root} holds another training run, on other images or without `folds`",
            "start again with `force`, or use another `run`",
        )
    first = RunFolder(run.folds / "1").split
    if first.exists():
        tested = {item.fingerprint for item in read_document(first, SplitRecord).test}
        if tested != {pair_fingerprints(pair)[1] for pairs in data.folds[0].test for pair in pairs.pairs}:
            raise ArtifactError(
                f"{run.folds} holds trainings of other parts of the images: by another number of `folds`, another "
                "`seed` or with other images",
                "give what it was begun with to continue, or start again with `force` or another `run`",
            )


def run_fold(options: AdaptOptions, opened: OpenFolds, index: int, progress: Progress, world: World) -> FoldResult:
    """Train in a folder of its own and score on the images that this training has not seen; goes on where it stopped.

    Args:
        options: Of the whole.
        opened: The images by fold.
        index: Of the fold, from 0.
        progress: Told which fold it is.
        world: The processes at work.
    """
    folds, data = len(opened.data.folds), opened.data.folds[index]
    root, run = opened.opened.run, RunFolder(opened.opened.run.folds / str(index + 1))
    counts = [sum(map(len, part)) for part in (data.train, data.held_out, data.test)]
    progress.note(
        f"fold {index + 1} of {folds}: {plural(counts[0], 'image')} to train on, {counts[1]} for validation, "
        f"{counts[2]} for the score ({run.root})"
    )
    minutes = options.minutes and options.minutes / (folds + 1)
    own = options.model_copy(update={"run": run.root, "model": None, "minutes": minutes, "folds": None})
    with world.rank_zero_first():
        if world.is_main_process:
            write_document(run.record, read_document(root.record, RunRecord))
        spec = ModelSpec.of(None, options.weights_dir, offline=options.offline, options=options.model_options)
        backbone = open_backbone(run, spec, progress, record=False)
    fold = OpenRun(run, backbone, data)
    own = plan_ranks(own, fold, progress, world)
    training = train_backbone(own, fold, progress, world)
    merge(own, progress, world)
    header = parse_document(read_metadata(run.adapter).get(HEADER, "{}"), AdapterHeader, str(run.adapter))
    result = FoldResult(
        index + 1, training, evaluate(own, progress, world, report=False), dict(header.provenance.options)
    )
    progress.note(f"fold {index + 1} of {folds}: {_describe_gain(result.evaluation.evaluation)}")
    return result


def _describe_gain(evaluation: Evaluation) -> str:
    """The leading score before and after: ``PSNR-Y 25.80 -> 26.10 dB (+0.30)``."""
    key = leading_metric(evaluation.models[0].metrics)
    if key is None:
        return "scored"
    name, before, after = name_metric(key), *(model.metrics[key] for model in evaluation.models)
    unit = f" {name.unit}" if name.unit else ""
    return f"{name.label} {before:.{name.digits}f} -> {after:.{name.digits}f}{unit} ({after - before:+.{name.digits}f})"


def prepare_final(
    options: AdaptOptions, opened: OpenFolds, results: Sequence[FoldResult], progress: Progress
) -> tuple[OpenRun, AdaptOptions]:
    """The final training: all images, and what the folds found in place of a choice by held-out images.

    Its method is that of most folds, its rate their geometric mean, its length the median of their best iterations.

    Args:
        options: Of the whole.
        opened: The images.
        results: Of all folds.
        progress: Told what was settled.
    """
    methods = Counter(result.settings["method"] for result in results)
    method = methods.most_common(1)[0][0]
    rates = [float(result.settings["learning_rate"]) for result in results if result.settings["method"] == method]
    rate = rates[0] if len(set(rates)) == 1 else float(f"{geometric_mean(rates):.3g}")
    best = [result.training.card.best_iteration for result in results]
    iterations = max(1, round(median(best)))
    if not median(best):
        progress.warn(
            "in most folds no adapter was better than the backbone, so the final model is hardly trained; look at the "
            "score before you use it"
        )
    count = sum(map(len, opened.data.whole.train))
    progress.note(
        f"final model: on all {plural(count, 'image')} for {plural(iterations, 'iteration')} at rate {rate:g} "
        f"({method}), as the folds found; what is called held-out from here on is trained on too, so the score is that "
        "of the folds"
    )
    update = {"iterations": iterations, "learning_rate": rate, "method": method, "minutes": None, "patience": None}
    return opened.opened, options.model_copy(update=update)


def gather_findings(options: AdaptOptions, results: Sequence[FoldResult]) -> FoldFindings:
    """What the folds found on held-out images, and what to train on top: as they did, for their median length.

    Args:
        options: Of the whole.
        results: Of all folds.
    """
    trainings = [result.training for result in results]
    on_top = [training.perceptual for training in trainings if training.perceptual is not None]
    done = [perceptual.card.iterations for perceptual in on_top]
    update = {"iterations": max(1, round(median(done))) if done else None, "minutes": None}
    return FoldFindings(
        perceptual=options.model_copy(update=update),
        guards=tuple(training.guard for training in trainings if training.guard is not None),
        dials=tuple(perceptual.dial for perceptual in on_top),
    )


def join_folds(
    options: AdaptOptions, final: OpenRun, results: Sequence[FoldResult], progress: Progress, world: World
) -> Evaluation:
    """The evaluation of the cross-validation: every image as the training scored it that has not seen it.

    Args:
        options: Of the whole.
        final: The run of the final model, where ``eval.json`` and the report are written.
        results: Of all folds.
        progress: Told what the report has to do without.
        world: The first process writes.
    """
    evaluations = [result.evaluation.evaluation for result in results]
    images = tuple(image for evaluation in evaluations for image in evaluation.images)
    backbone, merged = evaluations[0].models[0], evaluations[0].models[-1]
    source = f"{len(results)} trainings, each scored on images that it has not seen"
    named = [backbone, merged.model_copy(update={"source": source, "sha256": None})]
    models, comparisons = summarise(named, images, options.seed)
    prints = "\n".join(evaluation.provenance.data_fingerprint for evaluation in evaluations)
    fingerprint = sha256(prints.encode()).hexdigest()[:16]
    made = evaluations[0].provenance
    joined = evaluations[0].model_copy(
        update={
            "provenance": made.model_copy(update={"command": "adapt", "data_fingerprint": fingerprint}),
            "split": "folds",
            "seen": "nothing",
            "colour_chart": _worst_chart([evaluation.colour_chart for evaluation in evaluations]),
            "models": models,
            "comparisons": comparisons,
            "images": images,
            "left_out": tuple(image for evaluation in evaluations for image in evaluation.left_out),
            "files": final.data.files,
            "dial": join_dials([evaluation.dial for evaluation in evaluations]),
            "folds": tuple(_fold_scores(result) for result in results),
        }
    )
    if world.is_main_process:
        files = final.run.evaluation_files("")
        write_document(files.scores, joined)
        files.comparison.unlink(missing_ok=True)
        starts = np.cumsum([0, *(len(evaluation.images) for evaluation in evaluations)])
        shares = [
            [replace(detail, index=int(start) + detail.index) for detail in result.evaluation.details]
            for start, result in zip(starts, results, strict=False)
        ]
        details = select(shares, BestAndWorst(len(models)).each_end)
        machine = describe_machine(pick_device(options.device))
        write_report(final.run, files.report, joined, details, machine, progress, adapted=True)
    return joined


def _worst_chart(charts: Sequence[ColourChartScores | None]) -> ColourChartScores | None:
    """Each network at its worst; None where one is missing."""
    known = [chart for chart in charts if chart is not None]
    if not known or len(known) < len(charts):
        return None
    names = [name for name in known[0].broken if all(name in chart.broken for chart in known)]
    broken = {name: max(chart.broken[name] for chart in known) for name in names}
    return ColourChartScores(colours=known[0].colours, broken=broken)


def _fold_scores(result: FoldResult) -> FoldScores:
    evaluation = result.evaluation.evaluation
    return FoldScores(
        fold=result.number,
        images=tuple(image.name for image in evaluation.images),
        metrics={model.name: model.metrics for model in evaluation.models},
        best_iteration=result.training.card.best_iteration,
        learning_rate=float(result.settings["learning_rate"]),
        method=str(result.settings["method"]),
    )
