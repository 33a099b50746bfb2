"""Findings of an evaluation in words: the gain, its significance, and the metric it is measured by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from adaptsr_cli.artifacts.evaluation import Evaluation, ImageScores, PairedTest
from adaptsr_cli.report.metric_names import name_metric
from adaptsr_cli.units import agree, list_some, plural

Verdict = Literal["better", "worse", "undecided"]

SIGNIFICANT: Final = 0.05

_EMPTY_DB: Final = 60.0
"""PSNR of an output that differs from its reference in one value of fifteen, by one: of an image that shows next to
nothing. Its tens of dB more or less are not seen."""


def leading_metric(keys: Iterable[str]) -> str | None:
    """The first metric that has a better way, by which images and models are sorted; None where there is none."""
    return next((key for key in keys if name_metric(key).better is not None), None)


def gain(scores: Mapping[str, Mapping[str, float]], key: str | None) -> float | None:
    """How much better the last model is than the first one on an image; the score itself of a lone model.

    Args:
        scores: Model -> metric -> score.
        key: The metric.

    Returns:
        Larger is better, whichever way the metric goes; None where a score is missing.
    """
    values = [found.get(key) if key is not None else None for found in scores.values()]
    if key is None or values[0] is None or values[-1] is None:
        return None
    value = values[-1] - values[0] if len(values) > 1 else values[0]
    return -value if name_metric(key).better == "lower" else value


def judge(test: PairedTest) -> Verdict | None:
    """Whether a model is better or worse than the first one; None where neither way is better.

    It is said only where both the interval and the paired test agree: of a handful of images the interval alone says
    too much.
    """
    better = name_metric(test.metric).better
    if better is None:
        return None
    if test.ci95_low is None or test.ci95_high is None or test.p_value is None or test.p_value >= SIGNIFICANT:
        return "undecided"
    if test.ci95_low > 0:
        return "better" if better == "higher" else "worse"
    if test.ci95_high < 0:
        return "worse" if better == "higher" else "better"
    return "undecided"


def signed(key: str, value: float, *, unit: bool = True) -> str:
    """A difference with its sign, a real minus and its unit: ``+0.20 dB``."""
    name = name_metric(key)
    text = f"{value:+.{name.digits}f}".replace("-", "−")
    return f"{text} {name.unit}" if unit and name.unit else text


def interval_text(test: PairedTest) -> str | None:
    """The interval of a mean difference: ``+0.13 to +0.29``; None for one image."""
    if test.ci95_low is None or test.ci95_high is None:
        return None
    low, high = (signed(test.metric, value, unit=False) for value in (test.ci95_low, test.ci95_high))
    return f"{low} to {high}"


def counts_text(test: PairedTest) -> str:
    """On how many images it went which way: ``better on 7, worse on 0``."""
    way = name_metric(test.metric).better
    better, worse = (test.smaller, test.larger) if way == "lower" else (test.larger, test.smaller)
    words = ("larger", "smaller") if way is None else ("better", "worse")
    return f"{words[0]} on {better:,}, {words[1]} on {worse:,}"


def chance_text(test: PairedTest) -> str:
    """The p-value, the name of its test, and whether so few scenes can be significant at all; empty for one image."""
    if test.p_value is None:
        return ""
    if test.test == "wilcoxon":
        return f"Wilcoxon p = {test.p_value:.2g}"
    text = f"permutation test p = {test.p_value:.2g}"
    if test.least_p_value < SIGNIFICANT:
        return text
    few = plural(test.scenes or 1, "independent image")
    return f"{text}, and {few} cannot give less than {test.least_p_value:.2g}"


_SEEN: Final = {
    "nothing": "never seen by the run",
    "validation": "never trained on, but they chose the iteration",
    "training": "some of them trained on",
}


def describe_seen(evaluation: Evaluation) -> str:
    """What the run has seen of the images, and whether no camera took their LR side; empty for nothing to say."""
    simulated = "with an LR side that is simulated, not a camera's" if evaluation.simulated_lr else ""
    return ", ".join(filter(None, (_seen(evaluation), simulated)))


def _seen(evaluation: Evaluation) -> str:
    if evaluation.folds:
        return f"each scored by one of {len(evaluation.folds)} trainings, which has not seen it"
    return _SEEN[evaluation.seen] if evaluation.seen is not None else ""


def describe_images(evaluation: Evaluation) -> str:
    """How many images of which data, and what the run has seen of them: ``7 images of iphone/ (test: ...)``."""
    what = ": ".join(filter(None, (evaluation.split, describe_seen(evaluation))))
    scenes = {image.scene or image.name for image in evaluation.images}
    of_scenes = f" of {plural(len(scenes), 'scene')}" if len(scenes) < len(evaluation.images) else ""
    return f"{plural(len(evaluation.images), 'image')}{of_scenes} of {evaluation.data} ({what})"


def list_warnings(evaluation: Evaluation) -> tuple[str, ...]:
    """What the user should know of the models and the images, a sentence each."""
    return tuple(filter(None, (describe_colours(evaluation), describe_empty_images(evaluation))))


def describe_empty_images(evaluation: Evaluation) -> str:
    """Which images have a PSNR so high that they outweigh the others in a mean; empty where none or all have."""
    named = {
        image.name: highest
        for image in evaluation.images
        if (highest := _highest_psnr_db(image)) is not None and highest >= _EMPTY_DB
    }
    if not named or len(named) == len(evaluation.images):
        return ""
    count = len(named)
    return (
        f"{plural(count, 'image')} {agree(count, 'show')} next to nothing, and {agree(count, 'outweigh')} the others "
        f"in the mean by a PSNR of up to {max(named.values()):.0f} dB: {list_some(list(named))}"
    )


def _highest_psnr_db(image: ImageScores) -> float | None:
    """The highest PSNR that a model has on an image; None where it was not scored."""
    scores = (score for scores in image.models.values() for key, score in scores.items() if key.startswith("psnr_"))
    return max(scores, default=None)


def describe_colours(evaluation: Evaluation) -> str:
    """That the last network breaks on more colours than the first one, and what helps; empty where it does not."""
    chart = evaluation.colour_chart
    names = [model.name for model in evaluation.models if chart is not None and model.name in chart.broken]
    if chart is None or not names or chart.broken[names[-1]] <= chart.broken[names[0]]:
        return ""
    before, after = (f"{name}: {chart.broken[name]}" for name in (names[0], names[-1]))
    return (
        f"of {chart.colours} flat colours on a chart some break ({before}, {after}): pictures with colours that no "
        "training image shows may get spots; images of more scenes help, more of `adaptsr train --recolour`, or "
        "`adaptsr merge --strength` below 1"
    )


@dataclass(frozen=True)
class FoldRow:
    """One fold in words.

    Attributes:
        fold: Its number.
        images: How many images it was scored on.
        scores: Of the first and the last model, with unit, and their difference.
        training: Method, rate and best iteration.
    """

    fold: str
    images: str
    scores: tuple[str, str, str]
    training: str


def fold_rows(evaluation: Evaluation) -> list[FoldRow]:
    """The folds of a cross-validation by the leading metric; none for other evaluations, or without such a metric."""
    key = leading_metric(evaluation.models[0].metrics)
    if key is None:
        return []
    first, last = evaluation.models[0].name, evaluation.models[-1].name
    digits = name_metric(key).digits
    rows = []
    for fold in evaluation.folds:
        before, after = fold.metrics[first].get(key), fold.metrics[last].get(key)
        if before is None or after is None:
            continue
        scores = (f"{before:.{digits}f}", f"{after:.{digits}f}", signed(key, after - before, unit=False))
        training = f"{fold.method}, rate {fold.learning_rate:g}, best at iteration {fold.best_iteration:,}"
        rows.append(FoldRow(str(fold.fold), str(len(fold.images)), scores, training))
    return rows


@dataclass(frozen=True)
class Headline:
    """The one thing to know, for the head of a page.

    Attributes:
        figure: ``+0.20 dB``, or the mean of a lone model.
        metric: ``PSNR-Y``.
        interval: The 95 % interval in words; None for one image.
        verdict: None where there is nothing to compare.
        sentence: The verdict in words.
    """

    figure: str
    metric: str
    interval: str | None
    verdict: Verdict | None
    sentence: str


def headline(evaluation: Evaluation) -> Headline | None:
    """The last model against the first one by the leading metric; None where no metric has a better way."""
    key = leading_metric(evaluation.models[0].metrics)
    if key is None:
        return None
    model, name = evaluation.models[-1], name_metric(key)
    test = next((test for test in evaluation.comparisons if (test.model, test.metric) == (model.name, key)), None)
    if test is None:
        spread = model.spread[key]
        interval = None
        if spread.ci95_low is not None and spread.ci95_high is not None:
            interval = f"{spread.ci95_low:.{name.digits}f} to {spread.ci95_high:.{name.digits}f}"
        figure = f"{model.metrics[key]:.{name.digits}f} {name.unit}".rstrip()
        return Headline(figure, name.label, interval, None, "One model alone: there is nothing to compare it with.")
    verdict = judge(test)
    assert verdict is not None
    figure = signed(key, test.mean_difference)
    return Headline(figure, name.label, interval_text(test), verdict, _sentence(test, verdict))


def _sentence(test: PairedTest, verdict: Verdict) -> str:
    """The verdict, why, and on how many images."""
    counts = counts_text(test)
    if test.larger == test.smaller == 0:
        return f"No difference: {test.model} scores as {test.against} does on every image."
    if test.p_value is None:
        return f"{test.model} against {test.against} on one image, which says nothing about others."
    chance = chance_text(test)
    if verdict == "undecided":
        return f"Not decided: {test.model} and {test.against} may differ by chance ({chance}); {counts} of the images."
    how = f"{verdict} than {test.against} by more than chance ({chance})"
    return f"{verdict.capitalize()}: {test.model} is {how}; {counts} of the images."


def side_findings(evaluation: Evaluation) -> list[tuple[str, str, Verdict]]:
    """What the other metrics say of the last model: label, difference and verdict."""
    leading, last = leading_metric(evaluation.models[0].metrics), evaluation.models[-1].name
    found = [(test, judge(test)) for test in evaluation.comparisons if test.model == last and test.metric != leading]
    return [
        (name_metric(test.metric).label, signed(test.metric, test.mean_difference), verdict)
        for test, verdict in found
        if verdict is not None
    ]
