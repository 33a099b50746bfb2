"""Telling a run that learns by heart from one that does not."""

from __future__ import annotations

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.training.overfitting import LOST_DB, find_overfitting


def log(scores: list[float], losses: list[float]) -> list[LogRow]:
    """A validation every ten iterations, a loss between."""
    rows = [LogRow(iteration=0, val_psnr_y_db=scores[0])]
    for place, (score, loss) in enumerate(zip(scores[1:], losses, strict=True), start=1):
        rows += [LogRow(iteration=10 * place, loss=loss), LogRow(iteration=10 * place, val_psnr_y_db=score)]
    return rows


def test_a_falling_score_with_a_falling_loss_is_overfitting() -> None:
    found = find_overfitting(log([24.0, 24.5, 24.3, 24.2], [0.05, 0.04, 0.03]))
    assert found is not None
    assert "since iteration 10" in found
    assert "fallen by 0.30 dB" in found


def test_nothing_else_is() -> None:
    rising = log([24.0, 24.2, 24.4, 24.5], [0.05, 0.04, 0.03])
    restless = log([24.0, 24.5, 24.5 - LOST_DB / 2, 24.5 - LOST_DB / 2], [0.05, 0.04, 0.03])
    diverging = log([24.0, 24.5, 24.0, 23.0], [0.04, 0.06, 0.09])
    never_better = log([24.0, 23.9, 23.8, 23.7], [0.05, 0.04, 0.03])
    for rows in (rising, restless, diverging, never_better, [], rising[:2]):
        assert find_overfitting(rows) is None
