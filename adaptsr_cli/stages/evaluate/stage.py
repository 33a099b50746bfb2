"""Stage ``eval``: scores of any models, and of other systems' images, by one named protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

import numpy as np

from adaptsr_cli.artifacts.base import SplitRecord
from adaptsr_cli.artifacts.evaluation import Evaluation, ImageScores, ModelScores, PairedTest
from adaptsr_cli.backbones.download import file_sha256
from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, DataError, OutputExistsError, UsageError
from adaptsr_cli.io.atomic import write_text
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.images import resize_bicubic
from adaptsr_cli.metrics.measures import WITHOUT_REFERENCE, Measures
from adaptsr_cli.metrics.protocol import Protocol, find_protocol, score_images
from adaptsr_cli.metrics.statistics import Bootstrap, common_scores, compare_paired, spread_of
from adaptsr_cli.progress import Progress
from adaptsr_cli.report.comparison import BICUBIC, ComparisonRow, pick_examples
from adaptsr_cli.report.findings import gain, leading_metric
from adaptsr_cli.report.gallery import BestAndWorst, select
from adaptsr_cli.report.sheet import draw_comparison
from adaptsr_cli.report.tables import TABLES, TableKind
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.common.lr_degradation import DEFAULT_TO_SCORE_ON, run_degradation
from adaptsr_cli.stages.common.models import expected_scale
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance, refuse_overwriting
from adaptsr_cli.stages.common.training_data import CacheSizes, fingerprint_of, held_out_only, open_pairs, open_reader
from adaptsr_cli.stages.evaluate.html_report import write_report
from adaptsr_cli.stages.evaluate.models import EvaluatedModel, Networks, make_distinct, open_folder, open_networks
from adaptsr_cli.units import plural

SHEET_ROWS: Final = 4
# Libraries whose next version may move a score.
_LIBRARIES: Final = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "pillow", "spandrel", "lpips")


@dataclass(frozen=True)
class EvaluateOptions:
    """What to score on what.

    Attributes:
        models: Files or catalogue names; empty for the run's backbone and merged model.
        adapters: Adapter files, each scored on the backbone that it was made for.
        others: Name and folder of images that another system made of the same LR images.
        metrics: Names from `parse_metrics`.
        split: ``held-out`` leaves out images that the run trained on.
        tables: Kind of table -> file to write it to.
        seed: Of the bootstrap, and of the degradation of photographs.
    """

    run: RunFolder
    data: DataSpec
    weights_dir: Path
    offline: bool = False
    models: tuple[str, ...] = ()
    adapters: tuple[Path, ...] = ()
    others: tuple[tuple[str, Path], ...] = ()
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_squeeze")
    protocol: str = "paper"
    split: Literal["held-out", "all"] = "held-out"
    tables: Mapping[TableKind, Path] = field(default_factory=dict)
    degrade: str | None = None
    tile_px: int | None = None
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    force: bool = False

    @property
    def networks(self) -> Networks:
        """The part that says which networks are compared."""
        return Networks(
            run=self.run,
            weights_dir=self.weights_dir,
            offline=self.offline,
            models=self.models,
            adapters=self.adapters,
            only_folders=bool(self.others) and not self.adapters,
            tile_px=self.tile_px,
            precision=self.precision,
        )


@dataclass(frozen=True)
class _ImageScorer:
    """What is measured, and how."""

    protocol: Protocol
    scale: int
    metrics: tuple[str, ...]
    measures: Measures

    def read(self, reader: Mixture, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """LR and reference as the protocol wants them; without a reference a photograph itself is LR."""
        if not self.protocol.has_reference and reader.pairs[index].lr is None:
            source, place = reader.locate(index)
            return source.read_hr(place), None
        lr, hr = reader.read(index)
        if not self.protocol.has_reference:
            return lr, None
        return self.protocol.crop_lr(lr), self.protocol.crop_hr(hr, self.scale)

    def output(self, contestant: EvaluatedModel, image: str, lr: np.ndarray) -> np.ndarray:
        """What a contestant makes of an LR image."""
        return self.protocol.crop_hr(contestant.produce(image, lr), self.scale)

    def score(self, sr: np.ndarray, hr: np.ndarray | None) -> dict[str, float]:
        """The scores of an output; without a reference those that need none."""
        if hr is None:
            return self.measures.score_alone(sr)
        return score_images(
            sr,
            hr,
            protocol=self.protocol,
            scale=self.scale,
            metrics=self.metrics,
            others=self.measures.score,
        )


def evaluate(config: EvaluateOptions, progress: Progress, world: World = SINGLE_PROCESS) -> Evaluation:
    """Scores all models on all pairs and writes ``eval.json``, ``comparison.png`` and ``report.html``.

    Args:
        config: What to score on what.
        progress: Where to tell.
        world: The processes that share the images; only the first one writes.

    Raises:
        DataError: No pair to score on.
        UsageError: Models of different scales, or an unknown protocol.
        OutputExistsError: The run holds the evaluation of other models or images, and `force` is not set.
    """
    protocol = find_protocol(config.protocol)
    _check_metrics(protocol, config.metrics)
    refuse_overwriting({f"--{kind}": path for kind, path in config.tables.items()}, force=config.force)
    with world.rank_zero_first():  # what it has checked, the others need not check again
        sets, split = _choose_pairs(config, progress)
    fingerprint = fingerprint_of(sets)
    device = pick_device(config.device)
    networks = open_networks(config.networks, device, progress)
    scale = _find_scale(networks, sets)
    # Without a reference nothing is degraded, though photographs cannot be opened without saying how they would be.
    how = config.degrade if protocol.has_reference else DEFAULT_TO_SCORE_ON
    degradation = run_degradation(config.run, sets, how)
    reader = open_reader(sets, scale, degradation, config.seed, CacheSizes(disk_bytes=0).open())
    names = [pair.name for pair in reader.pairs]
    contestants = make_distinct([*networks, *(open_folder(name, folder, names) for name, folder in config.others)])
    _refuse_replacing_another(config, contestants, fingerprint)
    measures = Measures(config.metrics, protocol, config.weights_dir, device)
    for name, reason in measures.skipped.items():
        progress.note(f"{name}: {reason}")
    metrics = tuple(name for name in config.metrics if name not in measures.skipped)
    if not metrics:
        raise ArtifactError("none of the metrics can be computed", "psnr and ssim need no weights")
    judge = _ImageScorer(protocol, scale, metrics, measures)
    best_and_worst = BestAndWorst(len(contestants))
    share = world.share(len(reader))
    images = world.gather_shares(_score_share(judge, contestants, reader, share, best_and_worst, progress))
    details = select(world.gather(best_and_worst.details), best_and_worst.each_end)
    models, comparisons = _summarise(contestants, images, config.seed)
    options = {
        "metrics": ",".join(config.metrics),
        "degrade": config.degrade,
        "tile_px": config.tile_px,
        "device": device.type,
        "precision": config.precision,
    }
    evaluation = Evaluation(
        provenance=provenance("eval", options, config.seed, fingerprint),
        protocol=protocol.name,
        protocol_text=protocol.describe(scale),
        parameters=protocol.parameters(scale),
        versions={name: version(name) for name in _LIBRARIES},
        scale=scale,
        data=config.data.describe(),
        split=split,
        skipped_metrics=measures.skipped,
        models=models,
        comparisons=comparisons,
        images=tuple(images),
    )
    if world.is_main_process:
        write_document(config.run.evaluation, evaluation)
        for kind, path in config.tables.items():
            write_text(path, TABLES[kind](evaluation))
        # A sheet of other images must not lie beside these scores.
        config.run.comparison.unlink(missing_ok=True)
        if rows := _sheet(judge, contestants, images, reader):
            draw_comparison(config.run.comparison, rows, protocol.describe(scale), protocol.luma)
        adapted = config.networks.are_of_run and config.run.merged.exists()
        machine = describe_machine(device)
        write_report(config.run, evaluation, details, machine, progress, adapted=adapted)
    return evaluation


def _check_metrics(protocol: Protocol, metrics: Sequence[str]) -> None:
    """Refuses metrics that compare where there is nothing to compare with."""
    comparing = [name for name in metrics if name not in WITHOUT_REFERENCE]
    if comparing and not protocol.has_reference:
        raise UsageError(
            f"metric {comparing[0]!r} needs a reference, and protocol {protocol.name} has none",
            f"use --metrics {','.join(WITHOUT_REFERENCE)}",
        )


def _find_scale(networks: Sequence[EvaluatedModel], sets: Sequence[PairSet]) -> int:
    """The upscaling factor of the networks, else of the pairs."""
    scales = {contestant.scale for contestant in networks}
    if len(scales) > 1:
        raise UsageError("the models have different scales", "compare models of one scale")
    ratios = {pairs.ratio for pairs in sets}
    scale = scales.pop() if scales else ratios.pop() if len(ratios) == 1 else None
    if not scale or scale == 1:
        raise UsageError("the scale cannot be told from these folders alone", "name a model too with --model")
    return scale


def _refuse_replacing_another(config: EvaluateOptions, contestants: Sequence[EvaluatedModel], fingerprint: str) -> None:
    """The same evaluation may be made again; another one is not replaced silently."""
    path = config.run.evaluation
    if config.force or not path.exists():
        return
    known = read_document(path, Evaluation)
    same_models = [(model.name, model.sha256) for model in known.models] == [(c.name, c.sha256) for c in contestants]
    same_protocol = known.protocol == find_protocol(config.protocol).name
    if not same_models or not same_protocol or known.provenance.data_fingerprint != fingerprint:
        names = ", ".join(model.name for model in known.models)
        raise OutputExistsError(
            f"{path} holds another evaluation ({names} on {known.data}, protocol {known.protocol})",
            "replace it with --force, or use another --run",
        )


def _choose_pairs(
    config: EvaluateOptions, progress: Progress
) -> tuple[tuple[PairSet, ...], Literal["held-out", "all"]]:
    """All pairs, or those that the run did not train on; says which."""
    if config.models or (config.others and not config.adapters):
        scale = expected_scale(None, config.models[0]) if config.models else None
    else:
        scale = expected_scale(config.run, None)
    sets = open_pairs(config.data, "test", progress, scale)
    if config.split == "all" or not config.run.split.exists():
        return sets, "all"
    known = read_document(config.run.split, SplitRecord)
    kept = tuple(held_out_only(pairs, known) for pairs in sets)
    left = sum(map(len, kept))
    dropped = sum(map(len, sets)) - left
    if dropped == 0:
        return sets, "all"
    if not left:
        raise DataError(
            f"the run trained on every image of {config.data.describe()}", "give other images, or --split all"
        )
    progress.note(
        f"the run trained on {plural(dropped, 'image')} of this data: scoring the {left} held-out ones "
        "(--split all takes all)"
    )
    return tuple(pairs for pairs in kept if len(pairs)), "held-out"


def _score_share(
    judge: _ImageScorer,
    contestants: Sequence[EvaluatedModel],
    reader: Mixture,
    share: range,
    best_and_worst: BestAndWorst,
    progress: Progress,
) -> list[ImageScores]:
    """The scores of some of the images; the details that the report may show go to the shortlist on the way."""
    images = []
    with progress.task("eval", len(share) * len(contestants), unit="image") as task:
        for index in share:
            pair = reader.pairs[index]
            lr, hr = judge.read(reader, index)
            scores, outputs = {}, {}
            for contestant in contestants:
                outputs[contestant.name] = sr = judge.output(contestant, pair.name, lr)
                scores[contestant.name] = judge.score(sr, hr)
                task.advance()
            leading = leading_metric(scores[contestants[0].name])
            best_and_worst.offer(index, gain(scores, leading), lr, hr, outputs)
            height_px, width_px = (judge.scale * side for side in lr.shape[:2])
            images.append(
                ImageScores(
                    name=pair.name,
                    width_px=width_px,
                    height_px=height_px,
                    file_sha256=_hash_files(pair, contestants, with_reference=hr is not None),
                    models=scores,
                )
            )
    return images


def _hash_files(pair: Pair, contestants: Sequence[EvaluatedModel], *, with_reference: bool) -> dict[str, str]:
    """The SHA-256 of every file that the scores of an image come from."""
    files = {} if pair.lr is None else {"lr": pair.lr}
    files |= {"hr": pair.hr} if with_reference else {"lr": pair.lr or pair.hr}
    files |= {entry.name: entry.files[pair.name] for entry in contestants if entry.files}
    return {role: file_sha256(path) for role, path in files.items()}


def _summarise(
    contestants: Sequence[EvaluatedModel], images: Sequence[ImageScores], seed: int
) -> tuple[tuple[ModelScores, ...], tuple[PairedTest, ...]]:
    """Means of per-image scores (R16), how they vary, and every later model against the first one."""
    table = common_scores([image.models for image in images])
    # Sets of images differ where a metric cannot be told of all images; so do then the draws.
    bootstraps = {metric: Bootstrap(len(next(iter(by_model.values()))), seed) for metric, by_model in table.items()}
    models = tuple(
        ModelScores(
            name=entry.name,
            source=entry.source,
            sha256=entry.sha256,
            metrics={metric: float(np.mean(by_model[entry.name])) for metric, by_model in table.items()},
            spread={metric: spread_of(by_model[entry.name], bootstraps[metric]) for metric, by_model in table.items()},
        )
        for entry in contestants
    )
    first, *later = (entry.name for entry in contestants)
    comparisons = tuple(
        compare_paired(by_model, metric, name, first, bootstraps[metric])
        for name in later
        for metric, by_model in table.items()
    )
    return models, comparisons


def _sheet(
    judge: _ImageScorer,
    contestants: Sequence[EvaluatedModel],
    images: Sequence[ImageScores],
    reader: Mixture,
) -> list[ComparisonRow]:
    """The images on which first and last model differ most, made again for the sheet, bicubic beside them (R34).

    Empty where there is no reference: the sheet shows what is nearer to it.
    """
    if not judge.protocol.has_reference:
        return []
    first, last = contestants[0].name, contestants[-1].name
    metric = next(iter(images[0].models[first]), "")
    gains = [image.models[last].get(metric, 0) - image.models[first].get(metric, 0) for image in images]
    rows = []
    for index in pick_examples(gains, SHEET_ROWS):
        lr, hr = judge.read(reader, index)
        assert hr is not None
        bicubic = resize_bicubic(lr, hr.shape[1], hr.shape[0])
        name = reader.pairs[index].name
        outputs = {BICUBIC: bicubic} | {entry.name: judge.output(entry, name, lr) for entry in contestants}
        scores = {BICUBIC: judge.score(bicubic, hr), **images[index].models}
        rows.append(ComparisonRow(name=name, lr=lr, hr=hr, outputs=outputs, scores=scores))
    return rows
