"""The header of ``training/state.safetensors``: which run it is, and how far it has come."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.artifacts.adapter import AdapterBase
from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel
from adaptsr_cli.artifacts.train_config import TrainConfig


class RunFingerprint(StrictModel):
    """What must be the same for a run to be the same run.

    Attributes:
        backbone_sha256: Weights that are adapted.
        data_fingerprint: Pairs trained on and held out, and how they are mixed and aligned.
        degradation_sha256: What makes LR from photos; empty where all LR sides are real.
        start_sha256: Of the file that holds the updates from which it goes on; empty where it begins at the backbone.
        base: The adapter that is folded in underneath; None where the backbone itself is adapted.
        ranks: Rank by site name.
    """

    config: TrainConfig
    backbone_sha256: str
    data_fingerprint: str
    degradation_sha256: str = ""
    start_sha256: str = ""
    base: Annotated[AdapterBase | None, Field(exclude_if=lambda base: base is None)] = None
    ranks: dict[str, int]


class RateCut(StrictModel):
    """A fault of the training after which it went on from an earlier state at a lower learning rate.

    Attributes:
        iteration: Steps done when it was found.
        reason: What was wrong, for people.
        factor: What the learning rate was multiplied with.
        back_to: Iteration of the state that was put back; the steps done since then are lost, but counted.
    """

    iteration: int
    reason: str
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.25
    back_to: int


class ScheduleStart(StrictModel):
    """Where the schedule began, if not with the first step and the first second.

    It begins anew where a finished training is given more iterations or minutes; the seconds of a search for the
    learning rate come before it.

    Attributes:
        peak_share: Of the peak of the learning rate.
    """

    iteration: int
    elapsed_s: float
    peak_share: float = 1.0


class LoopState(StrictModel):
    """Where the loop stands.

    Attributes:
        iteration: Steps done.
        elapsed_s: Seconds spent training, over all sittings; so are the other accounts.
        waited_s: Of these, seconds spent waiting for data.
        validation_s: Seconds that the last validation took.
        energy_j: Joules taken; None where it was not reported all the time.
        peak_device_bytes: Most device memory held at a time; None on the CPU.
        peak_host_bytes: Most memory held at a time; None where the system does not tell.
        backbone_psnr_y_db: Validation score before the first step.
        best_psnr_y_db: Best validation score so far.
        best_iteration: When it was reached.
        joint_psnr_y_db: Latest score of the held-out images and some that are trained on, together, since the learning
            rate was last lowered; None where there is none, as where enough images are held out.
        best_joint_psnr_y_db: The best of these.
        pending_losses: Losses since the last log row, by name.
        rate_cuts: Faults that lowered the learning rate, in order.
        schedule_start: Where the present schedule began; None: at the first step.
        finished: Nothing is left to do: the iterations are done, the time is over or patience was.
    """

    artifact: Literal["training_state"] = "training_state"
    format_version: Literal[1] = FORMAT_VERSION
    plan: RunFingerprint
    iteration: int
    elapsed_s: float = 0.0
    waited_s: float = 0.0
    validation_s: float = 0.0
    energy_j: float | None = 0.0
    peak_device_bytes: int | None = None
    peak_host_bytes: int | None = None
    backbone_psnr_y_db: float
    best_psnr_y_db: float
    best_iteration: int
    joint_psnr_y_db: float | None = None
    best_joint_psnr_y_db: float | None = None
    pending_losses: tuple[dict[str, float], ...] = ()
    rate_cuts: tuple[RateCut, ...] = ()
    schedule_start: ScheduleStart | None = None
    finished: bool = False
