"""Process group for work that several processes share, as ``torchrun`` starts them.

Every process computes a share; what is summed or gathered is the same in all of them. Only the first one writes.
torch is imported where it is used, so that the command line can ask which group there is without waiting for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from adaptsr_cli.errors import GroupError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")

_HINT = "another process may say why it ended; what was saved is kept: run the same command again to resume"


@dataclass(frozen=True)
class World:
    """The group of processes that this one belongs to.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes; 1 for an ordinary command.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return the indices out of `count` that this process works on: every `size`-th, for equal work."""
        return range(self.rank, count, self.size)

    def block(self, count: int) -> range:
        """Return the contiguous indices out of `count` that this process works on; sizes differ by one at most."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def all_reduce_sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all processes, in one exchange.

        Args:
            tensors: Floating point, on one device, alike in number and shape in all processes.

        Raises:
            GroupError: Another process has ended.
        """
        if self.size == 1 or not tensors:
            return
        import torch
        import torch.distributed as dist

        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])  # (all elements,)
        with _explained():
            dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def all_reduce_max(self, values: Sequence[float]) -> list[float]:
        """Return the largest of all processes' numbers, element by element.

        Exchanged on the host, so that no device is waited for.
        """
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        numbers = torch.tensor(values, dtype=torch.float64)
        with _explained():
            dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return [float(number) for number in numbers]

    def gather(self, value: Value) -> list[Value]:
        """Collect one value from every process, in the order of their ranks."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        found: list[Value | None] = [None] * self.size
        with _explained():
            dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]  # all were filled

    def from_main(self, make: Callable[[], Value]) -> Value:
        """Make a value in the first process, and return it in all of them."""
        return self.gather(make() if self.is_main_process else None)[0]  # type: ignore[return-value]  # made there

    def gather_shares(self, own: Sequence[Value]) -> list[Value]:
        """Collect results of all items from all processes.

        Args:
            own: Results of this process, one for each index of its `share`.

        Returns:
            The results of all indices, in their order.
        """
        by_rank = self.gather(list(own))
        count = sum(len(values) for values in by_rank)
        return [by_rank[index % self.size][index // self.size] for index in range(count)]

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Run the block in the first process while the others wait, then in the others."""
        if not self.is_main_process:
            self.barrier()
        yield
        if self.is_main_process:
            self.barrier()

    def barrier(self) -> None:
        """Wait until every process has called it."""
        self.gather(None)


SINGLE_PROCESS = World()
"""An ordinary command: one process."""


@contextmanager
def join_world(*, timeout_s: float = 1800) -> Iterator[World]:
    """Join the group that ``torchrun`` announces by RANK and WORLD_SIZE; without them this process is alone.

    Args:
        timeout_s: How long one process waits for another before it gives up; scoring the held-out images, which
            others wait for, must fit in.

    Yields:
        The group.

    Raises:
        UsageError: The variables do not describe a group.
        GroupError: The others cannot be reached.
    """
    world = world_from_env()
    if world.size == 1:
        yield world
        return
    import torch
    import torch.distributed as dist

    # Small things are exchanged on the host by gloo even where gradients go from GPU to GPU by NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _explained():
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    yield world
    # Only after a good end: a process that leaves by an error must not wait for those that are still at work.
    world.barrier()  # a connection that another process closes while this one tears its own down can abort it
    dist.destroy_process_group()


def world_from_env() -> World:
    """Read the group from the environment; nothing is contacted.

    Raises:
        UsageError: RANK or WORLD_SIZE is not a number, or out of range.
    """
    texts = (os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1"))
    if not all(text.isdigit() for text in texts) or not int(texts[0]) < int(texts[1]):
        raise UsageError(
            f"RANK={texts[0]} and WORLD_SIZE={texts[1]} do not describe a process group", "start it by torchrun"
        )
    return World(int(texts[0]), int(texts[1]))


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the faults of an exchange into one clear line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # torch's own errors of this kind are RuntimeErrors
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise GroupError(f"lost the other processes of the group: {first[:160]}", _HINT) from error
