"""Compiling the repeated blocks of a network, where that turns out to pay.

Blocks are compiled, not the whole network: that takes seconds, not minutes. Whether the code is faster cannot be told
beforehand: on four cores SAFMN's blocks make an image of 256 px 1.15 times as fast, with other threads and other
work 0.9 times; EDSR's 0.8 times. So a network first works as it is until compiling could pay, then one input is timed
with compiled blocks, and the faster of the two stays.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.fast.attention import is_fused
from adaptsr_cli.backbones.fast.deferral import is_deferred
from adaptsr_cli.backbones.fast.forwards import forwards_replaced

_WORTH_S: Final = 20.0  # of work on one shape before compiling for it, which takes 5 to 15 s
_GAIN: Final = 1.03  # less than this is noise
_MAX_SHAPES: Final = 4  # torch gives up behind 8 kinds of input
_CONTAINERS: Final = (nn.Sequential, nn.ModuleList)
_MIN_MODULES: Final = 8  # of a block, itself included: two convolutions (EDSR) leave nothing to fuse
_COMPILERS: Final = ("c++", "g++", "clang++", "cl")

Network = Callable[[Tensor], Tensor]


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """Numbered modules of several parts (``body.5``, ``block_5``), two or more of a class beside each other.

    Where such modules lie within such modules, the inner ones, unless these are as good as single layers.
    """
    found: dict[str, nn.Module] = {}
    for name, container in model.named_modules():
        children = dict(container.named_children())
        for part, module in children.items():
            alike = sum(type(other) is type(module) for other in children.values())
            is_block = len(list(module.modules())) >= _MIN_MODULES and not isinstance(module, _CONTAINERS)
            if part[-1].isdigit() and alike > 1 and is_block:
                found[f"{name}.{part}" if name else part] = module
    return [module for name, module in found.items() if not any(other.startswith(f"{name}.") for other in found)]


def can_compile(device: torch.device) -> bool:
    """Whether there is what torch compiles with: a C++ compiler for the CPU, Triton for CUDA."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= (7, 0)
    return any(shutil.which(name) for name in _COMPILERS)


@dataclass
class _Trial:
    """What is known of inputs of one shape.

    Attributes:
        seconds: What they took without compiling.
        is_faster: Whether compiled blocks are; None before they were tried.
    """

    seconds: list[float] = field(default_factory=list)
    is_faster: bool | None = None


class CompiledBlocks:
    """Runs a network, with compiled blocks where these were found to be faster.

    Args:
        model: The network.
        device: Where it is.
        note: Is told what was decided, once for every shape that was tried.
        worth_s: Seconds of work on inputs of one shape before compiled blocks are tried on it.
    """

    def __init__(
        self, model: nn.Module, device: torch.device, note: Callable[[str], None], *, worth_s: float = _WORTH_S
    ) -> None:
        # Fused attention on the CPU works on a few windows at a time: that is fast already, and would be unrolled. On
        # CUDA it has kernels of its own.
        blocks = repeated_blocks(model)
        is_fast = is_deferred(model) or any(is_fused(module) for module in model.modules())
        self._blocks = blocks if can_compile(device) and not is_fast else []
        self._device = device
        self._note = note
        self._worth_s = worth_s
        self._trials: dict[tuple[int, ...], _Trial] = {}
        self._compiled: list[tuple[nn.Module, Callable[..., Any]]] = []

    def run(self, network: Network, lr: Tensor) -> Tensor:
        """What `network` gives for `lr`.

        Args:
            network: Runs the model, whole, without gradients.
            lr: (B, 3, h, w) on the device.
        """
        trial = self._trials.get(tuple(lr.shape))
        if trial is None and self._blocks and len(self._trials) < _MAX_SHAPES:
            trial = self._trials[tuple(lr.shape)] = _Trial()
        if not self._blocks or trial is None or trial.is_faster is False:
            return network(lr)
        if trial.is_faster:
            with self._in_place():
                return network(lr)
        if len(trial.seconds) > 1 and sum(trial.seconds) > self._worth_s:
            return self._try(network, lr, trial)
        out, seconds = self._timed(network, lr)
        trial.seconds.append(seconds)
        return out

    def _try(self, network: Network, lr: Tensor, trial: _Trial) -> Tensor:
        """Compile the blocks for this shape and decides."""
        before_s = min(trial.seconds)
        try:
            with self._in_place():
                _, first_s = self._timed(network, lr)
                out, seconds = self._timed(network, lr)
        except Exception as error:
            # Whatever a compiler stumbles on, the network works without it. If it is not the compiler's fault, the
            # network fails again here, and says why.
            self._blocks = []
            fault = str(error).strip().partition("\n")[0][:160] or type(error).__name__
            self._note(f"the network's blocks could not be compiled ({fault}): continuing without")
            return network(lr)
        gain = before_s / seconds
        trial.is_faster = gain > _GAIN
        if not trial.is_faster:
            self._blocks = []
        verdict = "continuing with them" if trial.is_faster else "continuing without"
        self._note(
            f"compiled {len(self._compiled)} blocks in {first_s - seconds:.0f} s: {gain:.2f} times as fast, {verdict}"
        )
        return out

    def _timed(self, network: Network, lr: Tensor) -> tuple[Tensor, float]:
        start = time.perf_counter()
        out = network(lr)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return out, time.perf_counter() - start

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """Within this block the compiled blocks stand in for the network's own."""
        if not self._compiled:
            self._compiled = [(block, torch.compile(block.forward, dynamic=False)) for block in self._blocks]
        with forwards_replaced(self._compiled):
            yield
