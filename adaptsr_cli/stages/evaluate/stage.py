"""Stage ``eval``: scores of any models, and of other systems' images, by one named protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from adaptsr_cli.artifacts.evaluation import Evaluation, ImageScores, ModelScores, PairedTest
from adaptsr_cli.artifacts.metrics import METRICS
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.backbones.catalogue import weights_dir
from adaptsr_cli.data.layouts import PairSet
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, DataError, OutputExistsError, UsageError
from adaptsr_cli.io.atomic import write_text
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.protocol import Protocol, default_metrics, find_protocol, parse_metrics
from adaptsr_cli.metrics.statistics import Bootstrap, common_scores, compare_paired, spread_of
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.report.gallery import BestAndWorst, ImageDetail, select
from adaptsr_cli.report.sheet import draw_comparison
from adaptsr_cli.report.tables import TABLES, TableKind
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.common.lr_degradation import DEFAULT_TO_SCORE_ON, run_degradation
from adaptsr_cli.stages.common.models import expected_scale
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance, refuse_overwriting
from adaptsr_cli.stages.common.training_data import CacheSizes, fingerprint_of, held_out_only, open_pairs, open_reader
from adaptsr_cli.stages.evaluate.html_report import write_report
from adaptsr_cli.stages.evaluate.models import EvaluatedModel, make_distinct, open_folder, open_networks
from adaptsr_cli.stages.evaluate.options import EvaluateOptions, SplitChoice
from adaptsr_cli.stages.evaluate.scoring import ImageScorer, make_sheet_rows, score_share
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
    """

    evaluation: Evaluation
    eval_json: Path
    report: Path
    comparison: Path | None
    tables: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it: what ``eval.json`` holds."""
        return self.evaluation.model_dump(mode="json")


@dataclass(frozen=True)
class _Subject:
    """What is scored.

    Attributes:
        sets: The images by folder.
        split: Whether these are the images that the run was not trained on, or all.
        fingerprint: Identity of the images.
        reader: The same images, as they are given to the models.
        models: The networks, and what other systems made.
    """

    sets: tuple[PairSet, ...]
    split: SplitChoice
    fingerprint: str
    reader: Mixture
    models: list[EvaluatedModel]


def run_evaluate(
    options: EvaluateOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS
) -> EvaluateResult:
    """Score all models on all images and write ``eval.json``, ``comparison.png`` and ``report.html``.

    Args:
        options: What to score on what.
        progress: Where to tell.
        world: The processes that share the images; only the first one writes.

    Raises:
        DataError: No pair to score on.
        UsageError: Models of different scales, or an unknown metric.
        OutputExistsError: The run holds the evaluation of other models or images, and `force` is not set.
    """
    run, protocol, device = RunFolder(options.run), find_protocol(options.protocol), pick_device(options.device)
    metrics = _choose_metrics(options, protocol)
    tables = _table_paths(options)
    refuse_overwriting({f"`{kind}`": path for kind, path in tables.items()}, force=options.force)

    subject = _open_subject(options, run, protocol, device, progress, world)
    _refuse_replacing_another(options, run, subject, protocol)
    scorer = _open_scorer(options, protocol, metrics, subject.reader.scale, device, progress)

    best_and_worst = BestAndWorst(len(subject.models))
    share = world.share(len(subject.reader))
    images = world.gather_shares(score_share(scorer, subject.models, subject.reader, share, best_and_worst, progress))
    details = select(world.gather(best_and_worst.details), best_and_worst.each_end)

    evaluation = _make_evaluation(options, metrics, subject, scorer, images, device)
    if world.is_main_process:
        write_document(run.evaluation, evaluation)
        for kind, path in tables.items():
            write_text(path, TABLES[kind](evaluation))
        _write_sheet(run, scorer, subject, images)
        _write_report(options, run, evaluation, details, device, progress)
    return EvaluateResult(
        evaluation=evaluation,
        eval_json=run.evaluation,
        report=run.report,
        comparison=run.comparison if run.comparison.exists() else None,
        tables=tuple(tables.values()),
    )


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
        sets, split = _choose_pairs(options, run, progress)
    networks = open_networks(options, run, device, progress)
    # Without a reference nothing is degraded, though photographs cannot be opened without saying how they would be.
    degrade = options.degrade if protocol.has_reference else DEFAULT_TO_SCORE_ON
    degradation = run_degradation(run, sets, degrade)
    cache = CacheSizes().open()
    reader = open_reader(sets, _find_scale(networks, sets), degradation, options.seed, cache)
    names = [pair.name for pair in reader.pairs]
    folders = [open_folder(name, folder, names) for name, folder in options.output_folders]
    return _Subject(sets, split, fingerprint_of(sets), reader, make_distinct([*networks, *folders]))


def _choose_pairs(
    options: EvaluateOptions, run: RunFolder, progress: Progress
) -> tuple[tuple[PairSet, ...], SplitChoice]:
    """All pairs, or those that the run was not trained on; says which."""
    if options.models:
        scale = expected_scale(None, options.models[0])
    else:
        scale = None if options.scores_folders_only else expected_scale(run, None)
    sets = open_pairs(options.images, "test", progress, scale)
    if options.split == "all" or not run.split.exists():
        return sets, "all"
    known = read_document(run.split, SplitRecord)
    kept = tuple(held_out_only(pairs, known) for pairs in sets)
    left = sum(map(len, kept))
    dropped = sum(map(len, sets)) - left
    if dropped == 0:
        return sets, "all"
    if not left:
        raise DataError(
            f"the run was trained on every image of {options.images.describe()}",
            "give other images, or set `split` to all",
        )
    beside = " or beside" if known.unused else ""
    progress.note(
        f"the run was trained on{beside} {plural(dropped, 'image')} of this data: scoring the {left} held-out ones "
        "(`split` all scores all)"
    )
    return tuple(pairs for pairs in kept if len(pairs)), "held-out"


def _find_scale(networks: Sequence[EvaluatedModel], sets: Sequence[PairSet]) -> int:
    """The upscaling factor of the networks, else of the pairs."""
    scales = {network.scale for network in networks}
    if len(scales) > 1:
        raise UsageError("the models have different scales", "compare models of one scale")
    ratios = {pairs.ratio for pairs in sets}
    scale = scales.pop() if scales else ratios.pop() if len(ratios) == 1 else None
    if not scale or scale == 1:
        raise UsageError("these folders alone do not tell the scale", "name a model too, in `models`")
    return scale


def _refuse_replacing_another(options: EvaluateOptions, run: RunFolder, subject: _Subject, protocol: Protocol) -> None:
    """Let the same evaluation be made again, but never replaces another one silently."""
    path = run.evaluation
    if options.force or not path.exists():
        return
    known = read_document(path, Evaluation)
    same_models = [(model.name, model.sha256) for model in known.models] == [
        (model.name, model.sha256) for model in subject.models
    ]
    same_protocol = known.protocol == protocol.name
    if not same_models or not same_protocol or known.provenance.data_fingerprint != subject.fingerprint:
        names = ", ".join(model.name for model in known.models)
        raise OutputExistsError(
            f"{path} holds another evaluation ({names} on {known.data}, protocol {known.protocol})",
            "set `force` to replace it, or use another `run`",
        )


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


def _make_evaluation(
    options: EvaluateOptions,
    metrics: Sequence[str],
    subject: _Subject,
    scorer: ImageScorer,
    images: Sequence[ImageScores],
    device: torch.device,
) -> Evaluation:
    """Put together what ``eval.json`` holds."""
    models, comparisons = _summarise(subject.models, images, options.seed)
    made_with = {
        "metrics": ",".join(metrics),
        "degrade": options.degrade,
        "tile_px": options.tile,
        "device": device.type,
        "precision": options.precision,
    }
    protocol, scale = scorer.protocol, scorer.scale
    return Evaluation(
        provenance=provenance("eval", made_with, options.seed, subject.fingerprint),
        protocol=protocol.name,
        protocol_text=protocol.describe(scale),
        parameters=protocol.parameters(scale),
        versions={name: version(name) for name in _LIBRARIES},
        scale=scale,
        data=options.images.describe(),
        split=subject.split,
        skipped_metrics=scorer.measures.skipped,
        models=models,
        comparisons=comparisons,
        images=tuple(images),
    )


def _summarise(
    models: Sequence[EvaluatedModel], images: Sequence[ImageScores], seed: int
) -> tuple[tuple[ModelScores, ...], tuple[PairedTest, ...]]:
    """Compute means of per-image scores, how they vary, and every later model against the first one."""
    table: Mapping[str, Mapping[str, Sequence[float]]] = common_scores([image.models for image in images])
    # Metrics that cannot be computed for every image have fewer scores, and so other bootstrap draws.
    bootstraps = {metric: Bootstrap(len(next(iter(by_model.values()))), seed) for metric, by_model in table.items()}
    summaries = tuple(
        ModelScores(
            name=model.name,
            source=model.source,
            sha256=model.sha256,
            metrics={metric: float(np.mean(by_model[model.name])) for metric, by_model in table.items()},
            spread={metric: spread_of(by_model[model.name], bootstraps[metric]) for metric, by_model in table.items()},
        )
        for model in models
    )
    first, *later = (model.name for model in models)
    comparisons = tuple(
        compare_paired(by_model, metric, name, first, bootstraps[metric])
        for name in later
        for metric, by_model in table.items()
    )
    return summaries, comparisons


def _write_sheet(run: RunFolder, scorer: ImageScorer, subject: _Subject, images: Sequence[ImageScores]) -> None:
    """Draw the comparison sheet, or remove an earlier one: one of other images must not lie beside these scores."""
    run.comparison.unlink(missing_ok=True)
    if rows := make_sheet_rows(scorer, subject.models, images, subject.reader):
        draw_comparison(run.comparison, rows, scorer.protocol.describe(scorer.scale), scorer.protocol.luma)


def _write_report(
    options: EvaluateOptions,
    run: RunFolder,
    evaluation: Evaluation,
    details: Sequence[ImageDetail],
    device: torch.device,
    progress: Progress,
) -> None:
    """Write the HTML page; it tells how the run was trained where the run's own models were scored."""
    adapted = options.scores_models_of_run and run.merged.exists()
    write_report(run, evaluation, details, describe_machine(device), progress, adapted=adapted)
