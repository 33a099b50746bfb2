"""What is said of a comparison: never more than the figures hold."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from report.pages import make_evaluation

from adaptsr_cli.artifacts.evaluation import PairedTest
from adaptsr_cli.report.findings import counts_text, gain, headline, judge, side_findings, signed


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
        Case(0.1, 0.01, "Better: merged is better than backbone by more than chance (Wilcoxon p = 0.01)"),
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


def test_the_other_metrics_have_their_say() -> None:
    assert side_findings(make_evaluation(gains_db=[0.1, 0.2, 0.3])) == [("LPIPS (alex)", "−0.0020", "undecided")]
