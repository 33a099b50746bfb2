"""Prefetching of batches in threads, so that the accelerator need not wait for data.

Own threads in place of `torch.utils.data.DataLoader`: its workers are processes, each with a cache of decoded images
of its own, where threads share one. 60 batches of 8 from 60 pairs of 768 px took 4.4 and 5.2 s this way, 5.6 and 5.9 s
with one such worker and 7.5 and 7.6 s with two (two loaded CPU cores). Any iteration can be asked for at any time
here, as resuming and validating do, without a new set of workers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from types import TracebackType
from typing import Protocol, Self

import torch

from adaptsr_cli.data.sampler import Batch


class BatchSource(Protocol):
    """Source of batches; a pure function of the iteration, so that a run can be resumed anywhere."""

    def sample(self, iteration: int) -> Batch:
        """Return the batch of one iteration, or this process's share of it."""


class Prefetcher:
    """Makes the next batches of a source in threads while the caller uses the last one.

    It is a source itself and returns the same batches as `source`, in whatever order they are asked for; only the next
    ones in order are ready without waiting. To be used as a context manager and from one thread.

    Args:
        source: Makes the batches; safe to use from `workers` threads at once.
        first: The iteration that will be asked for first.
        stop: One past the last iteration to be made ahead. Later ones are made only when asked for.
        ahead: Maximum number of batches, finished or in progress, beyond the one in use.
        prepare: Applied to every batch in the thread that makes it, for example to pin its memory.
        workers: Number of batches made at the same time. More than one pays where one thread takes longer for a
            batch than the training for a step.
    """

    def __init__(
        self,
        source: BatchSource,
        first: int,
        stop: int,
        *,
        ahead: int = 2,
        prepare: Callable[[Batch], Batch] | None = None,
        workers: int = 1,
    ) -> None:
        assert ahead >= 1, ahead
        assert workers >= 1, workers
        self._source = source
        self._next = first
        self._stop = stop
        self._ahead = ahead
        self._prepare = prepare
        self._workers = workers
        self._pending: deque[tuple[int, Future[Batch]]] = deque()
        self._threads: ThreadPoolExecutor | None = None
        self._waited_s = 0.0

    def __enter__(self) -> Self:
        threads = torch.get_num_threads()
        here = Barrier(self._workers + 1)
        self._threads = ThreadPoolExecutor(
            self._workers, thread_name_prefix="prefetch", initializer=_use_one_core, initargs=(here,)
        )
        for _ in range(self._workers):
            self._threads.submit(int)  # a thread starts with its first piece of work
        here.wait()
        # The workers' setting is also what torch gives to every thread that begins later.
        torch.set_num_threads(threads)
        self._fill()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._threads is not None
        self._drop()
        self._threads.shutdown()  # waits for the batches being made right now, which nothing can interrupt
        self._threads = None

    @property
    def waited_s(self) -> float:
        """Seconds that the caller has waited for batches, the first one included."""
        return self._waited_s

    def sample(self, iteration: int) -> Batch:
        """Return the batch of an iteration, from those made ahead if it is the next in order.

        Args:
            iteration: 0 or more. Any other than the one after the last discards the batches made ahead.

        Raises:
            Exception: Whatever the source raised at this very iteration.
        """
        if not self._pending or self._pending[0][0] != iteration:
            self._drop()
            self._submit(iteration)
            self._next = iteration + 1
        _, batch = self._pending.popleft()
        # Before waiting, so that the threads never run dry.
        self._fill()
        begin = time.perf_counter()
        try:
            return batch.result()
        finally:
            self._waited_s += time.perf_counter() - begin

    def _fill(self) -> None:
        while len(self._pending) < self._ahead and self._next < self._stop:
            self._submit(self._next)
            self._next += 1

    def _submit(self, iteration: int) -> None:
        assert self._threads is not None, "to be used inside of its with statement"
        self._pending.append((iteration, self._threads.submit(self._make, iteration)))

    def _make(self, iteration: int) -> Batch:
        batch = self._source.sample(iteration)
        return batch if self._prepare is None else self._prepare(batch)

    def _drop(self) -> None:
        for _, batch in self._pending:
            batch.cancel()
        self._pending.clear()


def pin(batch: Batch) -> Batch:
    """Copies a batch into page-locked memory, from which a CUDA device copies while it computes."""
    return Batch(batch.lr.pin_memory(), batch.hr.pin_memory())


def _use_one_core(here: Barrier) -> None:
    """Keep torch's operations of this thread in this thread.

    OpenMP keeps a team of threads for every thread that enters it: a batch maker with a team of its own would fight
    for the cores with the team that trains. Torch sets a thread up at its first use of the setting, from a number that
    all threads share; so this thread has to be set up before its own number is set, or it would be set back later.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
    here.wait()
