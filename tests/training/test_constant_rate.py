"""Training at a constant rate, whose mean of the steps is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training.test_loop import STEADY, Batches, make_trainer, run

from adaptsr_cli.progress import Silent
from adaptsr_cli.training.log import read_log


def test_at_a_constant_rate_the_mean_of_the_steps_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, kept = make_trainer(tmp_path, Batches(), STEADY)
    steps: list[dict[str, torch.Tensor]] = []

    def record(*args: object) -> dict[str, torch.Tensor]:
        steps.append(trainer.attachment.state())
        return {}

    monkeypatch.setattr(trainer.objective, "after_step", record)
    trainer.run(Silent())
    for iteration, best in kept.items():
        if iteration:
            weights = [step * (step + 1) for step in range(1, iteration + 1)]
            for name, tensor in best.items():
                values = [weight * after[name] for weight, after in zip(weights, steps[:iteration], strict=True)]
                assert torch.allclose(tensor, sum(values) / sum(weights), atol=1e-6)
    assert len(kept) > 1


def test_a_finished_training_at_a_constant_rate_goes_on_with_its_mean(tmp_path: Path) -> None:
    run(tmp_path, config=STEADY)
    progress = Silent()
    longer = STEADY.model_copy(update={"iterations": 48, "val_freq": 12})
    state = run(tmp_path, config=longer, progress=progress)[0].state
    assert "at the same learning rate (0.005)" in progress.notes[0]
    scores = [row.val_psnr_y_db for row in read_log(tmp_path / "training" / "log.jsonl") if row.val_psnr_y_db]
    assert state.iteration == 48
    assert scores[3] > scores[2] - 0.05  # after the first half of the new steps: no fall
