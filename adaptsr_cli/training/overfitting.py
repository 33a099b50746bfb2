"""Overfitting test on a finished training log."""

from __future__ import annotations

from collections.abc import Sequence

from adaptsr_cli.artifacts.log import LogRow

LOST_DB = 0.05
"""Smallest fall of the held-out score below its best, in dB, that counts; less is noise between validations."""


def find_overfitting(rows: Sequence[LogRow]) -> str | None:
    """Return a warning if the held-out score fell while the training loss kept falling, else None.

    Args:
        rows: A whole log, in order.
    """
    scores = [(row.iteration, row.val_psnr_y_db) for row in rows if row.val_psnr_y_db is not None]
    losses = [(row.iteration, row.loss) for row in rows if row.loss is not None]
    if len(scores) < 3:
        return None
    best_at, best = max(scores, key=lambda score: (score[1], -score[0]))
    lost_db = best - scores[-1][1]
    before = [loss for iteration, loss in losses if iteration <= best_at]
    after = [loss for iteration, loss in losses if iteration > best_at]
    if lost_db < LOST_DB or not before or not after:
        return None
    # The mean of as many rows on both sides: single batches are too noisy.
    count = min(len(before), len(after), 10)
    if sum(after[-count:]) >= sum(before[-count:]):
        return None
    return (
        f"overfitting: since iteration {best_at} the held-out score has fallen by {lost_db:.2f} dB while the training "
        "loss kept falling; the adapter of that iteration is kept. More images, smaller ranks or `patience` help"
    )
