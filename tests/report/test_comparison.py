from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.report.comparison import (
    TILE_PX,
    Box,
    ComparisonRow,
    best_model,
    check_row,
    choose_detail,
    error_limit,
    errors_of,
    magnify,
    metrics_shown,
    pick_examples,
    tiles_of,
)


def make_row(
    height: int = 64, width: int = 96, scale: int = 4, names: tuple[str, ...] = ("bicubic", "backbone", "merged")
) -> ComparisonRow:
    rng = np.random.default_rng(0)
    lr = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    hr = lr.repeat(scale, axis=0).repeat(scale, axis=1)
    return ComparisonRow("photo", lr, hr, {name: hr.copy() for name in names}, {})


def test_the_detail_is_where_the_models_differ() -> None:
    row = make_row()
    row.outputs["merged"][100:140, 300:340] ^= 255
    box = choose_detail(row)
    assert box.left_px <= 300
    assert box.left_px + box.side_px >= 340
    assert box.top_px <= 100
    assert box.top_px + box.side_px >= 140


def test_plain_bicubic_does_not_choose_the_detail() -> None:
    row = make_row()
    row.outputs["bicubic"][:200, :200] ^= 255
    row.outputs["merged"][230:250, 350:370] ^= 16
    box = choose_detail(row)
    assert box.left_px + box.side_px >= 370
    assert box.top_px + box.side_px >= 250


def test_a_small_difference_over_all_models_counts_not_only_the_last_two() -> None:
    row = make_row(names=("a", "b", "c"))
    row.outputs["a"][0:20, 0:20] ^= 255
    assert (choose_detail(row).left_px, choose_detail(row).top_px) == (0, 0)


def test_a_single_model_is_compared_with_the_truth() -> None:
    row = make_row(names=("merged",))
    row.outputs["merged"][230:250, 350:370] ^= 255
    box = choose_detail(row)
    assert box.left_px + box.side_px >= 370


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (5, 7), (40, 60), (128, 128), (300, 500)])
def test_the_detail_fits_every_image_and_lies_on_the_lr_grid(height: int, width: int, scale: int) -> None:
    row = make_row(height, width, scale)
    box = choose_detail(row)
    assert box.side_px >= 1
    assert box.left_px + box.side_px <= width * scale
    assert box.top_px + box.side_px <= height * scale
    assert box.side_px % scale == box.left_px % scale == box.top_px % scale == 0
    assert all(pixels.shape == (TILE_PX, TILE_PX, 3) for _, pixels in tiles_of(row, box))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_details_of_common_sizes_are_enlarged_by_a_whole_number(scale: int) -> None:
    for side in (256 // scale, 480 // scale, 1000 // scale):
        box = choose_detail(make_row(side, side, scale))
        assert TILE_PX % box.side_px == 0
        assert box.side_px <= 0.36 * side * scale


def test_tiles_show_the_same_place_in_order() -> None:
    row = make_row()
    tiles = tiles_of(row, Box(40, 20, 60))
    assert [name for name, _ in tiles] == ["LR", "bicubic", "backbone", "merged", "HR"]
    # HR is LR with its pixels repeated, so all tiles must be the same picture
    for _, pixels in tiles:
        np.testing.assert_array_equal(pixels, tiles[-1][1])
    np.testing.assert_array_equal(tiles[-1][1][::4, ::4], row.hr[20:80, 40:100])


def test_magnify_only_repeats_pixels() -> None:
    image = np.arange(7 * 7 * 3, dtype=np.uint8).reshape(7, 7, 3)
    large = magnify(image)
    assert large.shape == (TILE_PX, TILE_PX, 3)
    np.testing.assert_array_equal(large[0, 0], image[0, 0])
    np.testing.assert_array_equal(large[-1, -1], image[-1, -1])
    assert {tuple(pixel) for pixel in large.reshape(-1, 3)} == {tuple(pixel) for pixel in image.reshape(-1, 3)}


def test_outputs_of_another_size_or_type_are_refused() -> None:
    row = make_row()
    with pytest.raises(ValueError, match=r"photo: merged is uint8 \(128"):
        check_row(ComparisonRow("photo", row.lr, row.hr, {"merged": row.hr[:128]}, {}))
    with pytest.raises(ValueError, match="merged is float32"):
        check_row(ComparisonRow("photo", row.lr, row.hr, {"merged": row.hr.astype(np.float32)}, {}))  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="HR is uint8"):
        check_row(ComparisonRow("photo", row.lr, row.hr[:, :-1], {}, {}))
    check_row(row)


def test_examples_are_spread_from_best_to_worst() -> None:
    gains = [0.1, 0.9, -0.3, 0.5, 0.2, 0.7]
    assert pick_examples(gains, 3) == [1, 3, 2]
    assert pick_examples(gains, 2) == [1, 2]
    assert pick_examples(gains, 1) == [4]
    assert pick_examples(gains, 10) == [1, 5, 3, 4, 0, 2]
    assert pick_examples([], 3) == []
    assert pick_examples([0.5, 0.5, 0.5], 3) == [0, 1, 2]


def test_the_best_score_knows_its_direction_and_ignores_the_rest() -> None:
    row = make_row()
    scored = ComparisonRow(
        row.name,
        row.lr,
        row.hr,
        row.outputs,
        {
            "backbone": {"psnr_y_db": 27.0, "lpips_squeeze": 0.2},
            "merged": {"psnr_y_db": 28.0, "lpips_squeeze": 0.3},
            "unknown": {"psnr_y_db": 99.0},
        },
    )
    assert best_model(scored, "psnr_y_db") == "merged"
    assert best_model(scored, "lpips_squeeze") == "backbone"
    assert best_model(scored, "ssim_y") is None
    assert metrics_shown([scored]) == ["psnr_y_db", "lpips_squeeze"]


def test_errors_are_those_of_the_detail_on_luma() -> None:
    row = make_row(names=("a", "b"))
    row.outputs["a"][8:12, 4:8] ^= 255
    box = Box(0, 0, 24)
    errors = errors_of(row, box, lambda rgb: rgb.astype(np.float64).mean(axis=2))
    assert list(errors) == ["a", "b"]
    assert errors["a"].shape == (24, 24)
    assert not errors["b"].any()
    truth = row.hr[8:12, 4:8].astype(np.float64).mean(axis=2)
    assert errors["a"][8:12, 4:8] == pytest.approx(np.abs(255 - 2 * truth))


def test_one_scale_holds_nearly_all_errors_of_a_sheet() -> None:
    small, large = np.full((10, 10), 3.0), np.arange(100.0).reshape(10, 10)
    assert error_limit([{"a": small}]) == 3
    assert error_limit([{"a": small}, {"b": large}]) == 98
    assert error_limit([{"a": small * 0}]) == 1
    assert error_limit([]) == 1
