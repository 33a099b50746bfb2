"""How the guard of trainings without pairs did, recomputed from the lines of ``without_pairs.jsonl``; trains nothing.

Two questions: what became of harmful and of good adapters at the strength that the guard chose, and what its constants
are worth on a camera that they were not chosen on. For the second each camera is left out in turn: of a few rules the
one is taken that does best on the other cameras, and judged on the one left out. That needs the true gain at every
strength, so it is of the lines that hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np

from adaptsr_cli.imaging.guard import STRENGTHS, careful_gain
from benchmarks.camera_scenes import DRAWN

Row = dict[str, Any]
Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64


@dataclass(frozen=True)
class Rule:
    """A way to choose a strength from what is gained in simulation.

    Attributes:
        by: The simulated gain that is maximised, one of `GAINS`.
        least_db: Below this the backbone is kept.
        back: How many steps the strength is less than the best.
    """

    by: str
    least_db: float
    back: int

    def choose(self, row: Row) -> int:
        """The place of the strength among those tried."""
        low, median = (np.array(row[name][: len(STRENGTHS)]) for name in ("low_db", "median_db"))  # older have full too
        gains = GAINS[self.by](low, median)
        best = int(gains.argmax())
        return max(best - self.back, 1) if best and gains[best] >= self.least_db else 0

    def describe(self) -> str:
        """In words."""
        less = f", {self.back} step less" if self.back else ""
        return f"{self.by}{less}, the backbone below {self.least_db:g} dB"


GAINS: Final[dict[str, Callable[[Floats, Floats], Floats]]] = {
    "the gain that nine in ten cameras exceed": lambda low, median: low,
    "the careful gain": careful_gain,
    "the median camera's gain": lambda low, median: median,
}
PRODUCT: Final = Rule("the careful gain", 0.02, 0)
BEFORE: Final = Rule("the gain that nine in ten cameras exceed", 0.02, 0)
RULES: Final = tuple(Rule(*parts) for parts in product(GAINS, (0.02, 0.05, 0.1, 0.2, 0.4), (0, 1)))


def record_of_guard(rows: Sequence[Row], from_one_pair: str) -> list[str]:
    """How often it kept what harms, and threw away what does good: lines of Markdown.

    Args:
        rows: All lines.
        from_one_pair: What the row of trainings on one pair is called, where the guard is another.
    """
    judged = [row for row in rows if "as_trained_psnr_y_db" in row]
    of_pair = [row for row in judged if row["row"] == from_one_pair]
    without = [row for row in judged if row["row"] != from_one_pair]
    lines = [*_outcomes(without, "without pairs"), *_outcomes(of_pair, "on one pair")]
    return [*lines, *_left_out_record([row for row in without if "gains_db" in row])]


def _outcomes(judged: Sequence[Row], what: str) -> list[str]:
    if not judged:
        return []
    harmful = [row for row in judged if row["as_trained_psnr_y_db"] < row["psnr_y_db"][0]]
    good = [row for row in judged if row["as_trained_psnr_y_db"] >= row["psnr_y_db"][0]]
    still = sum(row["psnr_y_db"][1] < row["psnr_y_db"][0] for row in harmful)
    spoiled = sum(row["psnr_y_db"][1] < row["psnr_y_db"][0] for row in good)
    kept = sum(row["strength"] == 0 for row in harmful)
    lost = sum(row["strength"] == 0 for row in good)
    worst = min(row["psnr_y_db"][1] - row["psnr_y_db"][0] for row in judged)
    return [
        "",
        f"Of {len(judged)} guarded trainings {what} {len(harmful)} were harmful as trained: at the strength that the "
        f"guard chose {still} still are, and in {kept} of them it kept the backbone. Of the {len(good)} good ones it "
        f"threw away {lost} and made {spoiled} harmful. The worst at its chosen strength: {worst:+.2f} dB.",
    ]


def _left_out_record(rows: Sequence[Row]) -> list[str]:
    cameras = list(dict.fromkeys(_camera(row) for row in rows))
    if len(cameras) < 2:
        return []
    chosen = {
        camera: max(RULES, key=lambda rule: _merit(rule, [row for row in rows if _camera(row) != camera]))
        for camera in cameras
    }
    lines = [
        "",
        f"The guard on cameras that it was not chosen on, {len(rows)} trainings whose true gain is known at every "
        f"strength. For each camera the best of {len(RULES)} rules on the other cameras is taken (fewest harmful, then "
        "the largest mean gain); beside it the rule of the product, that before it (what nine in ten exceed), and the "
        "best strength that there was:",
        "",
        "| camera | trainings | the others' rule | harmful, mean gain | the product's | before | best possible |",
        "|---|---|---|---|---|---|---|",
    ]
    for camera in cameras:
        these = [row for row in rows if _camera(row) == camera]
        best = float(np.mean([max(row["gains_db"]) for row in these]))
        lines.append(
            f"| {camera} | {len(these)} | {chosen[camera].describe()} | {_outcome(chosen[camera], these)} "
            f"| {_outcome(PRODUCT, these)} | {_outcome(BEFORE, these)} | {best:+.2f} dB |"
        )
    return lines


def _camera(row: Row) -> str:
    """Cameras drawn at random count as one, so that they are judged by rules of the others alone."""
    return "drawn" if row["camera"] in DRAWN else str(row["camera"])


def _gains(rule: Rule, rows: Sequence[Row]) -> list[float]:
    return [row["gains_db"][rule.choose(row)] for row in rows]


def _merit(rule: Rule, rows: Sequence[Row]) -> tuple[int, float]:
    gains = _gains(rule, rows)
    return -sum(gain < 0 for gain in gains), float(np.mean(gains))


def _outcome(rule: Rule, rows: Sequence[Row]) -> str:
    gains = _gains(rule, rows)
    return f"{sum(gain < 0 for gain in gains)}, {np.mean(gains):+.2f} dB"
