"""Animations: frames, timing, and what holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.images import read_picture, read_rgb, write_picture
from adaptsr_cli.io.photographs import read_photograph
from adaptsr_cli.io.pictures import layers_of

DURATIONS_MS = [100, 50, 30, 70]


@pytest.fixture
def frames() -> list[np.ndarray]:
    """Four frames whose lower half is transparent: (H, W, 4) uint8."""
    rng = np.random.default_rng(0)
    found = [rng.integers(0, 256, (20, 30, 4), dtype=np.uint8) for _ in DURATIONS_MS]
    for frame in found:
        frame[..., 3] = 255
        frame[10:] = 0
    return found


def save(path: Path, frames: list[np.ndarray], **options: object) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], **options)


@pytest.mark.parametrize("source", [".png", ".webp"])
@pytest.mark.parametrize("target", [".png", ".webp", ".avif"])
def test_every_frame_and_its_time_survive(tmp_path: Path, frames: list[np.ndarray], source: str, target: str) -> None:
    options = {".png": {"disposal": 1, "blend": 0}, ".webp": {"lossless": True, "background": (1, 2, 3, 255)}}
    for frame in frames:
        frame[10:, :, 3] = 1 if source == ".webp" else 0
    save(tmp_path / f"a{source}", frames, duration=DURATIONS_MS, loop=3, **options[source])
    picture = read_picture(tmp_path / f"a{source}")
    assert len(picture.frames) == 4
    assert all(np.array_equal(layers_of(one), other) for one, other in zip(picture.frames, frames, strict=True))
    assert picture.animation is not None
    assert (list(picture.animation.durations_ms), picture.animation.loops) == (DURATIONS_MS, 3)
    write_picture(tmp_path / f"b{target}", picture, quality=100)
    with Image.open(tmp_path / f"b{target}") as image:
        assert image.n_frames == 4
        for index, frame in enumerate(frames):
            image.seek(index)
            shown = np.asarray(image.convert("RGBA")).astype(int)
            assert np.abs(shown[:10] - frame[:10]).max() <= (2 if target == ".avif" else 0)
            assert np.array_equal(shown[10:, :, 3], frame[10:, :, 3])
            assert image.info["duration"] == DURATIONS_MS[index]
        if target != ".avif":  # has no place for it
            assert image.info["loop"] == 3


def test_transparent_borders_of_a_webp_stay_transparent(tmp_path: Path, frames: list[np.ndarray]) -> None:
    save(tmp_path / "a.png", frames, duration=10, disposal=1, blend=0)
    write_picture(tmp_path / "b.webp", read_picture(tmp_path / "a.png"), quality=100)
    with Image.open(tmp_path / "b.webp") as image:  # its frames are only as high as what is opaque
        assert image.mode == "RGBA"
        assert not np.asarray(image)[10:, :, 3].any()


def test_the_poster_is_no_frame(tmp_path: Path, frames: list[np.ndarray]) -> None:
    save(tmp_path / "a.png", frames, duration=DURATIONS_MS[1:], default_image=True, disposal=1, blend=0)
    picture = read_picture(tmp_path / "a.png")
    assert picture.animation is not None
    assert picture.animation.poster
    write_picture(tmp_path / "b.png", picture)
    assert read_picture(tmp_path / "b.png").animation == picture.animation
    write_picture(tmp_path / "b.webp", picture, quality=100)
    again = read_picture(tmp_path / "b.webp")
    assert again.animation is not None
    assert list(again.animation.durations_ms) == DURATIONS_MS[1:]
    assert np.array_equal(again.colour[:10], frames[1][:10, :, :3])


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".bmp"])
def test_frames_are_not_dropped_silently(tmp_path: Path, frames: list[np.ndarray], suffix: str) -> None:
    save(tmp_path / "a.webp", frames, duration=10, lossless=True)
    with pytest.raises(ImageError, match="holds no frames, and the picture has 4"):
        write_picture(tmp_path / f"b{suffix}", read_picture(tmp_path / "a.webp"))
    with pytest.raises(ImageError, match="4 frames, one is needed"):
        read_rgb(tmp_path / "a.webp")


def test_a_gif_of_several_frames_is_no_picture_to_learn_from(tmp_path: Path, frames: list[np.ndarray]) -> None:
    save(tmp_path / "still.gif", [frames[0][..., :3]])
    save(tmp_path / "moving.gif", [frame[..., :3] for frame in frames])
    assert read_rgb(tmp_path / "still.gif").shape == (20, 30, 3)
    for read in (read_rgb, read_photograph):
        with pytest.raises(ImageError, match=r"moving\.gif: it is an animation of several frames, one is needed"):
            read(tmp_path / "moving.gif")


def test_frames_of_different_kinds_become_alike(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((8, 8), 100, np.uint8))
    colour = Image.fromarray(np.dstack([np.full((8, 8), 200, np.uint8)] * 3 + [np.eye(8, dtype=np.uint8) * 255]))
    colour.save(tmp_path / "a.png", save_all=True, append_images=[grey.convert("RGBA")], duration=10)
    picture = read_picture(tmp_path / "a.png")
    assert [frame.alpha is None for frame in picture.frames] == [False, False]
    assert len({frame.grey for frame in picture.frames}) == 1


def test_an_animation_counts_with_all_its_frames(
    tmp_path: Path, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.webp", frames, duration=10)
    monkeypatch.setattr("adaptsr_cli.io.faults.MAX_PIXELS", 4 * 600 - 1)
    with pytest.raises(ImageError, match="2,400 pixels are more than"):
        read_picture(tmp_path / "a.webp")


def test_what_follows_the_photograph_of_a_camera_is_left_out(tmp_path: Path, frames: list[np.ndarray]) -> None:
    first, preview = (Image.fromarray(frame[:10, :, :3]) for frame in frames[:2])
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview], quality=100)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.n_frames == 2
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.further == ()
    write_picture(tmp_path / "b.jpg", picture)
