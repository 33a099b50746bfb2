"""What is said of a comparison: never more than the figures hold."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from report.pages import make_evaluation

from adaptsr_cli.artifacts.evaluation import ColourChartScores, PairedTest
from adaptsr_cli.report.findings import (
    chance_text,
    counts_text,
    describe_colours,
    describe_empty_images,
    describe_images,
    gain,
    headline,
    judge,
    list_warnings,
    side_findings,
    signed,
)


def make_test(metric: str, low: float | None, high: float | None, p_value: float | None) -> PairedTest:
    return PairedTest(
        model="merged",
        against="backbone",
        metric=metric,
        mean_difference=0.0,
        ci95_low=low,
        ci95_high=high,
        p_value=p_value,
        larger=5,
        smaller=2,
    )


@pytest.mark.parametrize(
    ("metric", "low", "high", "p_value", "expected"),
    [
        ("psnr_y_db", 0.1, 0.3, 0.01, "better"),
        ("psnr_y_db", -0.3, -0.1, 0.01, "worse"),
        ("lpips_alex", 0.1, 0.3, 0.01, "worse"),
        ("lpips_alex", -0.3, -0.1, 0.01, "better"),
        ("psnr_y_db", -0.1, 0.3, 0.01, "undecided"),
        ("psnr_y_db", 0.1, 0.3, 0.06, "undecided"),  # five images all agree, and p cannot be lower
        ("psnr_y_db", None, None, None, "undecided"),
        ("blur_px", 0.1, 0.3, 0.01, None),
    ],
)
def test_verdicts(metric: str, low: float | None, high: float | None, p_value: float | None, expected: str) -> None:
    assert judge(make_test(metric, low, high, p_value)) == expected


def test_counts_follow_the_better_way() -> None:
    assert counts_text(make_test("psnr_y_db", 0, 0, 1)) == "better on 5, worse on 2"
    assert counts_text(make_test("lpips_alex", 0, 0, 1)) == "better on 2, worse on 5"
    assert counts_text(make_test("blur_px", 0, 0, 1)) == "larger on 5, smaller on 2"


def test_merit_is_larger_for_the_better() -> None:
    scores = {
        "one": {"psnr_y_db": 20.0, "dists": 0.3},
        "two": {"dists": 0.9},
        "three": {"psnr_y_db": 22.0, "dists": 0.2},
    }
    assert gain(scores, "psnr_y_db") == pytest.approx(2)
    assert gain(scores, "dists") == pytest.approx(0.1)
    assert gain(scores, "ssim_y") is None
    assert gain(scores, None) is None
    assert gain({"one": {"dists": 0.3}}, "dists") == pytest.approx(-0.3)


def test_a_minus_is_a_minus() -> None:
    assert signed("psnr_y_db", -0.204) == "−0.20 dB"
    assert signed("ssim_y", 0.00123, unit=False) == "+0.0012"


@dataclass
class Case:
    low: float
    p_value: float
    begins: str


@pytest.mark.parametrize(
    "case",
    [
        Case(
            0.1, 0.01, "Better: merged is better than backbone by more than chance (permutation test p = 0.01, and 3 "
        ),
        Case(-0.1, 0.3, "Not decided: merged and backbone may differ by chance"),
    ],
)
def test_headline(case: Case) -> None:
    evaluation = make_evaluation(gains_db=[0.1, 0.2, 0.3])
    tests = tuple(
        test.model_copy(update={"ci95_low": case.low, "p_value": case.p_value}) for test in evaluation.comparisons
    )
    found = headline(evaluation.model_copy(update={"comparisons": tests}))
    assert found is not None
    assert (found.figure, found.metric) == ("+0.20 dB", "PSNR-Y")
    assert found.sentence.startswith(case.begins)


def test_a_model_that_changes_nothing_is_told_so() -> None:
    evaluation = make_evaluation(gains_db=[0.0, 0.0, 0.0])
    tests = tuple(test.model_copy(update={"larger": 0, "smaller": 0}) for test in evaluation.comparisons)
    found = headline(evaluation.model_copy(update={"comparisons": tests}))
    assert found is not None
    assert found.sentence == "No difference: merged scores as backbone does on every image."


def test_the_other_metrics_have_their_say() -> None:
    assert side_findings(make_evaluation(gains_db=[0.1, 0.2, 0.3])) == [("LPIPS (alex)", "−0.0020", "undecided")]


def test_the_p_value_says_of_which_test_it_is_and_what_it_could_be_at_best() -> None:
    old = make_test("psnr_y_db", 0, 1, 0.0625)
    assert chance_text(old) == "Wilcoxon p = 0.062"
    few = old.model_copy(update={"test": "permutation", "scenes": 5})
    assert chance_text(few) == "permutation test p = 0.062, and 5 independent images cannot give less than 0.062"
    assert chance_text(few.model_copy(update={"scenes": 6})) == "permutation test p = 0.062"
    assert chance_text(few.model_copy(update={"p_value": None})) == ""


def test_what_the_run_has_seen_of_the_images_is_said() -> None:
    page = make_evaluation()
    assert describe_images(page) == "3 images of camera (held-out)"
    chosen = page.model_copy(update={"seen": "validation"})
    assert describe_images(chosen).endswith("(held-out: never trained on, but they chose the iteration)")
    unseen = page.model_copy(update={"split": "test", "seen": "nothing"})
    assert describe_images(unseen).endswith("(test: never seen by the run)")
    simulated = unseen.model_copy(update={"simulated_lr": True})
    assert describe_images(simulated).endswith(
        "never seen by the run, with an LR side that is simulated, not a camera's)"
    )
    crops = tuple(image.model_copy(update={"scene": "one"}) for image in page.images)
    assert describe_images(page.model_copy(update={"images": crops})).startswith("3 images of 1 scene of camera")


def test_images_that_show_next_to_nothing_are_told_of() -> None:
    page = make_evaluation()
    assert describe_empty_images(page) == ""
    first, *others = page.images
    empty = first.model_copy(update={"models": {**first.models, "backbone": {"psnr_y_db": 82.3}}})
    told = page.model_copy(update={"images": (empty, *others)})
    assert describe_empty_images(told) == (
        f"1 image shows next to nothing, and outweighs the others in the mean by a PSNR of up to 82 dB: {first.name}"
    )
    assert list_warnings(told) == (describe_empty_images(told),)
    assert describe_empty_images(page.model_copy(update={"images": (empty,)})) == ""  # no others


def test_colours_that_break_are_told_of_where_the_last_network_breaks_more() -> None:
    page = make_evaluation()
    assert describe_colours(page) == ""  # of older versions
    chart = ColourChartScores(colours=64, broken={"backbone": 3, "merged": 9})
    counted = page.model_copy(update={"colour_chart": chart})
    assert describe_colours(counted).startswith("of 64 flat colours on a chart some break (backbone: 3, merged: 9): ")
    for broken in ({"backbone": 3, "merged": 3}, {"backbone": 3, "merged": 0}, {"backbone": 9}):
        fine = chart.model_copy(update={"broken": broken})
        assert describe_colours(page.model_copy(update={"colour_chart": fine})) == ""
