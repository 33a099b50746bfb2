from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.artifacts.preflight import PairAlignment
from adaptsr_cli.data.alignment import apply_shifts, describe_alignment, measure_alignment
from adaptsr_cli.data.layouts import Pair, PairSet, find_pairs
from adaptsr_cli.data.pairs import PairReader, set_fingerprint
from adaptsr_cli.data.preflight import check_pairs
from adaptsr_cli.errors import DataError
from adaptsr_cli.io.images import resize_bicubic, write_rgb
from adaptsr_cli.progress import Silent


def scene(
    height_px: int, width_px: int, *, down_px: float = 0.0, right_px: float = 0.0, unit: float = 1.0, seed: int = 0
) -> np.ndarray:
    """A sum of waves, so that it can be moved by any part of a pixel exactly; (h, w, 3) uint8.

    Args:
        height_px: Of the image.
        width_px: Of the image.
        down_px: How much lower everything lies.
        right_px: How much further right.
        unit: Length of the shortest wave over that in a scene of its own size; HR scenes have a larger one.
        seed: Another seed is another scene.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height_px, :width_px].astype(np.float64)
    total = np.zeros((height_px, width_px, 3))
    for _ in range(24):
        length, angle, phase = rng.uniform(5, 40) * unit, rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        along = (y - down_px) * np.sin(angle) + (x - right_px) * np.cos(angle)
        total += np.sin(2 * np.pi * along / length + phase)[..., None] * rng.uniform(0.5, 1, 3)
    return np.clip(128 + 17 * total, 0, 255).astype(np.uint8)


SHIFTS = [(0, 0), (3, 0), (0, 3), (-3, 2), (2, -5), (-4, -1), (0.5, -0.25), (-1.3, 0.7), (9, -11)]


@pytest.mark.parametrize("shift", SHIFTS)
def test_known_shifts_of_pairs_of_one_size(shift: tuple[float, float]) -> None:
    lr = scene(160, 200, down_px=shift[0], right_px=shift[1])
    measured = measure_alignment(lr, scene(160, 200), 1)
    assert measured.verdict == "matched"
    assert (measured.dy_px, measured.dx_px) == pytest.approx(shift, abs=0.11)
    assert measured.match > 0.8


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("shift", SHIFTS[:-1])
def test_known_shifts_on_the_lr_grid(shift: tuple[float, float], ratio: int) -> None:
    height, width = 96, 120
    hr = scene(height * ratio, width * ratio, unit=ratio)
    moved = scene(height * ratio, width * ratio, down_px=shift[0] * ratio, right_px=shift[1] * ratio, unit=ratio)
    measured = measure_alignment(resize_bicubic(moved, width, height), hr, ratio)
    assert measured.verdict == "matched"
    assert (measured.dy_px, measured.dx_px) == pytest.approx(shift, abs=0.11)


def test_noise_and_colour_do_not_hide_the_shift() -> None:
    rng = np.random.default_rng(1)
    moved = scene(160, 160, down_px=2, right_px=-1)
    lr = np.clip(moved * np.array([0.8, 1.0, 0.7]) + rng.normal(0, 12, moved.shape), 0, 255).astype(np.uint8)
    measured = measure_alignment(lr, scene(160, 160), 1)
    assert measured.whole == (2, -1)
    assert measured.gains == pytest.approx((0.8, 1.0, 0.7), abs=0.03)


def test_the_gain_of_each_channel() -> None:
    hr = scene(128, 128)
    lr = np.rint(hr * np.array([0.9, 1.0, 0.75])).astype(np.uint8)
    measured = measure_alignment(lr, hr, 1)
    assert measured.gains == pytest.approx((0.9, 1.0, 0.75), abs=0.01)


def test_clipped_pixels_have_no_say_in_the_gain() -> None:
    hr = scene(128, 128)
    hr[:, 64:] = 255
    lr = np.rint(hr * 0.9).astype(np.uint8)
    lr[:, 64:] = 255
    assert measure_alignment(lr, hr, 1).gains == pytest.approx((0.9, 0.9, 0.9), abs=0.01)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_cannot_be_told(level: int) -> None:
    rng = np.random.default_rng(0)
    flat = np.full((96, 96, 3), level, np.uint8)
    noisy = np.clip(flat + rng.normal(0, 2, flat.shape), 0, 255).astype(np.uint8)
    assert measure_alignment(flat, flat, 1).verdict == "flat"
    assert measure_alignment(flat, noisy, 1).verdict == "flat"
    assert measure_alignment(scene(8, 8), scene(8, 8), 1).verdict == "flat"  # too small to say


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_pictures_do_not_match(seed: int) -> None:
    assert measure_alignment(scene(128, 128, seed=seed), scene(128, 128), 1).verdict == "unmatched"
    assert measure_alignment(np.full((128, 128, 3), 90, np.uint8), scene(128, 128), 1).verdict == "unmatched"


def test_a_shift_of_more_than_an_eighth_is_no_match() -> None:
    assert measure_alignment(scene(128, 128, down_px=30), scene(128, 128), 1).verdict == "unmatched"


def test_only_the_centre_of_large_images_is_looked_at() -> None:
    hr = scene(600, 700)
    lr = scene(600, 700, down_px=1)
    lr[:40], lr[-40:], lr[:, :90], lr[:, -90:] = 0, 0, 0, 0  # 512 px remain
    assert measure_alignment(lr, hr, 1).whole == (1, 0)


def write_scenes(root: Path, shifts: list[tuple[int, int]], ratio: int) -> PairSet:
    """Pairs that show one scene each, the LR side moved by whole pixels of the LR grid (of the files at ratio 1)."""
    for index, (dy, dx) in enumerate(shifts):
        width, height = 80, 72
        hr = scene(height * ratio, width * ratio, unit=ratio, seed=index)
        moved = scene(height * ratio, width * ratio, down_px=dy * ratio, right_px=dx * ratio, unit=ratio, seed=index)
        write_rgb(root / "hr" / f"{index}.png", hr)
        write_rgb(root / "lr" / f"{index}.png", resize_bicubic(moved, width, height) if ratio > 1 else moved)
    return find_pairs(root, role="train")


@pytest.mark.parametrize("ratio", [1, 4])
def test_shifts_are_put_right_on_reading(tmp_path: Path, ratio: int) -> None:
    shifts = [(0, 0), (3, 0), (0, -2), (-1, 4), (-3, -3)]
    checked = check_pairs(write_scenes(tmp_path, shifts, ratio), Silent(), alignment=True)
    aligned = apply_shifts(checked.pairs, checked.alignments)
    assert [pair.shift for pair in aligned.pairs] == shifts
    reader = PairReader(aligned, scale=4)
    for index, (dy, dx) in enumerate(shifts):
        lr, hr = reader.read(index)
        height, width = 72 - abs(dy), 80 - abs(dx)
        expected = (height, width) if ratio > 1 else (height // 4, width // 4)
        assert lr.shape[:2] == expected
        assert hr.shape[:2] == (4 * expected[0], 4 * expected[1])
        assert reader.hr_size(index) == (hr.shape[1], hr.shape[0])
        shrunk = resize_bicubic(hr, lr.shape[1], lr.shape[0])
        inner = np.abs(shrunk.astype(int) - lr)[4:-4, 4:-4]
        assert np.percentile(inner, 99) <= 3
    plain, _ = PairReader(checked.pairs, scale=4).read(3)
    assert plain.shape[:2] == ((72, 80) if ratio > 1 else (18, 20))
    assert set_fingerprint(aligned) != set_fingerprint(checked.pairs)


def test_pairs_beyond_repair_are_left_out_with_their_names(tmp_path: Path) -> None:
    pairs = write_scenes(tmp_path, [(0, 0)] * 8, 1)
    for index in range(6):
        write_rgb(tmp_path / "lr" / f"{index}.png", scene(72, 80, seed=50 + index))
    write_rgb(tmp_path / "lr" / "7.png", np.full((72, 80, 3), 9, np.uint8))
    write_rgb(tmp_path / "hr" / "7.png", np.full((72, 80, 3), 10, np.uint8))
    checked = check_pairs(pairs, Silent(), alignment=True)
    aligned = apply_shifts(checked.pairs, checked.alignments)
    assert [pair.name for pair in aligned.pairs] == ["6", "7"]
    assert "6 pairs left out, since the sides do not match: 0, 1, 2, 3, 4 and 1 more" in aligned.notes
    notes, warning = describe_alignment(checked.pairs, checked.alignments)
    assert notes[1:] == [
        "6 pairs whose sides do not match: 0, 1, 2, 3, 4 and 1 more",
        "1 pair too flat to measure a shift: 7",
    ]
    assert warning is None
    write_rgb(tmp_path / "lr" / "6.png", scene(72, 80, seed=60))
    write_rgb(tmp_path / "hr" / "7.png", scene(72, 80, seed=7))
    checked = check_pairs(pairs, Silent(), alignment=True)
    with pytest.raises(DataError, match="none of the 8 pairs"):
        apply_shifts(checked.pairs, checked.alignments)


def matched(dy: float, dx: float, *gains: float) -> PairAlignment:
    return PairAlignment(
        verdict="matched", dy_px=dy, dx_px=dx, match=0.9, gains=(gains[0], gains[1], gains[2]) if gains else None
    )


def named(*names: str) -> PairSet:
    return PairSet(Path("x"), "pairs", tuple(Pair(name, Path(name), Path(name)) for name in names), 1, "all")


def test_the_report_names_median_and_largest() -> None:
    pairs = named("a", "b", "img_012")
    measured = [matched(0.1, 0, 1.0, 1.0, 0.95), matched(0, -0.2, 1.03, 1.0, 0.96), matched(-1.8, 0, 1.04, 1.0, 0.97)]
    notes, warning = describe_alignment(pairs, measured)
    assert notes == [
        "residual shift: median 0.2 px, largest 1.8 px (img_012); colour gain R 1.03 G 1.00 B 0.96 (median)"
    ]
    assert warning == "1 of 3 pairs are shifted by 0.5 px or more; `align` shift corrects whole pixels"


def test_a_tenth_of_shifted_pairs_is_no_reason_to_warn() -> None:
    pairs = named(*"abcdefghij")
    assert describe_alignment(pairs, [matched(0, 2), *[matched(0, 0)] * 9])[1] is None
    assert describe_alignment(pairs, [matched(0, 2), matched(0, 0.5), *[matched(0, 0)] * 8])[1] is not None


def test_photographs_have_nothing_to_align() -> None:
    photos = PairSet(Path("x"), "photos only", (Pair("a", None, Path("a")),), None, "all")
    assert describe_alignment(photos, [None]) == ([], None)
    assert apply_shifts(photos, [None]) == photos
