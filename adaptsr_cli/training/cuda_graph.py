"""The fixed training step as one CUDA graph: recorded once, replayed with a single call.

A step of SwinIR-M launches 4,200 kernels of 8 us each, and Python and the driver take 50 us for one: on an H100 the
step of batch 8 takes 225 ms as it is written and 36 ms as a graph, that of SAFMN (fp32) 43 and 10 ms. So the very same
function is recorded after some ordinary steps, on the buffers in which every later batch is put. What cannot be
recorded goes on step by step, and the user is told so once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Step = Callable[[Tensor, Tensor], Mapping[str, Tensor]]

WARM_UP: Final = 3
"""Ordinary steps before one is recorded: libraries choose their kernels, and Adam makes its moments."""


class InputsKept(TorchDispatchMode):
    """Keeps every tensor that operations within this block read and did not make.

    A graph holds addresses, not tensors: what others may let go of, such as masks in a cache, would be overwritten.

    Attributes:
        kept: These tensors by the address of their memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, Tensor] = {}
        self._made: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation."""
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor) and (place := tensor.untyped_storage().data_ptr()) not in self._made:
                self.kept.setdefault(place, tensor)
        out = func(*args, **(kwargs or {}))
        self._made.update(
            place
            for tensor in tree_leaves(out)
            if isinstance(tensor, Tensor) and (place := tensor.untyped_storage().data_ptr()) not in self.kept
        )
        return out


class RecordedStep:
    """A training step that is a CUDA graph from its fourth call on; until then, and for other shapes, plain calls.

    Args:
        step: (lr, hr) on the device -> detached scalars on the device by name. It must do the same for every batch,
            without waiting for the device; all that it changes, it must change in place.
        device: Where the tensors are.
        note: Is told why, where the step cannot be recorded.
        obstacle: Why this step must not be recorded; None where nothing is known against it.
    """

    def __init__(
        self, step: Step, device: torch.device, note: Callable[[str], None], *, obstacle: str | None = None
    ) -> None:
        self._step = step
        self._device = device
        self._note = note
        self._is_wanted = device.type == "cuda" and obstacle is None
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._outputs: Mapping[str, Tensor] = {}
        self._kept: Mapping[int, Tensor] = {}
        self._stream = torch.cuda.Stream(device) if self._is_wanted else None
        if device.type == "cuda" and obstacle is not None:
            self._tell(obstacle)

    @property
    def is_recorded(self) -> bool:
        """Whether steps are replayed."""
        return self._graph is not None

    def run(self, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """One step.

        Args:
            lr: (B, 3, h, w) float32, on the host (pinned, so that nothing waits) or on the device.
            hr: (B, 3, s h, s w) float32, likewise.

        Returns:
            The step's scalars, in memory of their own.
        """
        if self._inputs is not None and self._fits(lr, hr):
            for buffer, batch in zip(self._inputs, (lr, hr), strict=True):
                buffer.copy_(batch, non_blocking=True)
            if self._graph is None:
                self._record(*self._inputs)
            if self._graph is not None:
                self._graph.replay()
                return {name: value.clone() for name, value in self._outputs.items()}
        lr = lr.to(self._device, non_blocking=True)
        hr = hr.to(self._device, non_blocking=True)
        with self._aside():
            found = dict(self._step(lr, hr))
        self._calls += 1
        if self._is_wanted and self._calls == WARM_UP:
            self._inputs = torch.empty_like(lr), torch.empty_like(hr)
        return found

    def _fits(self, lr: Tensor, hr: Tensor) -> bool:
        assert self._inputs is not None
        return (lr.shape, hr.shape) == (self._inputs[0].shape, self._inputs[1].shape)

    def _aside(self) -> AbstractContextManager[object]:
        """The stream of warm-up steps, which must not be the one that nothing can be recorded on."""
        if self._stream is None or not self._is_wanted or self._graph is not None:
            return nullcontext()
        return _run_aside(self._stream)

    def _record(self, lr: Tensor, hr: Tensor) -> None:
        """Records the step, which computes nothing yet; where that fails nothing is recorded from now on."""
        graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
        generator = torch.cuda.default_generators[lr.get_device()]
        generator_before = generator.clone_state()
        try:
            # Other threads make batches meanwhile, and may use the device.
            with InputsKept() as inputs, torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                outputs = dict(self._step(lr, hr))
        except Exception as error:
            # Whatever the network does that cannot be recorded, it can be computed. If it cannot, it says so again.
            self._is_wanted, self._inputs = False, None
            # A recording that breaks off leaves random numbers and memory of the process as if it still went on.
            generator.graphsafe_set_state(generator_before)
            with suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(lr.get_device(), pool)
            cause: BaseException = error
            while cause.__context__ is not None:
                cause = cause.__context__
            self._tell(str(cause).strip().partition("\n")[0][:160] or type(cause).__name__)
            return
        self._graph, self._outputs, self._kept = graph, outputs, inputs.kept

    def _tell(self, why: str) -> None:
        self._note(f"every kernel of the training step is launched by itself, no CUDA graph: {why}")


@contextmanager
def _run_aside(stream: torch.cuda.Stream) -> Iterator[None]:
    """Within this block work goes to `stream`: behind what was ordered before, and before what is ordered later."""
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield
    current.wait_stream(stream)
