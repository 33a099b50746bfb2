from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.data.cache import Array, ImageCache, Sides

posix_only = pytest.mark.skipif(os.name != "posix", reason="files without a name are a matter of POSIX")


def picture(key: int, height: int = 20, width: int = 30) -> Array:
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


def test_first_memory_then_disk_then_decoding_anew(tmp_path: Path) -> None:
    decoded: Counter[int] = Counter()
    with ImageCache(3 * 9000, 4 * 9000 + 8999, tmp_path / "cache" / "images") as cache:
        for _ in range(3):
            read_all(cache, 10, decoded)
        stats = cache.stats()
    assert (stats.ram_bytes, stats.disk_bytes, stats.disk_stopped) == (27_000, 36_000, None)
    assert [decoded[key] for key in range(10)] == [1] * 7 + [3] * 3
    assert (stats.hits, stats.misses) == (2 * 7, 10 + 2 * 3)


def test_images_without_an_lr_side(tmp_path: Path) -> None:
    with ImageCache(8000, 8000, tmp_path) as cache:
        for key in (1, 2, 3, 1, 2):
            lr, hr = cache.get(key, lambda key=key: (None, pair(key)[1]))
            assert lr is None
            assert np.array_equal(hr, pair(key)[1])
        assert (cache.stats().ram_bytes, cache.stats().disk_bytes, cache.stats().hits) == (7200, 7200, 2)


@pytest.mark.parametrize(("disk_bytes", "folder"), [(0, "cache"), (1 << 20, None)])
def test_without_a_disk_share_no_folder_is_made(tmp_path: Path, disk_bytes: int, folder: str | None) -> None:
    decoded: Counter[int] = Counter()
    with ImageCache(9000, disk_bytes, tmp_path / folder if folder else None) as cache:
        read_all(cache, 3, decoded)
        read_all(cache, 3, decoded)
    assert [decoded[key] for key in range(3)] == [1, 2, 2]
    assert list(tmp_path.iterdir()) == []


def test_ten_thousand_images_of_two_megapixels_stay_within_the_bounds(tmp_path: Path) -> None:
    whole = np.zeros((1224, 1632, 3), np.uint8)
    ram_bytes, disk_bytes = 50 * whole.nbytes + 1, 12 * whole.nbytes - 1
    with ImageCache(ram_bytes, disk_bytes, tmp_path) as cache:
        for _ in range(2):
            for key in range(10_000):
                _, hr = cache.get(key, lambda: (None, whole[:]))
                assert hr.shape == whole.shape
        stats = cache.stats()
        # No image is thrown out for another one, so each that is kept is read from there in the second round.
        assert (stats.hits, stats.misses) == (61, 19_939)
        assert (stats.ram_bytes, stats.disk_bytes) == (50 * whole.nbytes, 11 * whole.nbytes)
        if sys.platform == "linux":
            assert held_on_disk(tmp_path) <= disk_bytes + 4096


def held_on_disk(folder: Path) -> int:
    """Bytes of the blocks of files of this process in a folder, those without a name included."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target, status = str(entry.readlink()), entry.stat()
        except OSError:
            continue
        if target.startswith(str(folder)):
            found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def test_memory_is_what_is_said_also_for_parts_of_larger_images(tmp_path: Path) -> None:
    def decode() -> Sides:
        return None, np.ones((200, 500, 3), np.uint8)[:100]

    with ImageCache(10 * 150_000, 0, None) as cache:
        tracemalloc.start()
        try:
            for key in range(200):
                cache.get(key, decode)
            held_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert cache.stats().ram_bytes == 1_500_000
        assert 1_500_000 <= held_bytes < 1_600_000


@posix_only
def test_the_files_have_no_name_while_in_use(tmp_path: Path) -> None:
    with ImageCache(0, 1 << 20, tmp_path) as cache:
        read_all(cache, 3, Counter())
        assert cache.stats().disk_bytes == 27_000
        assert list(tmp_path.iterdir()) == []
        if sys.platform == "linux":
            assert held_on_disk(tmp_path) >= 27_000


@posix_only
def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nimport numpy as np\nfrom pathlib import Path\n"
        "from adaptsr_cli.data.cache import ImageCache\n"
        "cache = ImageCache(0, 1 << 20, Path(sys.argv[1]))\n"
        "cache.get(0, lambda: (None, np.zeros((9, 9, 3), np.uint8)))\n"
        "assert cache.stats().disk_bytes\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, tmp_path / "cache"], check=False, timeout=60)
    assert ended.returncode == -9
    assert list((tmp_path / "cache").iterdir()) == []


def test_closing_gives_up_everything_and_leaves_arrays_valid(tmp_path: Path) -> None:
    decoded: Counter[int] = Counter()
    cache = ImageCache(9000, 1 << 20, tmp_path)
    first, second = (cache.get(key, decoder(key, decoded)) for key in (0, 1))
    cache.close()
    assert (cache.stats().ram_bytes, cache.stats().disk_bytes) == (0, 0)
    assert np.array_equal(first[1], pair(0)[1])
    assert np.array_equal(second[1], pair(1)[1])
    read_all(cache, 2, decoded)
    read_all(cache, 2, decoded)
    assert decoded == {0: 3, 1: 3}
    assert list(tmp_path.iterdir()) == []
    cache.close()


def test_many_threads_decode_an_image_once_and_wait_for_it(tmp_path: Path) -> None:
    decoded: Counter[int] = Counter()
    begun, go_on = threading.Event(), threading.Event()
    results: list[Sides] = []

    def decode() -> Sides:
        decoded[0] += 1
        begun.set()
        assert go_on.wait(20)
        return pair(0)

    with ImageCache(0, 1 << 20, tmp_path) as cache:
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


def test_threads_that_read_everything_at_once_all_get_the_right_images(tmp_path: Path) -> None:
    decoded: Counter[int] = Counter()
    faults: list[BaseException] = []

    def read(cache: ImageCache) -> None:
        try:
            for _ in range(3):
                read_all(cache, 12, decoded)
        except BaseException as fault:
            faults.append(fault)

    with ImageCache(4 * 9000, 5 * 9000, tmp_path) as cache:
        threads = [threading.Thread(target=read, args=(cache,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert (cache.stats().ram_bytes, cache.stats().disk_bytes) == (36_000, 45_000)
    assert faults == []
    assert sum(decoded[key] == 1 for key in range(12)) >= 9


def test_a_fault_reaches_its_caller_and_the_next_reading_decodes_again() -> None:
    def fail() -> Sides:
        raise OSError("no such image")

    decoded: Counter[int] = Counter()
    with ImageCache(1 << 20, 0, None) as cache:
        with pytest.raises(OSError, match="no such image"):
            cache.get(0, fail)
        read_all(cache, 1, decoded)
    assert decoded == {0: 1}


@posix_only
def test_a_disk_that_gets_full_is_used_no_further(tmp_path: Path) -> None:
    import resource

    decoded: Counter[int] = Counter()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ImageCache(0, 1 << 20, tmp_path) as cache:
        read_all(cache, 2, decoded)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # in the middle of the third
        try:
            cache.get(2, decoder(2, decoded))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        stats = cache.stats()
        assert stats.disk_bytes == 18_000
        assert stats.disk_stopped is not None
        assert "too large" in stats.disk_stopped
        read_all(cache, 4, decoded)
        assert cache.stats() == type(stats)(0, 18_000, 2, 5, stats.disk_stopped)


@pytest.mark.parametrize(
    ("total_bytes", "free_bytes", "stored"),
    [(10**12, (5 << 30) + 18_000, 2), (10**12, (5 << 30) + 8_999, 0), (10**9, 10**8 + 9_000, 1), (10**9, 10**8, 0)],
)
def test_a_disk_is_never_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total_bytes: int, free_bytes: int, stored: int
) -> None:
    cache = ImageCache(0, 1 << 20, tmp_path)

    def usage(folder: Path) -> tuple[int, int, int]:
        free = free_bytes - cache.stats().disk_bytes
        return total_bytes, total_bytes - free, free

    monkeypatch.setattr("adaptsr_cli.data.cache.shutil.disk_usage", usage)
    with cache:
        read_all(cache, 4, Counter())
        stats = cache.stats()
    assert stats.disk_bytes == stored * 9000
    assert stats.disk_stopped is not None
    assert "of the disk are free" in stats.disk_stopped


def test_a_folder_that_cannot_be_made_costs_only_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    decoded: Counter[int] = Counter()
    with ImageCache(9000, 1 << 20, tmp_path / "file" / "cache") as cache:
        read_all(cache, 2, decoded)
        read_all(cache, 2, decoded)
        assert cache.stats().disk_stopped is not None
    assert decoded == {0: 1, 1: 2}


def test_several_files_are_used_where_one_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptsr_cli.data.cache._CHUNK_BYTES", 10_000)
    decoded: Counter[int] = Counter()
    big = picture(0, 100, 40)
    with ImageCache(0, 5 * 9000 + big.nbytes, tmp_path) as cache:
        read_all(cache, 2, decoded)
        for _ in range(2):
            assert np.array_equal(cache.get("big", lambda: (None, big))[1], big)
        for _ in range(2):
            read_all(cache, 6, decoded)
        assert cache.stats().disk_bytes == 45_000 + big.nbytes
    assert big.nbytes > 10_000
    assert [decoded[key] for key in range(6)] == [1] * 5 + [2]
