"""What a network bears of the preset's learning rate: where a training begins whose rate nobody has given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adaptsr_cli.adapters.attach import detach
from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.artifacts.search import RateBound
from adaptsr_cli.backbones.backbone import set_differentiable
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.train.init import choose_init
from adaptsr_cli.stages.train.options import TrainOptions, usual_rate
from adaptsr_cli.stages.train.setup import TrainingInputs, make_trainer
from adaptsr_cli.training.loop import Trainer
from adaptsr_cli.training.step_bound import FirstStep, bound_rate


def find_bound(
    options: TrainOptions, inputs: TrainingInputs, method: Method, progress: Progress
) -> tuple[RateBound, float]:
    """The highest rate of a method to begin with, by what the first step does.

    Args:
        options: Of the training, of a settled length.
        inputs: What is trained on what; several processes take what the first one finds, by its share of the batch.
        method: Whose rate it is.
        progress: Told what is measured for the adapters, and shows how far this is: minutes, on a large network.

    Returns:
        It, and how many seconds the gradients of this step have taken.
    """
    usual = usual_rate(options.preset, method)
    settled = settle_trial(options, inputs, method, usual)
    run = RunFolder(inputs.opened.run.trials / "bound")
    with progress.task("first step", None, unit="rate") as task, adapted(settled, inputs, run, progress) as trainer:
        step = FirstStep(trainer, task)
        highest = bound_rate(step, usual)
    return RateBound(method=method, usual=usual, highest=inputs.world.gather(highest)[0]), step.seconds


def settle_trial(options: TrainOptions, inputs: TrainingInputs, method: Method, rate: float) -> TrainOptions:
    """The options of a training by a method at a rate, with an initialisation."""
    settled = options.model_copy(update={"method": method, "learning_rate": rate})
    return choose_init(settled, inputs.plan, SILENT)


@contextmanager
def adapted(options: TrainOptions, inputs: TrainingInputs, run: RunFolder, progress: Progress) -> Iterator[Trainer]:
    """A trainer whose adapters are taken off the network again.

    Args:
        options: From `settle_trial`.
        inputs: What is trained on what.
        run: Where its files lie.
        progress: As for `make_trainer`.
    """
    trainer = make_trainer(options, inputs, run, progress)
    try:
        yield trainer
    finally:
        set_differentiable(trainer.backbone, False)
        detach(trainer.attachment)
