from __future__ import annotations

import pytest

from adaptsr_cli.cli.task import ConsoleTask


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make_task(clock: Clock, total: int | None = 1000, unit: str = "it") -> ConsoleTask:
    return ConsoleTask("train", total, unit, clock, lambda task: None)


def run(task: ConsoleTask, clock: Clock, steps: int, seconds_each: float) -> None:
    for _ in range(steps):
        clock.now_s += seconds_each
        task.advance()


def test_nothing_is_claimed_before_the_first_step() -> None:
    task = make_task(Clock())
    assert task.rate is None
    assert task.eta_s is None
    assert task.log_text() == "train: 0/1000 it"


def test_rate_and_eta_come_from_the_steps_done() -> None:
    clock = Clock()
    task = make_task(clock)
    run(task, clock, 20, 0.25)
    assert task.rate == pytest.approx(4.0)
    assert task.eta_s == pytest.approx(980 / 4.0)
    assert task.log_text() == "train: 20/1000 it, 4.0 it/s, eta 4 min 05 s"


def test_the_jump_of_a_resumed_run_is_no_pace() -> None:
    clock = Clock()
    task = make_task(clock)
    task.skip(900)
    run(task, clock, 10, 1.0)
    assert task.rate == pytest.approx(1.0)
    assert task.eta_s == pytest.approx(90.0)


def test_the_first_step_counts_as_the_others() -> None:
    clock = Clock()
    task = make_task(clock, total=2, unit="image")
    clock.now_s += 8.0
    task.advance()
    assert task.log_text() == "train: 1/2 image, 8.0 s/image, eta 8.0 s"
    clock.now_s += 0.02
    task.advance()
    task.stop()
    assert task.log_text() == "train: 2/2 image in 8.0 s, 4.0 s/image"


def test_steps_that_need_not_be_done_have_no_pace() -> None:
    clock = Clock()
    task = make_task(clock, total=4, unit="image")
    task.skip(4)
    clock.now_s += 0.01
    task.stop()
    assert task.log_text() == "train: 4/4 image in 0.0 s"


def test_rate_follows_the_last_half_minute() -> None:
    clock = Clock()
    task = make_task(clock)
    run(task, clock, 100, 0.1)
    run(task, clock, 40, 2.0)
    assert task.rate == pytest.approx(0.5, rel=0.1)
    assert task.rate_text().endswith(" s/it")


def test_a_stopped_task_gives_its_whole_time() -> None:
    clock = Clock()
    task = make_task(clock, total=10)
    run(task, clock, 10, 1.5)
    task.stop()
    clock.now_s += 1000
    assert task.elapsed_s == pytest.approx(15.0)
    assert task.rate == pytest.approx(10 / 15)
    assert task.eta_s is None
    assert task.log_text() == "train: 10/10 it in 15.0 s, 1.5 s/it"


def test_fields_are_shown_replaced_and_taken_away() -> None:
    task = make_task(Clock(), total=None)
    task.show(loss="0.0312", val_psnr="27.31 dB")
    assert task.fields_text() == "loss 0.0312  val psnr 27.31 dB"
    task.show(loss="0.0300", val_psnr="")
    assert task.log_text() == "train: 0 it, loss 0.0300"


def test_bytes_read_as_sizes() -> None:
    clock = Clock()
    task = make_task(clock, total=9_700_000, unit="B")
    clock.now_s += 2.0
    task.advance(1_200_000)
    assert task.log_text() == "train: 1.2 MB/9.7 MB, 600.0 kB/s, eta 14.2 s"
