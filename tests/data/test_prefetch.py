from __future__ import annotations

import threading
from pathlib import Path
from threading import Event, Semaphore

import numpy as np
import pytest
import torch

from adaptsr_cli.data.cache import ImageCache
from adaptsr_cli.data.layouts import find_pairs
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.data.prefetch import Prefetcher
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS
from adaptsr_cli.io.images import write_rgb

LONG_S = 20.0  # never reached where the code is right


def batch_of(iteration: int) -> Batch:
    return Batch(torch.full((1,), float(iteration)), torch.zeros(1))


class Source:
    """Counts what it is asked for; can be held up, and fails where told."""

    def __init__(self, *, held: bool = False, fails_at: int | None = None) -> None:
        self.asked: list[int] = []
        self.made = Semaphore(0)
        self.go_on = Event()
        self._fails_at = fails_at
        if not held:
            self.go_on.set()

    def sample(self, iteration: int) -> Batch:
        self.asked.append(iteration)
        assert self.go_on.wait(LONG_S)
        if iteration == self._fails_at:
            raise OSError(f"no batch {iteration}")
        self.made.release()
        return batch_of(iteration)

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.made.acquire(timeout=LONG_S)


def taken(batches: Prefetcher, iteration: int) -> int:
    return int(batches.sample(iteration).lr.item())


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ahead", [1, 4])
def test_batches_come_in_order_and_each_is_made_once(workers: int, ahead: int) -> None:
    source = Source()
    with Prefetcher(source, 3, 20, ahead=ahead, workers=workers) as batches:
        assert [taken(batches, iteration) for iteration in range(3, 20)] == list(range(3, 20))
    assert sorted(source.asked) == list(range(3, 20))


def test_no_more_is_made_ahead_than_said() -> None:
    source = Source()
    with Prefetcher(source, 0, 100, ahead=3, workers=2) as batches:
        source.wait_for(3)
        assert sorted(source.asked) == [0, 1, 2]
        assert taken(batches, 0) == 0
        source.wait_for(1)
        assert sorted(source.asked) == [0, 1, 2, 3]


def test_nothing_is_made_beyond_the_end_unless_asked_for() -> None:
    source = Source()
    with Prefetcher(source, 0, 2, ahead=8) as batches:
        assert [taken(batches, iteration) for iteration in (0, 1)] == [0, 1]
        assert source.asked == [0, 1]
        assert taken(batches, 7) == 7


@pytest.mark.parametrize("workers", [1, 2])
def test_another_iteration_than_the_next_is_right_too(workers: int) -> None:
    with Prefetcher(Source(), 0, 50, workers=workers) as batches:
        wanted = [0, 1, 10, 11, 4, 4, 5, 49, 0]
        assert [taken(batches, iteration) for iteration in wanted] == wanted


def test_a_fault_is_raised_at_its_own_iteration_and_work_can_go_on() -> None:
    source = Source(fails_at=2)
    with Prefetcher(source, 0, 10, ahead=4) as batches:
        assert [taken(batches, iteration) for iteration in (0, 1)] == [0, 1]
        with pytest.raises(OSError, match="no batch 2"):
            batches.sample(2)
        assert taken(batches, 3) == 3
        with pytest.raises(OSError, match="no batch 2"):
            batches.sample(2)


def test_leaving_stops_the_threads_though_more_was_to_be_made() -> None:
    source = Source()
    before = threading.active_count()

    def interrupted() -> None:
        with Prefetcher(source, 0, 1000, ahead=5, workers=2) as batches:
            batches.sample(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert threading.active_count() == before
    assert max(source.asked) <= 5


def test_leaving_waits_only_for_what_is_being_made() -> None:
    source = Source(held=True)
    with Prefetcher(source, 0, 1000, ahead=5):
        threading.Timer(0.05, source.go_on.set).start()
    assert source.asked in ([], [0])


def test_it_counts_the_time_that_it_kept_its_caller_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = [100.0]

    class Slow(Source):
        def sample(self, iteration: int) -> Batch:
            batch = super().sample(iteration)
            clock_s[0] += 5
            return batch

    source = Slow(held=True)

    def now() -> float:
        value = clock_s[0]
        source.go_on.set()  # nothing is made before somebody begins to wait
        return value

    monkeypatch.setattr("adaptsr_cli.data.prefetch.time.perf_counter", now)
    with Prefetcher(source, 0, 1) as batches:
        assert batches.waited_s == 0
        batches.sample(0)
        assert batches.waited_s == 5


def test_batches_are_prepared_in_the_thread_that_makes_them() -> None:
    names = []

    def prepare(batch: Batch) -> Batch:
        names.append(threading.current_thread().name)
        return Batch(batch.lr + 100, batch.hr)

    with Prefetcher(Source(), 0, 3, prepare=prepare) as batches:
        assert [taken(batches, iteration) for iteration in range(3)] == [100, 101, 102]
    assert len(names) == 3
    assert all(name.startswith("prefetch") for name in names)


def test_torch_keeps_one_core_where_batches_are_made_and_all_its_threads_elsewhere() -> None:
    counts: list[int] = []

    class Counting:
        def sample(self, iteration: int) -> Batch:
            torch.zeros(1 << 20).add_(1)  # an operation that torch would share out
            counts.append(torch.get_num_threads())
            return batch_of(iteration)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Prefetcher(Counting(), 0, 6, workers=2) as batches:
            for iteration in range(6):
                batches.sample(iteration)
            assert torch.get_num_threads() == 3
            later: list[int] = []
            thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
            thread.start()
            thread.join()
        assert counts == [1] * 6
        assert later == [3]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("degraded", [False, True])
def test_batches_made_ahead_are_the_same_bit_for_bit(tmp_path: Path, degraded: bool) -> None:
    rng = np.random.default_rng(0)
    for index in range(5):
        write_rgb(tmp_path / "hr" / f"{index}.png", rng.integers(0, 256, (96, 80, 3), dtype=np.uint8))
        if not degraded:
            write_rgb(tmp_path / "lr" / f"{index}.png", rng.integers(0, 256, (24, 20, 3), dtype=np.uint8))

    def sampler() -> BatchSampler:
        degradation = DEGRADATIONS["phone"] if degraded else None
        pairs = find_pairs(tmp_path / "hr" if degraded else tmp_path, role="train")
        # Too little cache for all, so that the threads decode side by side.
        reader = PairReader(pairs, scale=4, degradation=degradation, cache=ImageCache(60_000))
        return BatchSampler(reader, batch=4, patch_px=32, seed=3)

    plain = sampler()
    with Prefetcher(sampler(), 0, 12, ahead=4, workers=3) as batches:
        for iteration in range(12):
            one, other = plain.sample(iteration), batches.sample(iteration)
            assert torch.equal(one.lr, other.lr)
            assert torch.equal(one.hr, other.hr)
