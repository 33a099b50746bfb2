"""Paired significance tests, bootstrap intervals and spread over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from scipy.stats import wilcoxon

from adaptsr_cli.artifacts.evaluation import PairedTest, ScoreSpread

RESAMPLES: Final = 2000
_INTERVAL: Final = (0.025, 0.975)


class Bootstrap:
    """Draws the same images again for every metric and model, so that intervals can be compared.

    Args:
        images: How many images there are.
        seed: The same seed gives the same intervals.
    """

    def __init__(self, images: int, seed: int) -> None:
        self._drawn = np.random.default_rng(seed).integers(0, images, (RESAMPLES, images))

    def interval(self, values: np.ndarray) -> tuple[float | None, float | None]:
        """The 95 % interval of the mean by percentiles (Efron 1979).

        Args:
            values: (images,) float64.

        Returns:
            (low, high); None for a lone image, which tells nothing of others.
        """
        if len(values) < 2:
            return None, None
        low, high = np.quantile(values[self._drawn].mean(axis=1), _INTERVAL)
        return float(low), float(high)


def common_scores(images: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Scores by metric and model, of those images on which every model has the metric.

    Means over different images could not be compared, and some metrics cannot tell anything of some images.

    Args:
        images: Model -> metric -> score, for each image.

    Returns:
        Metric -> model -> scores, in the order of `images`; metrics that no image has for all models are left out.
    """
    metrics = dict.fromkeys(metric for image in images for scores in image.values() for metric in scores)
    found: dict[str, dict[str, list[float]]] = {}
    for metric in metrics:
        complete = [image for image in images if all(metric in scores for scores in image.values())]
        if complete:
            found[metric] = {model: [image[model][metric] for image in complete] for model in complete[0]}
    return found


def spread_of(values: Sequence[float], bootstrap: Bootstrap) -> ScoreSpread:
    """How the scores of one model and metric vary over the images."""
    array = np.asarray(values, np.float64)
    low, high = bootstrap.interval(array)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    return ScoreSpread(images=len(array), std=std, ci95_low=low, ci95_high=high)


def compare_paired(
    scores: Mapping[str, Sequence[float]], metric: str, model: str, against: str, bootstrap: Bootstrap
) -> PairedTest:
    """One model against another on the same images, by Wilcoxon's signed-rank test.

    It needs no normal distribution, which scores of few images do not have. Of few images it can never say much: five
    give p = 0.0625 at best.

    Args:
        scores: Model -> scores on the same images, in the same order.
        metric: Key of the metric.
        model: The later model.
        against: The earlier one.
        bootstrap: For the interval of the mean difference.
    """
    difference = np.asarray(scores[model], np.float64) - np.asarray(scores[against], np.float64)
    low, high = bootstrap.interval(difference)
    return PairedTest(
        model=model,
        against=against,
        metric=metric,
        mean_difference=float(difference.mean()),
        ci95_low=low,
        ci95_high=high,
        p_value=_signed_rank(difference) if len(difference) > 1 else None,
        larger=int(np.count_nonzero(difference > 0)),
        smaller=int(np.count_nonzero(difference < 0)),
    )


def _signed_rank(difference: np.ndarray) -> float:
    """The two-sided p-value; images on which both are equal are left out, and 1 where all are."""
    told = difference[difference != 0]
    return float(wilcoxon(told).pvalue) if len(told) else 1.0
