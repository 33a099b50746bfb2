"""The memory of a training step, found from shapes alone before the training."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable
from adaptsr_cli.runtime import Precision
from adaptsr_cli.training.objective import Objective
from adaptsr_cli.training.step import GradientStep

HEAP_SHARE: Final = 1.3
"""How much more of the system's memory the C library's heap takes than the tensors in it, at most, as measured:
1.16 (SAFMN) to 1.31 (SPAN); blocks of other sizes lie between freed ones."""

_WORTH_FINDING: Final = 0.2  # of the free memory: less is no matter, and finding out takes a second or more
_BYTES: Final = 4
_COPIES: Final = 3  # of every layer's output that a step may hold, generously


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that operations within this block make, as long as they live.

    Attributes:
        peak_bytes: The most that lived at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak_bytes = 0
        self._live_bytes = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self._known:
                self._known.add(storage)
                self._live_bytes += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        return out

    def _free(self, count: int) -> None:
        self._live_bytes -= count


@dataclass(frozen=True)
class StepShape:
    """What the memory of a step depends on.

    Attributes:
        batch: Crops of this process.
        patch_px: Side of a crop, HR px.
        precision: Of the network's products.
        accumulate: In how many parts a batch is computed.
        checkpointed: Blocks that keep their input only.
    """

    batch: int
    patch_px: int
    precision: Precision
    accumulate: int = 1
    checkpointed: tuple[str, ...] = ()


def step_memory_bytes(backbone: Backbone, attachment: Attachment, objective: Objective, shape: StepShape) -> int:
    """Find the most memory that a step's tensors take at a time, weights and optimiser left out.

    The step is run on tensors without values, so that nothing of this size is allocated. Kernels that exist on one
    device only are counted as the operations that they stand for, so on CUDA it is an upper bound.

    Args:
        backbone: The network with its adapters; left as it is.
        attachment: These adapters.
        objective: What is minimised, one whose networks are on the CPU.
        shape: Of the step.
    """
    without_values = FakeTensorMode()
    with _CopiesWithoutValues(without_values):
        model, adapters = copy.deepcopy((backbone.model, attachment))
    network = replace(backbone, model=model)
    set_differentiable(network, True)
    step = GradientStep(
        network,
        adapters,
        objective,
        device=torch.device("cpu"),
        precision=shape.precision,
        accumulate=shape.accumulate,
        checkpointed=shape.checkpointed,
    )
    lr_px = shape.patch_px // backbone.scale
    with without_values:
        lr = torch.empty(shape.batch, 3, lr_px, lr_px)
        hr = torch.empty(shape.batch, 3, lr_px * backbone.scale, lr_px * backbone.scale)
        with LiveMemory() as memory:
            means, outputs = step.run(lr, hr, 0)
            means.put_back()
            del means, outputs
    return int(memory.peak_bytes)


class _CopiesWithoutValues(FakeCopyMode):
    """Within this block deep copies of tensors have no values, and say that they are on the CPU."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called in place of every function of torch."""
        out = super().__torch_function__(func, types, args, kwargs)
        if isinstance(out, Tensor) and out.device.type != "cpu" and func in (Tensor.clone, Tensor.__deepcopy__):
            with self.fake_mode, torch._C.DisableTorchFunctionSubclass():
                return out.cpu()
        return out


def is_worth_finding(model: nn.Module, shape: StepShape, scale: int, free_bytes: int) -> bool:
    """Whether a step may take a good part of the free memory, by a generous guess from the layers' widths."""
    lr_px = shape.patch_px // scale
    pixels = -(-shape.batch // shape.accumulate) * lr_px * lr_px
    widths = (_width(module) for module in model.modules())
    return pixels * sum(widths) * _BYTES * _COPIES > _WORTH_FINDING * free_bytes


def _width(module: nn.Module) -> int:
    """Channels of what a layer puts out."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else 0
