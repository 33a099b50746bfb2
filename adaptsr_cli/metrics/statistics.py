"""Paired permutation tests, bootstrap intervals and spread over images; images of one scene count as one witness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from scipy.stats import permutation_test

from adaptsr_cli.arrays import Float64Array
from adaptsr_cli.artifacts.evaluation import PairedTest, ScoreSpread

RESAMPLES: Final = 2000
_INTERVAL: Final = (0.025, 0.975)
_MOST_PERMUTATIONS: Final = 1 << 14  # of up to 14 scenes all are tried, of more so many are drawn


class Resampling:
    """Draws the same scenes again for every metric and model, so that intervals can be compared.

    Args:
        scenes: The scene of each image: images of one are drawn together, since they are no independent witnesses.
        seed: The same seed gives the same intervals and p-values.
    """

    def __init__(self, scenes: Sequence[str], seed: int) -> None:
        order = {scene: place for place, scene in enumerate(dict.fromkeys(scenes))}
        self.scenes = len(order)
        self.images = len(scenes)
        self._scene_of = np.array([order[scene] for scene in scenes])
        self._seed = seed
        self._drawn = np.random.default_rng(seed).integers(0, self.scenes, (RESAMPLES, self.scenes))

    def interval(self, values: Float64Array) -> tuple[float | None, float | None]:
        """The 95 % interval of the mean by percentiles (Efron 1979).

        Args:
            values: (images,) float64.

        Returns:
            (low, high); None for a lone scene, which tells nothing of others.
        """
        if self.scenes < 2:
            return None, None
        counts = np.bincount(self._scene_of, minlength=self.scenes)
        means = self._sums(values)[self._drawn].sum(axis=1) / counts[self._drawn].sum(axis=1)
        low, high = np.quantile(means, _INTERVAL)
        return float(low), float(high)

    def p_value(self, differences: Float64Array) -> float | None:
        """Two-sided p-value of the mean difference, the sign of each scene's differences permuted (Fisher 1935).

        Exact for up to 14 scenes. It goes by the differences themselves where ranks keep only their order. As of every
        test of signs, n scenes give 2 / 2^n at best.

        Args:
            differences: (images,) float64.

        Returns:
            In (0, 1]; None for a lone scene.
        """
        if self.scenes < 2:
            return None
        found = permutation_test(
            (self._sums(differences),),
            lambda sums, axis: sums.sum(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=_MOST_PERMUTATIONS,
            batch=1024,
            random_state=np.random.default_rng(self._seed),
        )
        return min(1.0, float(found.pvalue))

    def _sums(self, values: Float64Array) -> Float64Array:
        """The sum over each scene, (scenes,) float64."""
        return np.bincount(self._scene_of, values, self.scenes).astype(np.float64)


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
        complete = complete_images(images, metric)
        if complete:
            found[metric] = {model: [images[at][model][metric] for at in complete] for model in images[complete[0]]}
    return found


def complete_images(images: Sequence[Mapping[str, Mapping[str, float]]], metric: str) -> list[int]:
    """Places of the images on which every model has the metric."""
    return [at for at, image in enumerate(images) if all(metric in scores for scores in image.values())]


def spread_of(values: Sequence[float], resampling: Resampling) -> ScoreSpread:
    """How the scores of one model and metric vary over the images."""
    array = np.asarray(values, np.float64)
    low, high = resampling.interval(array)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    return ScoreSpread(images=len(array), std=std, ci95_low=low, ci95_high=high)


def compare_paired(
    scores: Mapping[str, Sequence[float]], metric: str, model: str, against: str, resampling: Resampling
) -> PairedTest:
    """One model against another on the same images, by a permutation test.

    Args:
        scores: Model -> scores on the same images, in the same order.
        metric: Key of the metric.
        model: The later model.
        against: The earlier one.
        resampling: Knows the scenes of the images.
    """
    differences = np.asarray(scores[model], np.float64) - np.asarray(scores[against], np.float64)
    low, high = resampling.interval(differences)
    return PairedTest(
        model=model,
        against=against,
        metric=metric,
        mean_difference=float(differences.mean()),
        ci95_low=low,
        ci95_high=high,
        p_value=resampling.p_value(differences),
        larger=int(np.count_nonzero(differences > 0)),
        smaller=int(np.count_nonzero(differences < 0)),
        test="permutation",
        scenes=resampling.scenes,
    )
