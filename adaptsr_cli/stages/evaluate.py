"""Stage ``eval``: scores of any models, and of other systems' images, by one named protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from adaptsr_cli.artifacts import Evaluation, ImageScores, ModelScores, Split
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.layouts import PairSet
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.sources import DataChoice
from adaptsr_cli.distributed import ALONE, World
from adaptsr_cli.errors import ArtifactError, DataError, OutputExistsError, UsageError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.images import list_images, read_rgb, resize_bicubic
from adaptsr_cli.metrics.perceptual import PerceptualMetrics
from adaptsr_cli.metrics.protocol import Protocol, find_protocol, score_images
from adaptsr_cli.progress import Progress
from adaptsr_cli.report.comparison import BICUBIC, ComparisonRow, pick_examples
from adaptsr_cli.report.figures import draw_comparison
from adaptsr_cli.runtime import pick_device, pick_precision
from adaptsr_cli.stages.degradation import run_degradation
from adaptsr_cli.stages.pairs import CacheSizes, fingerprint_of, held_out_only, open_pairs, open_reader
from adaptsr_cli.stages.run_folder import ModelChoice, RunFolder, expected_scale, load_model, open_backbone, provenance
from adaptsr_cli.units import plural

SHEET_ROWS = 4


@dataclass(frozen=True)
class EvaluateConfig:
    """What to score on what.

    Attributes:
        models: Files or catalogue names; empty for the run's backbone and merged model.
        others: Name and folder of images that another system made of the same LR images.
        metrics: Names from `parse_metrics`.
        split: ``held-out`` leaves out images that the run trained on.
    """

    run: RunFolder
    data: DataChoice
    weights_dir: Path
    offline: bool = False
    models: tuple[str, ...] = ()
    others: tuple[tuple[str, Path], ...] = ()
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_squeeze")
    protocol: str = "paper"
    split: Literal["held-out", "all"] = "held-out"
    degrade: str | None = None
    tile_px: int | None = None
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    force: bool = False


@dataclass(frozen=True)
class _Contestant:
    """Something that makes SR images: a network, or a folder of images."""

    name: str
    source: str
    sha256: str | None
    scale: int | None
    produce: Callable[[str, np.ndarray], np.ndarray]  # (image name, lr uint8) -> sr uint8


@dataclass(frozen=True)
class _Judge:
    """What is measured, and how."""

    protocol: Protocol
    scale: int
    metrics: tuple[str, ...]
    perceptual: PerceptualMetrics

    def score(self, sr: np.ndarray, hr: np.ndarray) -> dict[str, float]:
        return score_images(
            sr,
            hr,
            protocol=self.protocol,
            scale=self.scale,
            metrics=self.metrics,
            perceptual=self.perceptual.score,
        )


def evaluate(config: EvaluateConfig, progress: Progress, world: World = ALONE) -> Evaluation:
    """Scores all models on all pairs and writes ``eval.json`` and ``comparison.png``.

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
    with world.first_goes_first():  # what it has checked, the others need not check again
        sets, split = _choose_pairs(config, progress)
    fingerprint = fingerprint_of(sets)
    device = pick_device(config.device)
    contestants = _open_contestants(config, device, progress)
    _refuse_replacing_another(config, contestants, fingerprint)
    scales = {contestant.scale for contestant in contestants if contestant.scale is not None}
    if len(scales) > 1:
        raise UsageError("the models have different scales", "compare models of one scale")
    ratios = {pairs.ratio for pairs in sets}
    scale = scales.pop() if scales else ratios.pop() if len(ratios) == 1 else None
    if not scale or scale == 1:
        raise UsageError("the scale cannot be told from these folders alone", "name a model too with --model")
    degradation = run_degradation(config.run, sets, config.degrade)
    reader = open_reader(sets, scale, degradation, config.seed, CacheSizes(disk_bytes=0).open())
    perceptual = PerceptualMetrics(config.metrics, config.weights_dir, device)
    for name, reason in perceptual.skipped.items():
        progress.note(f"{name}: {reason}")
    metrics = tuple(name for name in config.metrics if name not in perceptual.skipped)
    if not metrics:
        raise ArtifactError("none of the metrics can be computed", "psnr and ssim need no weights")
    judge = _Judge(protocol, scale, metrics, perceptual)
    images = world.gather_shares(_score_share(judge, contestants, reader, world.share(len(reader)), progress))
    evaluation = Evaluation(
        provenance=provenance("eval", {"metrics": ",".join(config.metrics)}, config.seed, fingerprint),
        protocol=protocol.name,
        protocol_text=protocol.describe(scale),
        scale=scale,
        data=config.data.describe(),
        split=split,
        skipped_metrics=perceptual.skipped,
        models=tuple(
            ModelScores(name=entry.name, source=entry.source, sha256=entry.sha256, metrics=_mean(images, entry.name))
            for entry in contestants
        ),
        images=tuple(images),
    )
    if world.is_first:
        write_document(config.run.evaluation, evaluation)
        rows = _sheet(judge, contestants, images, reader)
        draw_comparison(config.run.comparison, rows)
    return evaluation


def _refuse_replacing_another(config: EvaluateConfig, contestants: Sequence[_Contestant], fingerprint: str) -> None:
    """The same evaluation may be made again; another one is not replaced silently."""
    path = config.run.evaluation
    if config.force or not path.exists():
        return
    known = read_document(path, Evaluation)
    same_models = [(model.name, model.sha256) for model in known.models] == [(c.name, c.sha256) for c in contestants]
    if not same_models or known.provenance.data_fingerprint != fingerprint:
        names = ", ".join(model.name for model in known.models)
        raise OutputExistsError(
            f"{path} holds another evaluation ({names} on {known.data})",
            "replace it with --force, or use another --run",
        )


def _choose_pairs(config: EvaluateConfig, progress: Progress) -> tuple[tuple[PairSet, ...], Literal["held-out", "all"]]:
    """All pairs, or those that the run did not train on; says which."""
    if config.models or config.others:
        scale = expected_scale(None, config.models[0]) if config.models else None
    else:
        scale = expected_scale(config.run, None)
    sets = open_pairs(config.data, "test", progress, scale)
    if config.split == "all" or not config.run.split.exists():
        return sets, "all"
    known = read_document(config.run.split, Split)
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


def _open_contestants(config: EvaluateConfig, device: torch.device, progress: Progress) -> list[_Contestant]:
    named: list[tuple[str, Backbone]] = []
    if config.models or config.others:
        for text in config.models:
            model = load_model(ModelChoice(text, config.weights_dir, config.offline), progress)
            named.append((Path(text).stem, model))
    else:
        choice = ModelChoice(None, config.weights_dir, config.offline)
        named.append(("backbone", open_backbone(config.run, choice, progress, record=False)))
        if config.run.merged.exists():
            merged = load_model(ModelChoice(str(config.run.merged), config.weights_dir, config.offline), progress)
            named.append(("merged", merged))
        elif config.run.adapter.exists():
            progress.warn("the run's adapter is not merged: scoring the backbone alone; run `adaptsr merge` first")
        else:
            progress.note("the run has no merged model yet: scoring the backbone alone")
    contestants = [_of_network(name, model, config, device, progress) for name, model in named]
    contestants += [_of_folder(name, folder) for name, folder in config.others]
    names = [contestant.name for contestant in contestants]
    if len(set(names)) == len(names):
        return contestants
    return [
        _Contestant(f"{entry.name} ({position})", entry.source, entry.sha256, entry.scale, entry.produce)
        for position, entry in enumerate(contestants, start=1)
    ]


def _of_network(
    name: str, model: Backbone, config: EvaluateConfig, device: torch.device, progress: Progress
) -> _Contestant:
    precision = pick_precision(config.precision, device, bf16=model.traits.bf16, fp16=model.traits.fp16)
    # Scores that are to be compared with published ones are computed as those were, in fp32.
    precision = "fp32" if config.precision == "auto" else precision
    upscaler = Upscaler(model, device=device, precision=precision, tile_px=config.tile_px, progress=progress)

    def produce(_name: str, lr: np.ndarray) -> np.ndarray:
        sr: np.ndarray = np.rint(upscaler.run(lr) * 255).astype(np.uint8)
        return sr

    return _Contestant(name, model.identity.source, model.identity.sha256, model.scale, produce)


def _of_folder(name: str, folder: Path) -> _Contestant:
    if not folder.is_dir():
        raise UsageError(f"--sr {name}={folder}: no such folder", "give NAME=FOLDER of SR images")
    images = list_images(folder)
    by_stem = {path.stem: path for path in images}

    def produce(image: str, _lr: np.ndarray) -> np.ndarray:
        exact = by_stem.get(image)
        found = [exact] if exact else [path for stem, path in by_stem.items() if stem.startswith(f"{image}_")]
        if len(found) != 1:
            raise DataError(f"{folder} has {len(found)} images for {image!r}", "name them as the HR images")
        return read_rgb(found[0])

    return _Contestant(name, str(folder), None, None, produce)


def _score_share(
    judge: _Judge,
    contestants: Sequence[_Contestant],
    reader: Mixture,
    share: range,
    progress: Progress,
) -> list[ImageScores]:
    images = []
    with progress.task("eval", len(share) * len(contestants), unit="image") as task:
        for index in share:
            pair = reader.pairs[index]
            lr, hr = reader.read(index)
            scores = {}
            for contestant in contestants:
                scores[contestant.name] = judge.score(contestant.produce(pair.name, lr), hr)
                task.advance()
            height_px, width_px = hr.shape[:2]
            images.append(ImageScores(name=pair.name, width_px=width_px, height_px=height_px, models=scores))
    return images


def _mean(images: Sequence[ImageScores], model: str) -> dict[str, float]:
    """Mean of per-image scores (R16)."""
    names = images[0].models[model]
    return {name: float(np.mean([image.models[model][name] for image in images])) for name in names}


def _sheet(
    judge: _Judge,
    contestants: Sequence[_Contestant],
    images: Sequence[ImageScores],
    reader: Mixture,
) -> list[ComparisonRow]:
    """The images on which first and last model differ most, made again for the sheet, bicubic beside them (R34)."""
    first, last = contestants[0].name, contestants[-1].name
    metric = next(iter(images[0].models[first]))
    gains = [image.models[last][metric] - image.models[first][metric] for image in images]
    rows = []
    for index in pick_examples(gains, SHEET_ROWS):
        lr, hr = reader.read(index)
        bicubic = resize_bicubic(lr, hr.shape[1], hr.shape[0])
        name = reader.pairs[index].name
        outputs = {BICUBIC: bicubic} | {entry.name: entry.produce(name, lr) for entry in contestants}
        scores = {BICUBIC: judge.score(bicubic, hr), **images[index].models}
        rows.append(ComparisonRow(name=name, lr=lr, hr=hr, outputs=outputs, scores=scores))
    return rows
