"""The dial of a run in its evaluation: what the sharpness does to the scores and to the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from adaptsr_cli.artifacts.evaluation import DialCurve, DialPoint, ImageScores
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.distributed import World
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.report.gallery import ImageDetail
from adaptsr_cli.stages.common.dial import SETTINGS, Dial, open_run_dial
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.evaluate.models import EvaluatedModel, evaluated
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.scoring import ImageScorer

SHOWN: Final = (0.5, 1.0)
"""Settings of which the report has pictures."""

MOST_IMAGES: Final = 24


@dataclass(frozen=True)
class DialScorer:
    """A run's dial and how it is scored.

    Attributes:
        reader: The images.
        device: Where the network runs.
    """

    options: EvaluateOptions
    dial: Dial
    scorer: ImageScorer
    reader: Mixture
    device: torch.device

    def score(self, images: Mapping[int, ImageScores], backbone: str, world: World, progress: Progress) -> DialCurve:
        """Score every setting.

        Args:
            images: The scores of the models, by the image's place in `reader`; of many a part is taken, evenly spread.
            backbone: The name of the backbone in them.
            world: The processes that share the images.
            progress: Where to tell.
        """
        places = list(images)
        spread = np.linspace(0, len(places) - 1, min(len(places), MOST_IMAGES)).round().astype(int)
        chosen = [places[at] for at in spread]
        mine = [chosen[at] for at in world.share(len(chosen))]
        own: list[list[dict[str, float]]] = [[] for _ in mine]
        with progress.task("dial", len(mine) * len(SETTINGS), unit="image") as task:
            for sharpness in SETTINGS:
                model = self._at(sharpness)
                for scores, place in zip(own, mine, strict=True):
                    lr, hr = self.scorer.read(self.reader, place)
                    output = self.scorer.output(model, self.reader.pairs[place].name, lr)
                    scores.append(self.scorer.score(output, hr))
                    task.advance()
        found = [
            [images[place].models[backbone], *scores]
            for place, scores in zip(chosen, world.gather_shares(own), strict=True)
        ]
        first, *points = _means(found)
        return DialCurve(
            images=len(chosen),
            backbone=first,
            points=tuple(
                DialPoint(sharpness=sharpness, metrics=metrics)
                for sharpness, metrics in zip(SETTINGS, points, strict=True)
            ),
        )

    def show(self, details: Sequence[ImageDetail], places: Sequence[int]) -> list[ImageDetail]:
        """The details of the report with the settings of `SHOWN` beside the models.

        Args:
            details: As the models made them.
            places: Of all scored images in `reader`, by their index in the evaluation.
        """
        more: list[dict[str, np.ndarray]] = [{} for _ in details]
        for sharpness in SHOWN:
            model = self._at(sharpness)
            for layers, detail in zip(more, details, strict=True):
                place = places[detail.index]
                lr, _ = self.scorer.read(self.reader, place)
                output = self.scorer.output(model, self.reader.pairs[place].name, lr)
                layers[model.name] = detail.box.cut(output).copy()
        truths = 1 if self.scorer.protocol.has_reference else 0
        return [
            replace(detail, layers=_insert(detail.layers, layers, truths))
            for detail, layers in zip(details, more, strict=True)
        ]

    def _at(self, sharpness: float) -> EvaluatedModel:
        """The network at a setting."""
        self.dial.put(sharpness)
        return evaluated(f"sharpness {sharpness:g}", self.dial.backbone, self.options, self.device, SILENT)


def open_dial_scorer(
    options: EvaluateOptions, run: RunFolder, scorer: ImageScorer, reader: Mixture, device: torch.device
) -> DialScorer | None:
    """The dial of the run; None where other models are scored, or the run has no perceptual adapter."""
    if not options.scores_models_of_run or not run.perceptual.adapter.exists():
        return None
    spec = ModelSpec.of(None, options.weights_dir, offline=options.offline, options=options.model_options)
    return DialScorer(options, open_run_dial(run, spec, SILENT), scorer, reader, device)


def _means(images: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Means over the images that have the metric at every setting.

    Args:
        images: Of each image the scores of the backbone and of every setting.
    """
    found: list[dict[str, float]] = [{} for _ in images[0]]
    for key in dict.fromkeys(key for scores in images for key in scores[0]):
        whole = [scores for scores in images if all(key in each for each in scores)]
        for at, means in enumerate(found):
            if whole:
                means[key] = float(np.mean([scores[at][key] for scores in whole]))
    return found


def _insert(layers: Mapping[str, np.ndarray], more: Mapping[str, np.ndarray], behind: int) -> dict[str, np.ndarray]:
    """The layers with more of them, before the last so many."""
    known = list(layers.items())
    split = len(known) - behind
    return dict([*known[:split], *more.items(), *known[split:]])
