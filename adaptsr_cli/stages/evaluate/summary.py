"""Summary of an evaluation: means, how they vary, and every later model against the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from adaptsr_cli.artifacts.evaluation import ImageScores, ModelScores, PairedTest
from adaptsr_cli.metrics.statistics import Resampling, common_scores, compare_paired, complete_images, spread_of


class Named(Protocol):
    """What a table tells of a model: a network, a folder of images, or the scores of one."""

    @property
    def name(self) -> str:
        """In tables."""

    @property
    def source(self) -> str:
        """Where it came from."""

    @property
    def sha256(self) -> str | None:
        """Of its weights, if there are any."""


def summarise(
    models: Sequence[Named], images: Sequence[ImageScores], seed: int
) -> tuple[tuple[ModelScores, ...], tuple[PairedTest, ...]]:
    """Compute means of per-image scores, how they vary, and every later model against the first one.

    Args:
        models: What was scored, in the order of the tables.
        images: The scores, with the scene of each image.
        seed: Of the intervals and of permutations that are drawn.
    """
    found = [image.models for image in images]
    table = common_scores(found)
    # Metrics that cannot be computed for every image have fewer scores, and so other draws.
    resamplings = {
        metric: Resampling([images[at].scene or images[at].name for at in complete_images(found, metric)], seed)
        for metric in table
    }
    summaries = tuple(
        ModelScores(
            name=model.name,
            source=model.source,
            sha256=model.sha256,
            metrics={metric: float(np.mean(by_model[model.name])) for metric, by_model in table.items()},
            spread={metric: spread_of(by_model[model.name], resamplings[metric]) for metric, by_model in table.items()},
        )
        for model in models
    )
    first, *later = (model.name for model in models)
    comparisons = tuple(
        compare_paired(by_model, metric, name, first, resamplings[metric])
        for name in later
        for metric, by_model in table.items()
    )
    return summaries, comparisons
