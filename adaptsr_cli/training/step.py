"""Gradients of one batch, computed the fastest way known for the network and the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.fast_lora import LowRankStep
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.ends import MixedPrecision
from adaptsr_cli.runtime import Precision, exact_products
from adaptsr_cli.training.accumulation import GradientAccumulator, split_rows
from adaptsr_cli.training.checkpointing import blocks_checkpointed
from adaptsr_cli.training.objective import Objective


class GradientStep:
    """Forward and backward pass of a batch, in parts.

    Args:
        backbone: The network with its adapters.
        attachment: These adapters.
        objective: What is minimised.
        device: Where the network is.
        precision: Of the network's products.
        accumulate: In how many parts a batch is computed.
        checkpointed: Names of blocks that keep their input only and are computed again in the backward pass.
    """

    def __init__(
        self,
        backbone: Backbone,
        attachment: Attachment,
        objective: Objective,
        *,
        device: torch.device,
        precision: Precision,
        accumulate: int = 1,
        checkpointed: Sequence[str] = (),
    ) -> None:
        self._backbone = backbone
        self._parameters = list(attachment.parameters())
        self._objective = objective
        self._device = device
        self._precision = precision
        self._accumulate = accumulate
        self._checkpointed = checkpointed
        self._low_rank = LowRankStep(attachment)
        self._mixed = MixedPrecision(backbone, precision)

    def run(self, lr: Tensor, hr: Tensor, iteration: int) -> tuple[GradientAccumulator, Tensor]:
        """Compute losses and gradients; nothing waits for the device.

        Args:
            lr: (B, 3, h, w) float32 in [0, 1], on the device.
            hr: (B, 3, s h, s w) float32 in [0, 1], on the device.
            iteration: Steps done before.

        Returns:
            The means over the batch, whose gradients are not yet put back, and the outputs, detached.
        """
        means = GradientAccumulator(self._parameters)
        outputs = []
        # The backward pass too.
        exact = exact_products(self._device) if self._precision == "fp32" else nullcontext()
        with exact, self._low_rank.weights(), blocks_checkpointed(self._backbone.model, self._checkpointed):
            for rows in split_rows(len(lr), self._accumulate):
                for parameter in self._parameters:
                    parameter.grad = None
                # Cached: a weight that is read twice in one forward pass is computed once. Not where blocks are
                # computed again behind it, which must do the same as before.
                cache = nullcontext() if self._checkpointed else parametrize.cached()
                with cache, self._mixed.context():
                    sr = super_resolve(self._backbone, lr[rows])
                losses = self._objective.losses(sr, hr[rows], iteration)
                torch.autograd.backward(losses.total)
                parts: Mapping[str, Tensor] = {"loss": losses.total.detach(), **losses.parts}
                means.add(parts, share=len(sr) / len(lr))
                outputs.append(sr.detach())
        return means, torch.cat(outputs)
