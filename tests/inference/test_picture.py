"""Pictures through the network: depth, grey, transparency, sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptsr_cli.artifacts.base import BackboneIdentity
from adaptsr_cli.backbones.backbone import Backbone, Traits
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import (
    extend_colour,
    resize_to,
    to_depth,
    upscale_alpha,
    upscale_batch,
    upscale_picture,
    upscale_rgb,
)
from adaptsr_cli.io.checkpoints import Checkpoint
from adaptsr_cli.io.images import resize_bicubic
from adaptsr_cli.io.pictures import Animation, Picture


class Smooth(nn.Module):
    """Enlarges by 2 with an interpolation that overshoots, as networks do."""

    def forward(self, lr: Tensor) -> Tensor:
        return functional.interpolate(lr, scale_factor=2, mode="bicubic", align_corners=False)


class Tinted(Smooth):
    """Gives another value in each channel."""

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) + torch.tensor([-0.03, 0.0, 0.03])[:, None, None]


class Dull(Smooth):
    """Never quite reaches white or black."""

    def forward(self, lr: Tensor) -> Tensor:
        return 0.9 * super().forward(lr) + 0.05


def upscaler(tmp_path_factory: pytest.TempPathFactory, model: nn.Module) -> Upscaler:
    identity = BackboneIdentity(architecture="Stub", scale=2, params=1, sha256="0" * 64, source="stub")
    checkpoint = Checkpoint(tmp_path_factory.getbasetemp() / "stub.pth", "pth", {}, None, "", {})
    backbone = Backbone(model, identity, checkpoint, {}, Traits(halo_px=4), 1, 1, False)
    return Upscaler(backbone, device=torch.device("cpu"), tile_px=0)


@pytest.fixture
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return upscaler(tmp_path_factory, Smooth())


def picture(dtype: type[np.generic], value: float = 0.5, alpha: np.ndarray | None = None) -> Picture:
    most = np.iinfo(dtype).max
    colour = np.full((6, 9, 3), round(value * most), dtype)
    return Picture(colour, alpha=alpha, icc=b"profile", exif=b"Exif\0\0camera")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_profile_and_exif_are_kept(dtype: type[np.generic], smooth: Upscaler) -> None:
    before = picture(dtype, 0.3)
    after = upscale_picture(smooth, before)
    assert after.colour.dtype == dtype
    assert after.colour.shape == (12, 18, 3)
    assert (after.colour == before.colour[0, 0, 0]).all()
    assert after.alpha is None
    assert (after.icc, after.exif) == (before.icc, before.exif)


def test_levels_are_rounded_to_the_nearest_and_cut_off() -> None:
    values = np.array([-0.2, 0.4999 / 255, 0.5001 / 255, 1.0, 1.7], np.float32)
    assert to_depth(values, np.uint8).tolist() == [0, 0, 1, 255, 255]
    assert to_depth(np.array([1.0], np.float32), np.uint16).tolist() == [65535]


def test_every_level_survives_the_way_to_floats_and_back() -> None:
    for dtype in (np.uint8, np.uint16):
        levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
        floats = levels.astype(np.float32) / np.float32(np.iinfo(dtype).max)
        assert (to_depth(floats, dtype) == levels).all()


def test_grey_stays_grey(tmp_path_factory: pytest.TempPathFactory) -> None:
    tinted = upscaler(tmp_path_factory, Tinted())
    grey = upscale_picture(tinted, replace(picture(np.uint8), grey=True))
    assert grey.grey
    assert (grey.colour == 128).all()
    colour = upscale_picture(tinted, picture(np.uint8))
    assert len(np.unique(colour.colour)) == 3


def disc(size: int) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return np.hypot(rows, columns) < size / 3


def test_no_fringe_appears_where_transparency_begins(smooth: Upscaler) -> None:
    visible = disc(24)
    colour = np.repeat(
        np.where(visible, 200, 0).astype(np.uint8)[..., None], 3, axis=2
    )  # black under the transparent part
    alpha = np.where(visible, 255, 0).astype(np.uint8)
    after = upscale_picture(smooth, Picture(colour, alpha=alpha))
    assert after.alpha is not None
    assert (after.colour[after.alpha > 0] == 200).all()
    # the network alone does mix the black into the edge
    unaided = to_depth(smooth.run(colour), np.uint8)
    assert unaided[after.alpha > 0].min() < 150


def test_alpha_is_enlarged_and_exact_where_it_is_flat(tmp_path_factory: pytest.TempPathFactory) -> None:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[:, 10:] = 255
    enlarged = upscale_alpha(upscaler(tmp_path_factory, Dull()), alpha)[..., 0]
    assert enlarged.shape == (40, 40)
    assert (enlarged[:, :18] == 0).all()
    assert (enlarged[:, 22:] == 1).all()
    assert 0 < enlarged[20, 19] < enlarged[20, 20] < 1


class Dotted(Smooth):
    """Puts dots into everything, as networks do along the stairs of a hard edge."""

    def forward(self, lr: Tensor) -> Tensor:
        sr = super().forward(lr)
        sr[..., ::4, ::4] = 0.5
        return sr


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_only_masks_with_soft_edges_go_through_the_network(
    tmp_path_factory: pytest.TempPathFactory, kind: type[np.generic]
) -> None:
    dotted = upscaler(tmp_path_factory, Dotted())
    rows, columns = np.mgrid[:40, :40] - 19.5
    distance = np.hypot(rows, columns)
    dots = []
    for width_px in (0.01, 2.0):
        mask = to_depth(np.clip((13 - distance) / width_px + 0.5, 0, 1), kind)
        enlarged = upscale_alpha(dotted, mask)[..., 0]
        assert (enlarged[:8] == 0).all()
        assert (enlarged[36:44, 36:44] == 1).all()
        smooth_one = resize_to((mask / np.iinfo(kind).max).astype(np.float32)[..., None], 80, 80)[..., 0]
        dots.append(np.abs(enlarged - smooth_one)[::4, ::4].max() > 0.2)
    assert dots == [False, True]


def test_opaque_alpha_stays_opaque_without_a_second_run(smooth: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    original = smooth.bands
    monkeypatch.setattr(smooth, "bands", lambda *args, **kwargs: (runs.append(1), original(*args, **kwargs))[1])
    after = upscale_picture(smooth, picture(np.uint16, alpha=np.full((6, 9), 65535, np.uint16)))
    assert after.alpha is not None
    assert after.alpha.dtype == np.uint16
    assert (after.alpha == 65535).all()
    assert len(runs) == 1


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (5, 6), (16, 16), (33, 2)])
def test_gaps_are_filled_from_what_is_visible(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(100, 200, (*shape, 3)).astype(np.uint8)
    alpha = np.zeros(shape, np.uint8)
    alpha[0, 0] = 1
    hidden = np.where(alpha[..., None] > 0, colour, 0).astype(np.uint8)
    filled = extend_colour(hidden, alpha)
    assert (filled == colour[0, 0]).all()  # one visible pixel colours everything


def test_gaps_take_the_colour_of_the_nearer_side_and_visible_pixels_keep_theirs() -> None:
    colour = np.zeros((8, 32, 3), np.uint8)
    colour[:, :4], colour[:, -4:] = 50, 250
    alpha = np.zeros((8, 32), np.uint8)
    alpha[:, :4] = alpha[:, -4:] = 255
    filled = extend_colour(colour, alpha)
    assert (filled[:, :4] == 50).all()
    assert (filled[:, -4:] == 250).all()
    assert filled[:, 4:8].max() < 150 < filled[:, -8:-4].min()


def test_colour_without_anything_to_fill_from_or_to_is_left_alone() -> None:
    colour = np.random.default_rng(0).integers(0, 255, (5, 5, 3)).astype(np.uint8)
    for level in (0, 255):
        assert extend_colour(colour, np.full((5, 5), level, np.uint8)) is colour


@pytest.mark.parametrize(("outscale", "size"), [(None, (12, 18)), (2, (12, 18)), (3.5, (21, 32)), (0.01, (1, 1))])
def test_any_final_factor(outscale: float | None, size: tuple[int, int], smooth: Upscaler) -> None:
    alpha = np.zeros((6, 9), np.uint8)
    alpha[:3] = 255
    after = upscale_picture(smooth, picture(np.uint8, alpha=alpha), outscale=outscale)
    assert after.colour.shape == (*size, 3)
    assert after.alpha is not None
    assert after.alpha.shape == size
    assert (after.colour == 128).all()


def test_resizing_down_is_antialiased_as_in_pillow() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    ours = resize_to(image.astype(np.float32) / 255, 23, 17)
    theirs = resize_bicubic(image, 23, 17)
    assert np.abs(ours * 255 - theirs).max() <= 1.01
    assert resize_to(ours, 23, 17) is ours


def test_progress_is_passed_on(smooth: Upscaler) -> None:
    seen = []
    upscale_picture(smooth, picture(np.uint8), on_tile=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]


def test_every_frame_is_upscaled_and_the_timing_kept(smooth: Upscaler) -> None:
    frames = [picture(np.uint8, value) for value in (0.2, 0.4, 0.8)]
    moving = replace(frames[0], further=tuple(frames[1:]), animation=Animation((10.0, 20.0, 30.0), loops=2))
    after = upscale_picture(smooth, moving)
    assert after.animation == moving.animation
    assert [frame.colour.shape for frame in after.frames] == [(12, 18, 3)] * 3
    assert [int(frame.colour[0, 0, 0]) for frame in after.frames] == [51, 102, 204]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("outscale", [None, 3.3, 1])
def test_rounding_in_bands_changes_no_value(
    dtype: type[np.generic], grey: bool, outscale: float | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    banded = upscaler(tmp_path_factory, Tinted())
    banded.tile_px, banded.ensemble = 16, True
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:70, :50] - 25
    noise = rng.integers(0, np.iinfo(dtype).max, (70, 50, 3), dtype=dtype)
    colour = noise[..., :1].repeat(3, axis=2) if grey else noise
    size = (140, 100) if outscale is None else tuple(round(outscale * side) for side in (70, 50))
    for softness_px in (0.01, 6):
        alpha = to_depth(np.clip((20 - np.hypot(rows, columns)) / softness_px + 0.5, 0, 1), dtype)
        after = upscale_picture(banded, Picture(colour, alpha=alpha, grey=grey), outscale=outscale)
        whole = resize_to(banded.run(extend_colour(colour, alpha)), size[1], size[0])
        whole = whole.mean(axis=2, keepdims=True) if grey else whole
        assert after.alpha is not None
        assert after.colour.shape == (*size, 3)
        assert (after.colour == to_depth(whole, dtype)).all()
        mask = resize_to(upscale_alpha(banded, alpha), size[1], size[0])
        assert (after.alpha == to_depth(mask[..., 0], dtype)).all()


def test_images_at_a_time_are_as_each_by_itself(smooth: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 9, 3), dtype=np.uint8)
    alone = np.stack([upscale_rgb(smooth, image) for image in images])
    assert np.array_equal(upscale_batch(smooth, images), alone)
    infer = smooth.infer

    def press(lr: np.ndarray) -> Tensor:
        if len(lr) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return infer(lr)

    monkeypatch.setattr(smooth, "infer", press)
    assert np.array_equal(upscale_batch(smooth, images), alone)
