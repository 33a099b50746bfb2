"""Scores of the images of an evaluation: every model on every image, and the rows of the comparison sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.artifacts.evaluation import ImageScores, LeftOutImage
from adaptsr_cli.data.layouts import Pair
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.errors import AdaptsrError, DataError, GroupError, Interrupted
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.images import image_size, resize_bicubic
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.protocol import Protocol, score_images
from adaptsr_cli.progress import Progress
from adaptsr_cli.report.comparison import BICUBIC, ComparisonRow, pick_examples
from adaptsr_cli.report.findings import gain, leading_metric
from adaptsr_cli.report.gallery import BestAndWorst
from adaptsr_cli.stages.evaluate.models import EvaluatedModel
from adaptsr_cli.units import list_some, plural

SHEET_ROWS: Final = 4
_LARGE_ENOUGH_PX: Final = 256  # on the LR grid; larger images are not too small for any metric or protocol
_TRIED_PX: Final = 1024


@dataclass(frozen=True)
class ImageScorer:
    """Scores single images by a protocol.

    Attributes:
        protocol: How images are prepared.
        scale: Upscaling factor.
        metrics: Names of those that can be computed.
        measures: All of them but PSNR and SSIM.
    """

    protocol: Protocol
    scale: int
    metrics: tuple[str, ...]
    measures: Measures

    def read(self, reader: Mixture, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Read LR and reference as the protocol wants them; without a reference a photograph itself is LR."""
        if not self.protocol.has_reference and reader.pairs[index].lr is None:
            source, place = reader.locate(index)
            return source.read_hr(place), None
        lr, hr = reader.read(index)
        if not self.protocol.has_reference:
            return lr, None
        return self.protocol.crop_lr(lr), self.protocol.crop_hr(hr, self.scale)

    def output(self, model: EvaluatedModel, image: str, lr: np.ndarray) -> np.ndarray:
        """The part that is scored of what a model makes of an LR image."""
        return self.protocol.crop_hr(model.produce(image, lr), self.scale)

    def score(self, sr: np.ndarray, hr: np.ndarray | None) -> dict[str, float]:
        """Compute the scores of an output; without a reference those that need none."""
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


def score_share(
    scorer: ImageScorer,
    models: Sequence[EvaluatedModel],
    reader: Mixture,
    share: range,
    best_and_worst: BestAndWorst,
    progress: Progress,
) -> list[ImageScores | LeftOutImage]:
    """Score some of the images; one that cannot be scored is named, and costs the others nothing.

    Args:
        scorer: How.
        models: What makes the SR images.
        reader: The images.
        share: Which of them.
        best_and_worst: Offered the details of each image, from which the report chooses.
        progress: Where to tell.

    Returns:
        In the order of the share.
    """
    images: list[ImageScores | LeftOutImage] = []
    with progress.task("eval", len(share) * len(models), unit="image") as task:
        for index in share:
            name = reader.pairs[index].name
            try:
                images.append(_score_image(scorer, models, reader, index, best_and_worst))
            except (Interrupted, GroupError):
                raise
            except (AdaptsrError, OSError) as error:
                reason = error.message if isinstance(error, AdaptsrError) else str(error)
                progress.warn(f"{name} is left out of the scores: {reason}")
                images.append(LeftOutImage(name=name, reason=reason))
            task.advance(len(models))
    return images


def _score_image(
    scorer: ImageScorer,
    models: Sequence[EvaluatedModel],
    reader: Mixture,
    index: int,
    best_and_worst: BestAndWorst,
) -> ImageScores:
    """Score all models on one image."""
    pair = reader.pairs[index]
    lr, hr = scorer.read(reader, index)
    scores, outputs = {}, {}
    for model in models:
        outputs[model.name] = sr = scorer.output(model, pair.name, lr)
        scores[model.name] = scorer.score(sr, hr)
    hashes = _hash_files(pair, models, with_reference=hr is not None)
    leading = leading_metric(scores[models[0].name])
    best_and_worst.offer(index, gain(scores, leading), lr, hr, outputs)
    height_px, width_px = (scorer.scale * side for side in lr.shape[:2])
    return ImageScores(name=pair.name, width_px=width_px, height_px=height_px, file_sha256=hashes, models=scores)


def refuse_unscorable(scorer: ImageScorer, models: Sequence[EvaluatedModel], reader: Mixture, *, strict: bool) -> None:
    """Refuse images that are too small to be scored, and outputs of another size, before any network runs.

    Args:
        scorer: How they are scored.
        models: What makes the outputs.
        reader: The images.
        strict: Refuse them where there is one; else where there is no other.

    Raises:
        DataError: They are counted, and the first three named.
    """
    faults: list[str] = []
    known: dict[tuple[int, int], str] = {}
    for index, pair in enumerate(reader.pairs):
        size = reader.hr_size(index)
        if not scorer.protocol.has_reference and pair.lr is None:  # the photograph itself is LR
            size = scorer.scale * size[0], scorer.scale * size[1]
        if size not in known:
            known[size] = _size_fault(scorer, *size)
        fault = known[size]
        for model in models if strict and scorer.protocol.has_reference and scorer.protocol.lr_crop_px is None else ():
            if model.files and not fault and (found := image_size(model.files[pair.name])) != size:
                fault = f"{model.name} has {found[0]}x{found[1]} px for {size[0]}x{size[1]}"
        if fault:
            faults.append(f"{pair.name}: {fault}")
    if faults and (strict or len(faults) == len(reader)):
        raise DataError(
            f"{len(faults)} of {plural(len(reader), 'image')} cannot be scored: {list_some(faults, 3, '; ')}",
            "leave them out, or score without `strict`"
            if strict
            else "give other images, or another `protocol` or other `metrics`",
        )


def _size_fault(scorer: ImageScorer, width_px: int, height_px: int) -> str:
    """Why an image of this size cannot be scored; empty where it can."""
    if min(width_px, height_px) > _LARGE_ENOUGH_PX * scorer.scale:
        return ""
    blank = np.zeros((min(height_px, _TRIED_PX), min(width_px, _TRIED_PX), 3), np.uint8)
    try:
        blank = scorer.protocol.crop_hr(blank, scorer.scale)
        scorer.score(blank, blank if scorer.protocol.has_reference else None)
    except DataError as error:
        return error.message
    return ""


def _hash_files(pair: Pair, models: Sequence[EvaluatedModel], *, with_reference: bool) -> dict[str, str]:
    """Compute the SHA-256 of every file that the scores of an image come from."""
    files = {} if pair.lr is None else {"lr": pair.lr}
    files |= {"hr": pair.hr} if with_reference else {"lr": pair.lr or pair.hr}
    files |= {entry.name: entry.files[pair.name] for entry in models if entry.files}
    return {role: file_sha256(path) for role, path in files.items()}


def make_sheet_rows(
    scorer: ImageScorer,
    models: Sequence[EvaluatedModel],
    images: Mapping[int, ImageScores],
    reader: Mixture,
) -> list[ComparisonRow]:
    """Make the images again on which first and last model differ most, bicubic beside them, for the sheet.

    Empty where there is no reference: the sheet shows what is nearer to it.

    Args:
        scorer: How they are scored.
        models: What makes them.
        images: The scores, by the image's place in `reader`.
        reader: The images.
    """
    if not scorer.protocol.has_reference:
        return []
    first, last = models[0].name, models[-1].name
    places = list(images)
    metric = next(iter(images[places[0]].models[first]), "")
    gains = [image.models[last].get(metric, 0) - image.models[first].get(metric, 0) for image in images.values()]
    rows = []
    for index in (places[chosen] for chosen in pick_examples(gains, SHEET_ROWS)):
        lr, hr = scorer.read(reader, index)
        assert hr is not None
        bicubic = resize_bicubic(lr, hr.shape[1], hr.shape[0])
        name = reader.pairs[index].name
        outputs = {BICUBIC: bicubic} | {entry.name: scorer.output(entry, name, lr) for entry in models}
        scores = {BICUBIC: scorer.score(bicubic, hr), **images[index].models}
        rows.append(ComparisonRow(name=name, lr=lr, hr=hr, outputs=outputs, scores=scores))
    return rows
