from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptsr_cli.data.layouts import find_pairs
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.data.sampler import BatchSampler
from adaptsr_cli.errors import DataError, UsageError
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS
from adaptsr_cli.io.images import write_rgb


def coordinates(width_px: int, height_px: int, mark: int) -> np.ndarray:
    """Every pixel tells where it is: (x, y, mark)."""
    y, x = np.mgrid[:height_px, :width_px]
    return np.dstack([x, y, np.full_like(x, mark)]).astype(np.uint8)


def make_reader(
    root: Path, *, count: int = 3, same_size: bool = False, width: int = 40, height: int = 24
) -> PairReader:
    """HR pixel (x, y) and LR pixel (x // 4, y // 4) belong together."""
    for index in range(count):
        hr = coordinates(width, height, index) // np.array([4, 4, 1], np.uint8)
        write_rgb(root / "hr" / f"{index}.png", hr)
        lr = hr if same_size else coordinates(width // 4, height // 4, index)
        write_rgb(root / "lr" / f"{index}.png", lr)
    return PairReader(find_pairs(root, role="train"), scale=4)


def bytes_of(tensor: torch.Tensor) -> np.ndarray:
    return np.rint(tensor.numpy() * 255).astype(int)


@pytest.mark.parametrize("same_size", [False, True])
def test_both_sides_show_the_same_place_turned_alike(tmp_path: Path, same_size: bool) -> None:
    sampler = BatchSampler(make_reader(tmp_path, same_size=same_size), batch=6, patch_px=16, seed=1)
    for iteration in range(8):
        batch = sampler.sample(iteration)
        lr, hr = bytes_of(batch.lr), bytes_of(batch.hr)
        assert (lr.shape, hr.shape) == ((6, 3, 4, 4), (6, 3, 16, 16))
        # same-size sides go through the bicubic filter, which blurs the steps of the coordinates a little
        tolerance = 1 if same_size else 0
        assert np.abs(hr[:, :, 1::4, 1::4] - lr).max() <= tolerance
        assert np.abs(hr[:, :, 3::4, ::4] - lr).max() <= tolerance


def test_a_batch_is_a_pure_function_of_seed_and_iteration(tmp_path: Path) -> None:
    reader = make_reader(tmp_path)
    first, second = (BatchSampler(reader, batch=4, patch_px=8, seed=5) for _ in range(2))
    straight = [first.sample(iteration) for iteration in range(5)]
    for iteration in (3, 0, 4, 3):
        again = second.sample(iteration)
        assert torch.equal(again.lr, straight[iteration].lr)
        assert torch.equal(again.hr, straight[iteration].hr)
    assert not torch.equal(straight[0].hr, straight[1].hr)
    other = BatchSampler(reader, batch=4, patch_px=8, seed=6).sample(0)
    assert not torch.equal(other.hr, straight[0].hr)


def test_types_and_ranges(tmp_path: Path) -> None:
    write_rgb(tmp_path / "hr" / "a.png", np.full((16, 16, 3), 255, np.uint8))
    write_rgb(tmp_path / "lr" / "a.png", np.full((4, 4, 3), 51, np.uint8))
    reader = PairReader(find_pairs(tmp_path, role="train"), scale=4)
    batch = BatchSampler(reader, batch=1, patch_px=8, seed=-3).sample(0)
    assert batch.lr.dtype == batch.hr.dtype == torch.float32
    assert torch.equal(batch.hr, torch.ones(1, 3, 8, 8))
    assert torch.allclose(batch.lr, torch.full((1, 3, 2, 2), 0.2))
    assert batch.lr.is_contiguous()


def test_every_image_comes_once_in_a_round(tmp_path: Path) -> None:
    sampler = BatchSampler(make_reader(tmp_path, count=5), batch=2, patch_px=8, seed=0)
    marks = [int(mark) for it in range(10) for mark in bytes_of(sampler.sample(it).lr)[:, 2, 0, 0]]
    assert all(Counter(marks[start : start + 5]) == Counter(range(5)) for start in range(0, 20, 5))
    assert len({tuple(marks[start : start + 5]) for start in range(0, 20, 5)}) > 1


def test_crops_reach_all_places_and_all_eight_orientations(tmp_path: Path) -> None:
    sampler = BatchSampler(make_reader(tmp_path, count=1), batch=16, patch_px=16, seed=0)
    places: Counter[tuple[int, int]] = Counter()
    orientations: Counter[tuple[int, ...]] = Counter()
    for iteration in range(40):
        for lr in bytes_of(sampler.sample(iteration).lr):
            places[int(lr[0].min()), int(lr[1].min())] += 1
            orientations[
                tuple(
                    int(lr[channel, y, x] > lr[channel, 0, 0])
                    for channel, y, x in ((0, 0, 3), (0, 3, 0), (1, 0, 3), (1, 3, 0))
                )
            ] += 1
    assert set(places) == {(x, y) for x in range(7) for y in range(3)}
    assert max(places.values()) < 4 * min(places.values())
    flips = Counter()
    for lr in (lr for it in range(40) for lr in bytes_of(sampler.sample(it).lr)):
        turned = int(lr[0, 0, 0] == lr[0, 0, 3])
        x = lr[0].T if turned else lr[0]
        y = lr[1].T if turned else lr[1]
        flips[turned, int(x[0, 0] < x[0, 3]), int(y[0, 0] < y[3, 0])] += 1
    assert len(flips) == 8
    assert min(flips.values()) > 40


def test_photos_are_degraded_anew_for_every_crop(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    photos = find_pairs(tmp_path, role="train")
    reader = PairReader(photos, scale=4, degradation=DEGRADATIONS["phone"])
    sampler = BatchSampler(reader, batch=2, patch_px=16, seed=0)
    first, second = sampler.sample(0), sampler.sample(1)
    assert (first.lr.shape, first.hr.shape) == ((2, 3, 4, 4), (2, 3, 16, 16))
    assert torch.equal(sampler.sample(0).lr, first.lr)
    assert torch.equal(first.hr.flatten().sort().values, second.hr.flatten().sort().values)
    assert not torch.equal(first.lr.flatten().sort().values, second.lr.flatten().sort().values)


def test_a_photo_crop_equals_the_crop_of_the_whole_degraded_photo(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    write_rgb(tmp_path / "a.png", photo)
    reader = PairReader(find_pairs(tmp_path, role="train"), scale=4, degradation=DEGRADATIONS["bicubic"])
    whole_lr, whole_hr = reader.read(0)
    sampler = BatchSampler(reader, batch=4, patch_px=32, seed=0)
    batch = sampler.sample(0)
    found = 0
    for lr, hr in zip(bytes_of(batch.lr), bytes_of(batch.hr), strict=True):
        for turned in range(8):
            a, b = lr.transpose(1, 2, 0), hr.transpose(1, 2, 0)
            if turned & 4:
                a, b = a.transpose(1, 0, 2), b.transpose(1, 0, 2)
            if turned & 2:
                a, b = a[::-1], b[::-1]
            if turned & 1:
                a, b = a[:, ::-1], b[:, ::-1]
            for top in range(33):
                for left in range(33):
                    if np.array_equal(whole_hr[4 * top, 4 * left : 4 * left + 32], b[0]):
                        assert np.abs(whole_lr[top : top + 8, left : left + 8].astype(int) - a).max() <= 1
                        found += 1
    assert found == 4


def test_a_crop_larger_than_an_image_says_which_and_what_would_fit(tmp_path: Path) -> None:
    reader = make_reader(tmp_path, width=40, height=27)
    with pytest.raises(DataError, match=r"hr/0\.png gives 40 x 24 px") as caught:
        BatchSampler(reader, batch=1, patch_px=28, seed=0)
    assert "`patch` 24" in caught.value.hint
    BatchSampler(reader, batch=1, patch_px=24, seed=0).sample(0)


def test_a_crop_off_the_lr_grid_is_refused(tmp_path: Path) -> None:
    reader = make_reader(tmp_path)
    with pytest.raises(UsageError, match="not a multiple of the scale 4") as caught:
        BatchSampler(reader, batch=1, patch_px=18, seed=0)
    assert "`patch` 16" in caught.value.hint
    with pytest.raises(UsageError, match="not a multiple") as caught:
        BatchSampler(reader, batch=1, patch_px=999, seed=0)
    assert f"`patch` {min(reader.hr_size(0)) // 4 * 4}" in caught.value.hint  # no image has 1000 pixels
    with pytest.raises(UsageError):
        BatchSampler(reader, batch=1, patch_px=0, seed=0)
    with pytest.raises(UsageError, match="`batch` 0"):
        BatchSampler(reader, batch=0, patch_px=16, seed=0)


def test_parts_put_together_are_the_batch(tmp_path: Path) -> None:
    for name, same_size in (("a", False), ("b", True)):
        make_reader(tmp_path / name, same_size=same_size)
    write_rgb(tmp_path / "c" / "a.png", coordinates(40, 24, 9))
    sets = [find_pairs(tmp_path / name, role="train") for name in "abc"]
    readers = [PairReader(pairs, scale=4, degradation=DEGRADATIONS["phone"], seed=0) for pairs in sets]
    sampler = BatchSampler(Mixture(readers, sets), batch=7, patch_px=16, seed=3)
    for iteration in (0, 5):
        whole = sampler.sample(iteration)
        for counts in ((4, 3), (1,) * 7, (2, 2, 2, 1)):
            starts = np.cumsum([0, *counts])
            parts = [sampler.sample_part(iteration, int(starts[rank]), count) for rank, count in enumerate(counts)]
            assert torch.equal(torch.cat([part.lr for part in parts]), whole.lr)
            assert torch.equal(torch.cat([part.hr for part in parts]), whole.hr)


def test_sets_are_drawn_by_their_weights(tmp_path: Path) -> None:
    first = make_reader(tmp_path / "a", count=4)
    write_rgb(tmp_path / "b" / "hr" / "x.png", np.full((16, 16, 3), 255, np.uint8))
    write_rgb(tmp_path / "b" / "lr" / "x.png", np.full((16, 16, 3), 255, np.uint8))
    sets = [replace(find_pairs(tmp_path / name, role="train"), weight=w) for name, w in (("a", 3.0), ("b", None))]
    second = PairReader(sets[1], scale=4)
    sampler = BatchSampler(Mixture([first, second], sets), batch=8, patch_px=16, seed=0)
    white = sum(int((sampler.sample(it).hr == 1).all(dim=(1, 2, 3)).sum()) for it in range(5))
    assert white == 10  # a quarter of 40


def test_shifted_levels_keep_contrast_and_both_sides_together(tmp_path: Path) -> None:
    reader = make_reader(tmp_path)
    plain, shifted = (
        BatchSampler(reader, batch=8, patch_px=16, seed=2, shift_levels=shift).sample(0) for shift in (False, True)
    )
    moved = []
    for before, after in ((plain.lr, shifted.lr), (plain.hr, shifted.hr)):
        change = bytes_of(after) - bytes_of(before)
        assert (change == change[:, :, :1, :1]).all()  # nothing is clipped
        moved.append(change[:, :, 0, 0])
    assert (moved[0] == moved[1]).all()
    assert len(np.unique(moved[0])) > 12  # of 24: each channel of each crop by itself


def test_recoloured_crops_are_mixed_with_one_colour_on_both_sides(tmp_path: Path) -> None:
    reader = make_reader(tmp_path)
    plain, some, all_ = (
        BatchSampler(reader, batch=64, patch_px=16, seed=2, recolour=share).sample(0) for share in (0.0, 0.25, 1.0)
    )
    changed = (some.hr != plain.hr).flatten(1).any(dim=1)
    assert 6 <= int(changed.sum()) <= 28
    # The others, and where each crop lies, are as without; and those that are mixed are the same whatever the share.
    assert torch.equal(some.lr[~changed], plain.lr[~changed])
    assert torch.equal(some.hr[changed], all_.hr[changed])
    shares = []
    for before, after in zip(zip(plain.lr, plain.hr, strict=True), zip(all_.lr, all_.hr, strict=True), strict=True):
        # y = share x + (1 - share) colour: one share for both sides and all channels, a colour for each channel
        x, y = (
            torch.cat([side.flatten(1) for side in sides], dim=1).numpy().astype(float) for sides in (before, after)
        )
        x, y = (side - side.mean(axis=1, keepdims=True) for side in (x, y))
        share = (x * y).sum() / (x * x).sum()
        assert np.abs(y - share * x).max() < 1.5 / 255  # what rounding to levels leaves
        shares.append(share)
    assert min(shares) < 0.1
    assert max(shares) > 0.9
    means = bytes_of(all_.hr).mean(axis=(2, 3))
    assert (means.min(axis=0) < 60).all()
    assert (means.max(axis=0) > 190).all()


def test_recoloured_crops_are_the_same_however_the_batch_is_shared(tmp_path: Path) -> None:
    sampler = BatchSampler(make_reader(tmp_path), batch=8, patch_px=16, seed=2, recolour=0.5)
    whole, parts = sampler.sample(3), [sampler.sample_part(3, 0, 3), sampler.sample_part(3, 3, 5)]
    assert torch.equal(whole.hr, torch.cat([part.hr for part in parts]))
    assert torch.equal(whole.lr, torch.cat([part.lr for part in parts]))
