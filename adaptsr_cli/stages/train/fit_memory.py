"""Whether a training step fits into memory, told before the training, and what is done where it does not."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

import torch
from torch import nn

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.progress import Progress
from adaptsr_cli.runtime import free_memory_bytes
from adaptsr_cli.training.memory import HEAP_SHARE, StepShape, is_worth_finding, step_memory_bytes
from adaptsr_cli.training.objective import Objective
from adaptsr_cli.units import format_bytes

_ROOM: Final = 0.9  # of the free memory that a step may take

_FOUND: Final[WeakKeyDictionary[nn.Module, dict[Hashable, int]]] = WeakKeyDictionary()
"""What is known of a network: the trials of a search differ in their rates only, and finding out takes about as long as
a step."""


def choose_checkpointing(
    wanted: bool | None,
    backbone: Backbone,
    attachment: Attachment,
    sites: list[tuple[Site, int]],
    objective: Objective,
    device: torch.device,
    shape: StepShape,
    progress: Progress,
) -> tuple[str, ...]:
    """Choose the blocks that are computed twice: those that the user says, else all of them where a step would not fit.

    Args:
        wanted: None to decide here.
        backbone: The network with its adapters.
        attachment: These adapters.
        sites: Where they are, by whose names blocks are known.
        objective: What is minimised.
        device: Where.
        shape: The step, nothing computed twice.
        progress: Told how much memory a step takes where that is a good part of what is free.

    Returns:
        Names of blocks.
    """
    blocks = tuple(dict.fromkeys(site.block for site, _ in sites if site.block)) if wanted is not False else ()
    if wanted and not blocks:
        progress.warn("`checkpointing` saves nothing: this network has no repeated blocks; try `accumulate`")
    free_bytes = free_memory_bytes(device)
    # A perceptual objective has networks of its own, which are not looked at here.
    if not objective.is_steady or not is_worth_finding(backbone.model, shape, backbone.scale, free_bytes):
        return blocks if wanted else ()
    share = HEAP_SHARE if device.type == "cpu" else 1.0
    chosen = blocks if wanted else ()
    need_bytes = share * _find_bytes(backbone, attachment, objective, replace(shape, checkpointed=chosen))
    free = f"{format_bytes(free_bytes)} are free"
    progress.note(f"a training step takes about {format_bytes(round(need_bytes))}; {free}")
    if wanted is None and blocks and need_bytes > _ROOM * free_bytes:
        chosen = blocks
        need_bytes = share * _find_bytes(backbone, attachment, objective, replace(shape, checkpointed=chosen))
        progress.note(
            f"every block is computed twice, which takes about {format_bytes(round(need_bytes))} and a third more time "
            "(`checkpointing`)"
        )
    if need_bytes > _ROOM * free_bytes:
        parts = min(shape.batch, shape.accumulate * math.ceil(need_bytes / (_ROOM * free_bytes)))
        progress.warn(
            f"a training step may not fit: about {format_bytes(round(need_bytes))}, and {free}; try `accumulate` "
            f"{parts} or a smaller `patch`"
        )
    return chosen


def _find_bytes(backbone: Backbone, attachment: Attachment, objective: Objective, shape: StepShape) -> int:
    """The memory of a step, found once for adapters of the same kind and shapes at the same places."""
    known = _FOUND.setdefault(backbone.model, {})
    kinds = frozenset(type(adapter) for adapter in attachment.adapters.values())
    shapes = tuple(tuple(parameter.shape) for parameter in attachment.parameters())
    key = (attachment.changed, kinds, shapes, type(objective), shape)
    if key not in known:
        known[key] = step_memory_bytes(backbone, attachment, objective, shape)
    return known[key]
