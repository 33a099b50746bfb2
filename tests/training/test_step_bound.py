"""The bound of the learning rate by the network's first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training.test_loop import CONFIG, Batches, make_trainer

from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.training.loop import Trainer
from adaptsr_cli.training.step_bound import DEPARTURE, FirstStep, bound_rate, largest_in_proportion

HIGHEST = 0.512


def change(trainer: Trainer, rate: float) -> float:
    """By how much a step along the gradient's signs changes the pictures of the first two batches."""
    pictures, lr = [], torch.cat([trainer.batches.sample(at).lr for at in (0, 1)])
    for step in (0.0, rate):
        with torch.no_grad():
            for parameter in trainer.attachment.parameters():
                assert parameter.grad is not None
                parameter.sub_(step * parameter.grad.sign())
            pictures.append(super_resolve(trainer.backbone, lr))
            for parameter in trainer.attachment.parameters():
                parameter.add_(step * parameter.grad.sign())
    return float((pictures[1] - pictures[0]).square().mean().sqrt())


def test_up_to_it_a_step_is_in_proportion(tmp_path: Path) -> None:
    trainer, _ = make_trainer(tmp_path, Batches(), network="span")
    before = trainer.attachment.state()
    bound = largest_in_proportion(FirstStep(trainer), HIGHEST)
    assert HIGHEST / 2**8 < bound < HIGHEST
    after = trainer.attachment.state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    slope = change(trainer, 1e-4) / 1e-4
    assert change(trainer, bound) <= DEPARTURE * bound * slope
    assert change(trainer, 2 * bound) > DEPARTURE * 2 * bound * slope


def test_a_network_of_small_activations_bears_more(tmp_path: Path) -> None:
    bounds = {}
    for name in ("span", "safmn"):
        folder = tmp_path / name
        folder.mkdir()
        bounds[name] = largest_in_proportion(FirstStep(make_trainer(folder, Batches(), network=name)[0]), HIGHEST)
    assert 4 * bounds["span"] <= bounds["safmn"]


@pytest.mark.parametrize("method", ["full", "dora", "bitfit", "arc"])
def test_every_method_has_one(method: str, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"method": method})
    assert 0 < largest_in_proportion(FirstStep(make_trainer(tmp_path, Batches(), config)[0]), HIGHEST) <= HIGHEST


@pytest.mark.parametrize(
    ("method", "optimizer", "room"), [("lora", "muon", 8), ("bitfit", "muon", 2), ("lora", "adam", 2)]
)
def test_where_no_matrix_is_trained_muon_asks_for_no_more_room(
    method: str, optimizer: str, room: int, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"method": method, "optimizer": optimizer})
    trainer, _ = make_trainer(tmp_path, Batches(), config, network="span")
    step = FirstStep(trainer)
    assert step.room == room
    assert bound_rate(step, HIGHEST) == largest_in_proportion(step, room * HIGHEST) / room
