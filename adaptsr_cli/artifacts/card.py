"""``training/card.json``: what a run has cost and what it has gained, as measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel
from adaptsr_cli.artifacts.train_state import RateCut
from adaptsr_cli.units import format_bytes, format_params, format_seconds, plural


def describe_params(updated: int, inference: int) -> str:
    """How many parameters train and how many stay, as in the last column of AdaptSR's Table 3."""
    return f"updated / inference parameters: +{format_params(updated)} / +{format_params(inference)}"


class RunCard(StrictModel):
    """The account of one training run, over all its sittings.

    Attributes:
        trainable_params: Parameters of the adapter.
        inference_params: Parameters that the merged network has more than the backbone: none by any method, since each
            changes tensors that are there. `merge` counts them.
        total_params: Parameters of the backbone.
        objective: What was minimised.
        iterations: Optimiser steps done; `planned_iterations` were asked for.
        wall_s: Seconds of training, validation included. What a killed process had done since its last save is lost
            to this count.
        device: What it ran on; `devices` of them at a time.
        device_hours: `wall_s` times `devices`, in hours.
        data_wait_share: Share of `wall_s` in which the device had no batch to work on.
        peak_device_bytes: Most device memory held at a time by one process; None on the CPU.
        peak_host_bytes: Most memory that the process held, everything included; None where the system does not tell.
        energy_j: Joules that the devices took; None where one of them does not report it.
        rate_cuts: Faults that lowered the learning rate.
        backbone_psnr_y_db: Held-out score before, `best_psnr_y_db` that of the adapter which was kept.
    """

    artifact: Literal["card"] = "card"
    format_version: Literal[1] = FORMAT_VERSION
    trainable_params: Annotated[int, Field(gt=0)]
    inference_params: Literal[0] = 0
    total_params: Annotated[int, Field(gt=0)]
    objective: str
    iterations: int
    planned_iterations: int
    wall_s: float
    device: str
    devices: int
    device_hours: float
    data_wait_share: float
    peak_device_bytes: int | None
    peak_host_bytes: int | None
    energy_j: float | None
    backbone_psnr_y_db: float
    best_psnr_y_db: float
    best_iteration: int
    gain_db: float
    rate_cuts: tuple[RateCut, ...] = ()

    def describe(self) -> list[str]:
        """The card in short lines for people."""
        share = self.trainable_params / self.total_params
        energy = f"{self.energy_j / 3600:.2f} Wh" if self.energy_j is not None else "energy not reported here"
        memory = [f"peak {format_bytes(self.peak_device_bytes)} on the device"] if self.peak_device_bytes else []
        memory += [f"peak {format_bytes(self.peak_host_bytes)} on the host"] if self.peak_host_bytes else []
        cuts = [
            f"learning rate lowered at iteration {cut.iteration}, since {cut.reason}; gone on from {cut.back_to}"
            for cut in self.rate_cuts
        ]
        return [
            f"{format_params(self.trainable_params)} of {format_params(self.total_params)} parameters trained "
            f"({share:.1%}), {plural(self.iterations, 'iteration')}, {self.objective}",
            describe_params(self.trainable_params, self.inference_params),
            f"{format_seconds(self.wall_s)} on {self.devices} x {self.device} ({self.device_hours:.3f} device-hours, "
            f"{energy}), {self.data_wait_share:.1%} of it waiting for data" + "".join(f", {text}" for text in memory),
            *cuts,
        ]
