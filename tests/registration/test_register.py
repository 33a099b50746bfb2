"""Registration of small synthetic shots: exact where it can be, and a clear word where it cannot."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from registration.shots import Camera, Look, Shot, make_shot, packaged_photos, with_look

from adaptsr_cli.io.images import resize
from adaptsr_cli.registration.register import Registration, find_reduction, register
from adaptsr_cli.registration.verdict import Refused

PHOTOS = packaged_photos()
PLAIN = Look(noise=1.0), Look(gains=(0.9, 1.0, 1.1), black=2.0, vignette=0.15, blur=0.5, noise=1.0)
BLOCK_PX = 48


def small_shot(seed: int = 0, zoom: float = 2.1, **given: object) -> Shot:
    return make_shot(
        PHOTOS, seed, **{"zoom": zoom, "tele_px": (800, 600), "most_wide_px": 640, "looks": PLAIN, **given}
    )


def bring_together(wide: np.ndarray, tele: np.ndarray, scale: int = 2) -> Registration:
    return register(
        wide, tele, scale, zoom_hint=None, block_px=BLOCK_PX,
        resize=lambda image, width, height: resize(image, width, height, "bicubic"),
    )  # fmt: skip


def errors_px(shot: Shot, found: Registration) -> np.ndarray:
    """Of the mapping, LR px, at the corners and middles of kept blocks."""
    places = [
        np.array([block.region.left, block.region.top]) + offset
        for block in found.blocks
        if block.reason is None
        for offset in ((2.0, 2.0), (45.0, 2.0), (24.0, 24.0), (2.0, 45.0), (45.0, 45.0))
    ]
    points = np.array(places)
    factor = np.array([shot.wide.shape[1] / found.lr.shape[1], shot.wide.shape[0] / found.lr.shape[0]])
    truth = shot.map_points((points + 0.5) * factor - 0.5)
    return np.hypot(*(found.mapping.map_points(points) - truth).T) / found.mapping.zoom_at(points)


@pytest.fixture(scope="module")
def shot() -> Shot:
    return small_shot(1)


@pytest.fixture(scope="module")
def found(shot: Shot) -> Registration:
    return bring_together(shot.wide, shot.tele)


def test_the_mapping_is_exact_and_what_changed_is_dropped(shot: Shot, found: Registration) -> None:
    assert found.verdict.accepted
    assert found.reduction == 1
    assert np.percentile(errors_px(shot, found), 95) < 0.1
    bad = [block for block in found.blocks if shot.changed[block.region.slices].mean() > 0.01]
    assert len(bad) >= 3
    assert all(block.reason is not None for block in bad)
    assert sum(block.reason is None for block in found.blocks) > 0.4 * len(found.blocks)


def test_the_lr_side_is_not_touched_where_the_zoom_allows_it(shot: Shot, found: Registration) -> None:
    assert np.array_equal(found.lr, shot.wide)


def test_hr_has_lr_s_colours(shot: Shot, found: Registration) -> None:
    assert found.photometry is not None
    rng = np.random.default_rng(0)
    kept = [block.region for block in found.blocks if block.reason is None]
    points = np.array([[r.left + 24.0, r.top + 24.0] for r in kept for _ in range(8)])
    scene = rng.uniform(40, 200, (len(points), 1)) + rng.uniform(-15, 15, (len(points), 3))
    low, high = shot.map_colours(points, scene)
    fitted = [
        found.photometry.apply(colour[None, None].astype(np.float32), point[:1], point[1:])[0, 0]
        for colour, point in zip(high, points, strict=True)
    ]
    assert np.abs(np.array(fitted) - low).mean() < 1
    assert np.abs(high - low).mean() > 4  # there was something to do


def test_blocks_show_the_same_at_the_same_place(found: Registration) -> None:
    block = next(block for block in found.blocks if block.reason is None)
    high = found.render_hr(block.region).astype(float)
    assert high.shape == (2 * BLOCK_PX, 2 * BLOCK_PX, 3)
    low = found.lr[block.region.slices].astype(float)
    shrunk = high.reshape(BLOCK_PX, 2, BLOCK_PX, 2, 3).mean((1, 3))
    assert np.corrcoef(low.ravel(), shrunk.ravel())[0, 1] > 0.97
    kept = found.render_hr(block.region, keep_colour=True).astype(float)
    assert np.abs(kept.mean((0, 1)) - high.mean((0, 1))).max() > 2


def test_a_zoom_below_the_scale_reduces_the_wide_photograph(shot: Shot) -> None:
    found = bring_together(shot.wide, shot.tele, scale=4)
    assert found.reduction == 2
    assert found.lr.shape[1] == shot.wide.shape[1] // 2
    assert np.percentile(errors_px(shot, found), 95) < 0.1


@pytest.mark.parametrize(
    ("zoom", "scale", "reduction"),
    [(2.0, 2, 1), (1.95, 2, 1), (1.955, 4, 2), (4.1, 4, 1), (3.0, 4, 4 / 3), (1.0, 2, 2)],
)
def test_the_reduction_is_as_small_as_can_be(zoom: float, scale: int, reduction: float) -> None:
    assert find_reduction(zoom, scale) == pytest.approx(reduction)


def test_the_wrong_order_is_seen(shot: Shot, found: Registration) -> None:
    turned = bring_together(shot.tele, shot.wide)
    assert turned.swapped
    assert not found.swapped
    assert turned.zoom == pytest.approx(found.zoom, rel=1e-3)
    assert np.percentile(errors_px(shot, turned), 95) < 0.1


def test_two_scenes_are_refused() -> None:
    given = {"zoom": 2.1, "tele_px": (800, 600), "most_wide_px": 640}
    wide = make_shot(PHOTOS[:3], 1, **given).wide
    for tele in (make_shot(PHOTOS[3:5], 2, **given).tele, np.full((600, 800, 3), 128, np.uint8)):
        with pytest.raises(Refused, match="do not show the same scene"):
            bring_together(wide, tele)


def test_one_photograph_twice_is_refused(shot: Shot) -> None:
    with pytest.raises(Refused, match="the same photograph"):
        bring_together(shot.wide, shot.wide.copy())
    brighter = np.clip(shot.wide.astype(int) + 9, 0, 255).astype(np.uint8)
    with pytest.raises(Refused, match="nearly the same focal length"):
        bring_together(shot.wide, brighter)


def test_a_blurred_tele_photograph_is_refused(shot: Shot) -> None:
    found = bring_together(shot.wide, cv2.GaussianBlur(shot.tele, (0, 0), 2.5))
    assert not found.verdict.accepted
    assert "out of focus" in found.verdict.sentence


def test_a_side_out_of_focus_is_named() -> None:
    shot = small_shot(5, moved=False, near=False, zoom=2.4)
    tele = shot.tele.copy()
    middle = tele.shape[1] * 55 // 100
    tele[:, middle:] = cv2.GaussianBlur(tele, (0, 0), 4)[:, middle:]
    found = bring_together(shot.wide, tele)
    right = [block for block in found.blocks if block.region.left > found.region.left + 0.6 * found.region.width]
    assert right
    assert all(block.reason is not None for block in right)
    assert "the tele photo is out of focus at the" in found.verdict.sentence


def test_sixteen_bits_stay_sixteen_bits(shot: Shot) -> None:
    deep = shot.tele.astype(np.uint16) * 257
    found = bring_together(shot.wide, deep)
    region = next(block.region for block in found.blocks if block.reason is None)
    high = found.render_hr(region)
    assert (found.lr.dtype, high.dtype) == (np.uint8, np.uint16)
    assert len(np.unique(high)) > 2000
    assert np.percentile(errors_px(shot, found), 95) < 0.1


def test_a_photograph_on_its_side(shot: Shot, found: Registration) -> None:
    turned = bring_together(shot.wide, np.ascontiguousarray(np.rot90(shot.tele)))
    assert turned.verdict.accepted
    assert abs(turned.mapping.rotation_deg) == pytest.approx(90, abs=4)
    block = next(block for block in found.blocks if block.reason is None)
    first, second = (side.render_hr(block.region).astype(float) for side in (found, turned))
    assert np.abs(first - second).mean() < 2


def test_a_crop_to_16_by_9(shot: Shot) -> None:
    rows = shot.tele.shape[1] * 9 // 16
    top = (shot.tele.shape[0] - rows) // 2
    found = bring_together(shot.wide, np.ascontiguousarray(shot.tele[top : top + rows]))
    points = np.array(
        [[block.region.left + 24.0, block.region.top + 24.0] for block in found.blocks if not block.reason]
    )
    miss = found.mapping.map_points(points) + np.array([0, top]) - shot.map_points(points)
    assert np.percentile(np.hypot(*miss.T) / found.zoom, 95) < 0.1


def test_a_smooth_rest_is_corrected() -> None:
    shot = small_shot(4, moved=False, near=False, relief_px=0.4, tele_px=(1200, 900), most_wide_px=900)
    found = bring_together(shot.wide, shot.tele)
    assert found.correction.degree >= 2
    assert found.correction.with_px < 0.7 * found.correction.without_px
    assert np.percentile(errors_px(shot, found), 95) < 0.1


def test_nothing_is_corrected_where_nothing_is_left(found: Registration) -> None:
    assert found.correction.field is None


def test_burnt_out_blocks_are_dropped() -> None:
    shot = small_shot(6, moved=False, near=False, looks=with_look(PLAIN, 0, gains=(2.6, 2.6, 2.6)))
    found = bring_together(shot.wide, shot.tele)
    reasons = {block.reason for block in found.blocks}
    assert "saturation" in reasons
    for block in found.blocks:
        if (shot.wide[block.region.slices] >= 254).all(2).mean() > 0.2:
            assert block.reason is not None


def test_the_same_photographs_give_the_same_result(shot: Shot, found: Registration) -> None:
    again = bring_together(shot.wide, shot.tele)
    assert again.mapping == found.mapping
    assert again.blocks == found.blocks


def test_a_tele_photograph_that_shows_next_to_nothing() -> None:
    def far(wide: Camera, tele: Camera) -> tuple[Camera, Camera]:
        return wide, replace(tele, width=150, height=110)

    shot = small_shot(2, moved=False, near=False, zoom=3.0, change=far)
    try:
        accepted = bring_together(shot.wide, shot.tele, scale=3).verdict.accepted
    except Refused:
        accepted = False
    assert not accepted
