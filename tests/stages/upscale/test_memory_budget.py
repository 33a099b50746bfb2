"""The memory that pictures in work at the same time share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from adaptsr_cli.errors import ImageError
from adaptsr_cli.stages.upscale.pipeline import MemoryBudget


def test_pictures_in_work_share_the_room_in_their_order() -> None:
    budget = MemoryBudget(100)
    order: list[int] = []

    def work(turn: int, need: int) -> None:
        budget.acquire(turn, need)
        order.append(turn)

    threads = [threading.Thread(target=work, args=(turn, need)) for turn, need in ((2, 1), (1, 60), (0, 60))]
    for thread in threads:
        thread.start()
    threads[2].join()
    assert order == [0]  # 60 + 60 are too many, and the third does not overtake
    budget.release(60)
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2]
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(budget.acquire, 9, 1)
        budget.close()
        with pytest.raises(ImageError, match="stopped"):
            late.result(10)
