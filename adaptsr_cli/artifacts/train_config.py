"""The resolved options of a training run, a part of its saved state."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from adaptsr_cli.artifacts.base import Factorization, LoraInit, LoraScaling, Method, ShiraMask, StrictModel

PresetName = Literal["fast", "paper"]
ScheduleName = Literal["constant", "cosine", "steps"]
OptimizerName = Literal["muon", "adam"]
ObjectiveName = Literal["fidelity", "l1", "l1+fft", "charbonnier", "perceptual"]
ObjectiveChoice = Literal[ObjectiveName, "both"]
"""``both``: fidelity, and on top of that adapter a second one that is trained by the perceptual objective."""


class TrainConfig(StrictModel):
    """The resolved options of one training run; what must not change when it goes on.

    Attributes:
        method: What is trained at the planned sites.
        iterations: Optimiser steps.
        minutes: Time budget; the schedule is compressed into it. None: no limit.
        batch: Patches a step, over all processes together.
        accumulate: In how many parts a process computes its share of a batch, one after the other, to save memory.
        patch_px: Side of the HR patch in pixels.
        recolour: Share of the crops that are mixed with a random colour.
        learning_rate: Peak learning rate; ``lr`` in files of older versions.
        optimizer: ``muon`` for matrices and kernels, with Adam for the rest; or Adam for all.
        schedule: ``constant`` after a warm-up, where the mean of all steps is kept, the late ones weighing most;
            ``cosine`` with a warm-up, down to 1 % of the peak; or the paper's ``steps`` (x0.75 at 50 %, 75 % and 90 %).
        alpha: Numerator of LoRA's scaling.
        lora_scaling: ``alpha/r``, or ``alpha/sqrt(r)``, which keeps large ranks from learning slower (rsLoRA);
            ``scale`` in files of older versions.
        init: Where low-rank factors start: A at random, or at the leading directions of the gradient that ``score``
            found, and B at zero; or (``pissa``) both at the leading part of the weight; or (``adapter``) both where the
            adapter stands from which the rank map was made.
        conv_factorization: Of low-rank updates of convolutions.
        shira_mask: How SHiRA chooses the weights that it trains.
        lora_plus: The B factors learn at so many times the learning rate (LoRA+).
        ema: Decay of the moving average of the adapter that is validated and kept; None: what the schedule says.
        patience: Validations without improvement after which the run ends; None: never.
        degrade: Degradation that makes LR from photos without pairs.
        val_freq: Iterations between validations.
        save_freq: Iterations between saved states.
    """

    preset: PresetName
    method: Method = "lora"
    objective: ObjectiveName = "fidelity"
    iterations: Annotated[int, Field(ge=1)]
    minutes: Annotated[float, Field(gt=0)] | None = None
    batch: Annotated[int, Field(ge=1)]
    accumulate: Annotated[int, Field(ge=1)] = 1
    patch_px: Annotated[int, Field(ge=8)]
    recolour: Annotated[float, Field(ge=0, le=1)] = 0.0
    learning_rate: Annotated[float, Field(gt=0, le=1, validation_alias=AliasChoices("learning_rate", "lr"))]
    optimizer: OptimizerName = "adam"
    schedule: ScheduleName
    alpha: Annotated[float, Field(gt=0)]
    lora_scaling: Annotated[LoraScaling, Field(validation_alias=AliasChoices("lora_scaling", "scale"))] = "alpha/r"
    init: LoraInit = "default"
    conv_factorization: Factorization = "1x1-kxk"
    shira_mask: ShiraMask = "magnitude"
    lora_plus: Annotated[float, Field(ge=1)] = 1.0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    patience: Annotated[int, Field(ge=1)] | None = None
    degrade: str | None = None
    val_freq: Annotated[int, Field(ge=1)]
    save_freq: Annotated[int, Field(ge=1)]
    precision: Literal["fp32", "bf16", "fp16"]
    seed: Annotated[int, Field(ge=0)]
