from __future__ import annotations

import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.data.cache import ImageCache, Sides


def picture(key: int, height: int = 20, width: int = 30) -> Uint8Array:
    return np.random.default_rng(key).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pair(key: int) -> Sides:
    """1,800 and 7,200 bytes."""
    return picture(key), picture(key + 1000, 40, 60)


def decoder(key: int, decoded: Counter[int]) -> Callable[[], Sides]:
    def decode() -> Sides:
        decoded[key] += 1
        return pair(key)

    return decode


def read_all(cache: ImageCache, count: int, decoded: Counter[int]) -> None:
    """Reads `count` pairs and looks whether they are right and protected."""
    for key in range(count):
        lr, hr = cache.get(key, decoder(key, decoded))
        expected_lr, expected_hr = pair(key)
        assert lr is not None
        assert np.array_equal(lr, expected_lr)
        assert np.array_equal(hr, expected_hr)
        for side in (lr, hr):
            with pytest.raises(ValueError, match="read-only"):
                side[0, 0, 0] = 1


def test_what_fits_is_kept_and_the_rest_decoded_anew() -> None:
    decoded: Counter[int] = Counter()
    with ImageCache(7 * 9000 + 8999) as cache:
        for _ in range(3):
            read_all(cache, 10, decoded)
        stats = cache.stats()
    assert stats.ram_bytes == 63_000
    assert [decoded[key] for key in range(10)] == [1] * 7 + [3] * 3
    assert (stats.hits, stats.misses) == (2 * 7, 10 + 2 * 3)


def test_images_without_an_lr_side() -> None:
    with ImageCache(2 * 8000) as cache:
        for key in (1, 2, 3, 1, 2):
            lr, hr = cache.get(key, lambda key=key: (None, pair(key)[1]))
            assert lr is None
            assert np.array_equal(hr, pair(key)[1])
        assert (cache.stats().ram_bytes, cache.stats().hits) == (14_400, 2)


def test_memory_is_what_is_said_also_for_parts_of_larger_images() -> None:
    def decode() -> Sides:
        return None, np.ones((200, 500, 3), np.uint8)[:100]

    with ImageCache(10 * 150_000) as cache:
        tracemalloc.start()
        try:
            for key in range(200):
                cache.get(key, decode)
            held_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert cache.stats().ram_bytes == 1_500_000
        assert 1_500_000 <= held_bytes < 1_600_000


def test_closing_gives_up_everything_and_leaves_arrays_valid() -> None:
    decoded: Counter[int] = Counter()
    cache = ImageCache(1 << 20)
    first, second = (cache.get(key, decoder(key, decoded)) for key in (0, 1))
    cache.close()
    assert cache.stats().ram_bytes == 0
    assert np.array_equal(first[1], pair(0)[1])
    assert np.array_equal(second[1], pair(1)[1])
    read_all(cache, 2, decoded)
    read_all(cache, 2, decoded)
    assert decoded == {0: 3, 1: 3}
    cache.close()


def test_many_threads_decode_an_image_once_and_wait_for_it() -> None:
    decoded: Counter[int] = Counter()
    begun, go_on = threading.Event(), threading.Event()
    results: list[Sides] = []

    def decode() -> Sides:
        decoded[0] += 1
        begun.set()
        assert go_on.wait(20)
        return pair(0)

    with ImageCache(1 << 20) as cache:
        threads = [threading.Thread(target=lambda: results.append(cache.get(0, decode))) for _ in range(6)]
        for thread in threads:
            thread.start()
        assert begun.wait(20)
        while cache.stats().hits < 5 and any(thread.is_alive() for thread in threads):
            time.sleep(0.001)
        go_on.set()
        for thread in threads:
            thread.join(20)
        assert (cache.stats().hits, cache.stats().misses) == (5, 1)
    assert decoded == {0: 1}
    assert len(results) == 6
    assert all(np.array_equal(hr, pair(0)[1]) for _, hr in results)


def test_threads_that_read_everything_at_once_all_get_the_right_images() -> None:
    decoded: Counter[int] = Counter()
    faults: list[BaseException] = []

    def read(cache: ImageCache) -> None:
        try:
            for _ in range(3):
                read_all(cache, 12, decoded)
        except BaseException as fault:
            faults.append(fault)

    with ImageCache(9 * 9000) as cache:
        threads = [threading.Thread(target=read, args=(cache,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert cache.stats().ram_bytes == 81_000
    assert faults == []
    assert sum(decoded[key] == 1 for key in range(12)) >= 9


def test_a_fault_reaches_its_caller_and_the_next_reading_decodes_again() -> None:
    def fail() -> Sides:
        raise OSError("no such image")

    decoded: Counter[int] = Counter()
    with ImageCache(1 << 20) as cache:
        with pytest.raises(OSError, match="no such image"):
            cache.get(0, fail)
        read_all(cache, 1, decoded)
    assert decoded == {0: 1}
