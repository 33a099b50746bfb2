from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.data import pairs as pairs_module
from adaptsr_cli.data.cache import ImageCache
from adaptsr_cli.data.layouts import PairSet, find_pairs
from adaptsr_cli.data.pairs import PairReader, set_fingerprint
from adaptsr_cli.errors import DataError, ImageError
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS
from adaptsr_cli.io.images import resize_bicubic, write_rgb


def noise(width_px: int, height_px: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def make_set(
    root: Path, *, count: int = 2, hr: tuple[int, int] = (32, 24), lr: tuple[int, int] | None = (8, 6)
) -> PairSet:
    for index in range(count):
        write_rgb(root / "hr" / f"{index}.png", noise(*hr, seed=index))
        if lr:
            write_rgb(root / "lr" / f"{index}.png", noise(*lr, seed=100 + index))
    return find_pairs(root, role="train")


def test_a_set_fingerprint_depends_on_files_and_pairing_not_on_the_place(tmp_path: Path) -> None:
    make_set(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first, second = (find_pairs(tmp_path / name, role="train") for name in "ab")
    assert set_fingerprint(first) == set_fingerprint(second)
    write_rgb(tmp_path / "b" / "lr" / "0.png", noise(8, 6, seed=9))
    assert set_fingerprint(first) != set_fingerprint(second)


def test_pairs_are_read_as_they_are(tmp_path: Path) -> None:
    reader = PairReader(make_set(tmp_path), scale=4)
    lr, hr = reader.read(1)
    assert np.array_equal(lr, noise(8, 6, seed=101))
    assert np.array_equal(hr, noise(32, 24, seed=1))
    assert len(reader) == 2
    assert reader.hr_size(1) == (32, 24)


@pytest.mark.parametrize(("hr", "lr"), [((35, 27), (8, 6)), ((32, 24), (9, 7)), ((33, 24), (8, 7))])
def test_sides_are_trimmed_to_whole_lr_pixels(tmp_path: Path, hr: tuple[int, int], lr: tuple[int, int]) -> None:
    reader = PairReader(make_set(tmp_path, hr=hr, lr=lr), scale=4)
    read_lr, read_hr = reader.read(0)
    assert read_lr.shape == (6, 8, 3)
    assert np.array_equal(read_hr, noise(*hr)[:24, :32])
    assert np.array_equal(read_lr, noise(*lr, seed=100)[:6, :8])
    assert reader.hr_size(0) == (32, 24)


def test_same_size_pairs_are_put_on_the_lr_grid(tmp_path: Path) -> None:
    reader = PairReader(make_set(tmp_path, hr=(34, 26), lr=(34, 26)), scale=4)
    lr, hr = reader.read(0)
    assert np.array_equal(lr, resize_bicubic(noise(34, 26, seed=100)[:24, :32], 8, 6))
    assert hr.shape == (24, 32, 3)
    assert reader.hr_size(0) == (32, 24)


def test_photos_get_the_same_lr_at_every_reading(tmp_path: Path) -> None:
    photos = make_set(tmp_path, lr=None)
    reader = PairReader(photos, scale=4, degradation=DEGRADATIONS["phone"], seed=3)
    lr, hr = reader.read(0)
    assert lr.shape == (6, 8, 3)
    assert np.array_equal(reader.read(0)[0], lr)
    assert np.array_equal(PairReader(photos, scale=4, degradation=DEGRADATIONS["phone"], seed=3).read(0)[0], lr)
    assert not np.array_equal(PairReader(photos, scale=4, degradation=DEGRADATIONS["phone"], seed=-4).read(0)[0], lr)
    assert np.array_equal(reader.read_hr(0), hr)
    with pytest.raises(DataError, match="without an LR side"):
        PairReader(photos, scale=4)


def test_a_degradation_is_not_applied_to_real_pairs(tmp_path: Path) -> None:
    reader = PairReader(make_set(tmp_path), scale=4, degradation=DEGRADATIONS["phone"])
    assert reader.degradation is None
    assert np.array_equal(reader.read(0)[0], noise(8, 6, seed=100))


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    real = pairs_module.read_rgb

    def count(path: Path) -> np.ndarray:
        decoded.append(path.name)
        return real(path)

    monkeypatch.setattr(pairs_module, "read_rgb", count)
    one_pair = 32 * 24 * 3 + 8 * 6 * 3
    reader = PairReader(make_set(tmp_path, count=3), scale=4, cache=ImageCache(2 * one_pair + 1))
    expected = [reader.read(index) for index in range(3)]
    decoded.clear()
    for _ in range(2):
        for index in range(3):
            assert np.array_equal(reader.read(index)[1], expected[index][1])
    assert decoded == ["2.png"] * 4  # both sides of the third pair, twice


def test_what_is_read_cannot_be_spoilt(tmp_path: Path) -> None:
    lr, _ = PairReader(make_set(tmp_path), scale=4).read(0)
    with pytest.raises(ValueError, match="read-only"):
        lr[0, 0, 0] = 1


def test_threads_may_read_together(tmp_path: Path) -> None:
    reader = PairReader(make_set(tmp_path, count=4), scale=4)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(reader.read, [index % 4 for index in range(64)]))
    for index, (_, hr) in enumerate(read):
        assert np.array_equal(hr, noise(32, 24, seed=index % 4))


def test_bad_images_are_named(tmp_path: Path) -> None:
    pairs = make_set(tmp_path)
    (tmp_path / "hr" / "0.png").write_bytes(b"gone")
    with pytest.raises(ImageError, match=r"hr/0\.png"):
        PairReader(pairs, scale=4).read(0)
    write_rgb(tmp_path / "hr" / "1.png", noise(3, 3))
    with pytest.raises(DataError, match=r"1\.png is smaller than 4 x 4"):
        PairReader(pairs, scale=4).read(1)
