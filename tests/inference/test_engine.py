"""Upscaling by tiles: equal to the whole image, within memory, never with undefined pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import ARCHITECTURES, save_tiny
from torch import Tensor, nn
from torch.nn import functional

from adaptsr_cli.artifacts.base import BackboneIdentity
from adaptsr_cli.backbones.backbone import Backbone, Traits
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.inference import engine
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.checkpoints import Checkpoint
from adaptsr_cli.progress import Silent

CPU = torch.device("cpu")


class Enlarge(nn.Module):
    """Repeats every pixel; records the sizes that it was called with and calls `before` first."""

    def __init__(self, scale: int = 2, before: Callable[[Tensor], None] = lambda lr: None) -> None:
        super().__init__()
        self.scale = scale
        self.before = before
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, lr: Tensor) -> Tensor:
        self.sizes.append(tuple(lr.shape))
        self.before(lr)
        return functional.interpolate(lr, scale_factor=self.scale, mode="nearest")


def wrap(model: nn.Module, scale: int = 2, *, halo_px: int | None = 0, multiple_px: int = 1) -> Backbone:
    identity = BackboneIdentity(architecture="Stub", scale=scale, params=1, sha256="0" * 64, source="stub")
    checkpoint = Checkpoint(Path("stub.pth"), "pth", {}, None, "", {})
    return Backbone(
        model=model,
        identity=identity,
        checkpoint=checkpoint,
        keys={},
        traits=Traits(halo_px=halo_px),
        multiple_px=multiple_px,
        minimum_px=1,
        square=False,
    )


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / 5), np.cos(columns / 7), np.sin((rows + columns) / 9)], axis=2)
    return np.clip(128 + 90 * waves + rng.normal(0, 15, (height, width, 3)), 0, 255).astype(np.uint8)


def load(name: str, folder: Path) -> Backbone:
    return load_backbone(save_tiny(name, folder / f"{name}.safetensors"))


def grey_levels_apart(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(np.rint(first * 255) - np.rint(second * 255)).max())


@pytest.mark.parametrize("name", ["edsr_basicsr", "edsr_pytorch_x3", "safmn", "safmn_x2", "span", "rrdb"])
@pytest.mark.parametrize("size", [(75, 131), (140, 64)])
def test_tiles_of_conv_nets_equal_the_whole_image(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    backbone = load(name, tmp_path)
    lr = image(*size)
    whole = Upscaler(backbone, device=CPU, tile_px=0).run(lr)
    seen: list[tuple[int, int]] = []
    tiled = Upscaler(backbone, device=CPU, tile_px=16, pad_px=min(backbone.halo_px or 0, 40)).run(
        lr, on_tile=lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1] > 1
    assert grey_levels_apart(whole, tiled) <= 1


def test_tiles_without_context_do_differ(tmp_path: Path) -> None:
    backbone = load("edsr_basicsr", tmp_path)
    lr = image(75, 131)
    whole = Upscaler(backbone, device=CPU, tile_px=0).run(lr)
    assert grey_levels_apart(whole, Upscaler(backbone, device=CPU, tile_px=16, pad_px=0).run(lr)) > 1


# DAT's attention between channels is over all pixels of the input, so that a tile is never quite the whole.
@pytest.mark.parametrize(("name", "levels"), [("swinir", 0.5), ("hat", 0.5), ("drct", 0.5), ("dat", 6)])
def test_attention_nets_show_no_step_at_tile_borders(name: str, levels: float, tmp_path: Path) -> None:
    backbone = load(name, tmp_path)
    lr = image(216, 72)
    whole = Upscaler(backbone, device=CPU, tile_px=0).run(lr)

    def steepest_step(pad_px: int | None) -> float:
        upscaler = Upscaler(backbone, device=CPU, tile_px=32, pad_px=pad_px)
        assert len(upscaler.plan(216, 72).tiles) > 1
        tiled = upscaler.run(lr)
        return float(max(np.abs(np.diff(tiled - whole, axis=axis)).max() for axis in (0, 1))) * 255

    assert steepest_step(None) <= levels < steepest_step(0)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 2)])
def test_any_size_is_upscaled_in_tiles(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    sr = Upscaler(load(name, tmp_path), device=CPU, tile_px=8, pad_px=2).run(image(*size))
    assert sr.shape == (4 * size[0], 4 * size[1], 3)
    assert sr.dtype == np.float32
    assert np.isfinite(sr).all()
    assert 0 <= sr.min() <= sr.max() <= 1


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_tiles_go_in_batches_of_one_shape(batch: int) -> None:
    model = Enlarge()
    lr = image(40, 60)
    sr = Upscaler(wrap(model), device=CPU, tile_px=13, pad_px=3, batch=batch).run(lr)
    np.testing.assert_allclose(sr, np.repeat(np.repeat(lr / 255, 2, 0), 2, 1), atol=1e-6)
    assert len({size[2:] for size in model.sizes}) == 1
    assert max(size[0] for size in model.sizes) <= batch
    assert all(size[0] == batch for size in model.sizes[:-1])


def test_depth_is_told_by_the_type_not_by_the_values() -> None:
    upscaler = Upscaler(wrap(Enlarge()), device=CPU)
    dark = np.full((4, 4, 3), 51, np.uint8)
    np.testing.assert_allclose(upscaler.run(dark), 51 / 255, atol=1e-6)
    np.testing.assert_allclose(upscaler.run(dark.astype(np.uint16)), 51 / 65535, atol=1e-8)
    np.testing.assert_allclose(upscaler.run(np.full((4, 4, 3), 0.2, np.float32)), 0.2, atol=1e-6)


def test_what_is_no_rgb_image_is_refused() -> None:
    with pytest.raises(ValueError, match="not an RGB image"):
        Upscaler(wrap(Enlarge()), device=CPU).run(np.zeros((4, 4), np.uint8))


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("not enough memory: you tried to allocate 123 bytes"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "linux", "windows"])
@pytest.mark.parametrize("tile_px", [0, None, 200])
def test_tiles_are_halved_until_they_fit_and_stay_small(error: RuntimeError, tile_px: int | None) -> None:
    def limit(lr: Tensor) -> None:
        if lr.shape[2] > 70:
            raise error

    model = Enlarge(before=limit)
    progress = Silent()
    upscaler = Upscaler(wrap(model, halo_px=4), device=CPU, tile_px=tile_px, progress=progress)
    lr = image(256, 250)
    np.testing.assert_allclose(upscaler.run(lr), np.repeat(np.repeat(lr / 255, 2, 0), 2, 1), atol=1e-6)
    assert any("not enough memory" in note for note in progress.notes)
    model.sizes.clear()
    upscaler.run(lr)
    assert max(size[2] for size in model.sizes) <= 70  # no second try at the large tiles


def test_the_batch_is_halved_before_the_tiles() -> None:
    def limit(lr: Tensor) -> None:
        if len(lr) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = Enlarge(before=limit)
    upscaler = Upscaler(wrap(model), device=CPU, tile_px=16, batch=8)
    upscaler.run(image(64, 64))
    assert upscaler.batch == 2
    assert len({size[2:] for size in model.sizes}) == 1


def test_memory_too_small_for_the_smallest_tile_is_told_with_the_remedy() -> None:
    def never(_lr: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = Enlarge(before=never)
    with pytest.raises(AdaptsrError, match="not enough memory on cpu") as caught:
        Upscaler(wrap(model, halo_px=5), device=CPU).run(image(300, 200))
    assert "--tile" in caught.value.hint
    assert len(model.sizes) < 10


def test_another_fault_of_the_network_is_not_taken_for_memory() -> None:
    def fail(lr: Tensor) -> None:
        if lr.shape[2] > 16:
            raise RuntimeError("shape '[3]' is invalid\nmore")

    model = Enlarge(before=fail)
    with pytest.raises(ImageError, match="the network fails on this image: shape") as caught:
        Upscaler(wrap(model), device=CPU).run(image(40, 40))
    assert "--tile" not in caught.value.hint
    assert model.sizes == [(1, 3, 40, 40)]


class OverflowsInHalfPrecision(Enlarge):
    def forward(self, lr: Tensor) -> Tensor:
        sr = super().forward(lr)
        return sr / 0 if torch.is_autocast_enabled("cpu") else sr


def test_a_tile_that_overflows_is_computed_again_in_fp32() -> None:
    lr = image(40, 40)
    sr = Upscaler(wrap(OverflowsInHalfPrecision()), device=CPU, precision="bf16", tile_px=16).run(lr)
    np.testing.assert_allclose(sr, np.repeat(np.repeat(lr / 255, 2, 0), 2, 1), atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_stays_undefined_fails_the_image(precision: str, value: float) -> None:
    class Broken(Enlarge):
        def forward(self, lr: Tensor) -> Tensor:
            sr = super().forward(lr)
            if len(self.sizes) > 2:  # not the first tile
                sr[0, 0, 3, 3] = value
            return sr

    with pytest.raises(ImageError, match="not finite"):
        Upscaler(wrap(Broken()), device=CPU, precision=precision, tile_px=16).run(image(64, 64))  # type: ignore[arg-type]


def test_a_dense_network_gets_smaller_automatic_tiles_than_a_thin_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "free_memory_bytes", lambda device: 2_000_000_000)
    thin = Upscaler(wrap(nn.Sequential(nn.Conv2d(3, 4, 1), Enlarge()), halo_px=8), device=CPU)
    dense = Upscaler(wrap(nn.Sequential(nn.Conv2d(3, 2000, 1), Enlarge()), halo_px=8), device=CPU)
    thin_tile, dense_tile = (upscaler.plan(2000, 4000).tiles[0] for upscaler in (thin, dense))
    assert thin_tile.horizontal.size > 2 * dense_tile.horizontal.size
    assert thin_tile.vertical.size >= dense_tile.vertical.size
    # 3 * (3 + 2000 channels in, 2000 out) * 4 bytes... a quarter of a megapixel would not fit
    plan = dense.plan(2000, 2000)
    assert plan.width_px * plan.height_px * (3 * 4000 * 4) < 2_000_000_000


def test_an_image_no_larger_than_the_largest_tile_is_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "free_memory_bytes", lambda device: 100_000_000_000)
    upscaler = Upscaler(wrap(Enlarge(), halo_px=8), device=CPU)
    assert len(upscaler.plan(1000, 1000).tiles) == 1
    assert len(upscaler.plan(20, 50_000).tiles) == 1


def test_automatic_tiles_on_the_cpu_are_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "free_memory_bytes", lambda device: 100_000_000_000)
    upscaler = Upscaler(wrap(Enlarge(), halo_px=8), device=CPU)
    plan = upscaler.plan(5000, 5000)
    assert plan.height_px <= 512 < plan.width_px <= 2048
    assert plan.height_px * 5000 <= upscaler.most_band_px(5000, 5000) <= 520 * 5000


def test_small_images_are_never_cut_automatically(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "free_memory_bytes", lambda device: 1)
    model = Enlarge()
    Upscaler(wrap(model), device=CPU).run(image(64, 64))
    assert model.sizes == [(1, 3, 64, 64)]


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu_and_keeps_the_image_on_the_host(tmp_path: Path) -> None:
    lr = image(300, 200)
    on_cpu = Upscaler(load("safmn", tmp_path), device=CPU, tile_px=0).run(lr)
    cuda = torch.device("cuda")
    upscaler = Upscaler(load("safmn", tmp_path), device=cuda, tile_px=64, batch=1)
    assert grey_levels_apart(on_cpu, upscaler.run(lr)) <= 1
    torch.cuda.reset_peak_memory_stats()
    upscaler.run(lr)
    small = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    upscaler.run(np.tile(lr, (3, 3, 1)))
    assert torch.cuda.max_memory_allocated() < 1.5 * small


@pytest.mark.parametrize("name", ["edsr_basicsr", "safmn", "span"])
def test_batch_and_tile_do_not_change_the_result(name: str, tmp_path: Path) -> None:
    backbone = load(name, tmp_path)
    lr = image(150, 130)
    plain = Upscaler(backbone, device=CPU, tile_px=32).run(lr)
    assert grey_levels_apart(plain, Upscaler(backbone, device=CPU, tile_px=32, batch=5).run(lr)) <= 1
    assert grey_levels_apart(plain, Upscaler(backbone, device=CPU, tile_px=56).run(lr)) <= 1


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_bands_follow_each_other_and_make_the_whole(batch: int) -> None:
    upscaler = Upscaler(wrap(Enlarge(4), scale=4, halo_px=8), device=CPU, tile_px=24, batch=batch)
    lr = image(151, 90)
    read: list[tuple[int, int]] = []

    def rows(start: int, stop: int) -> np.ndarray:
        read.append((start, stop))
        return lr[start:stop]

    bands = list(upscaler.bands(151, 90, rows, most_rows_px=16))
    starts = [start for start, _ in bands]
    assert starts == [sum(len(band) for _, band in bands[:index]) // 4 for index in range(len(bands))]
    assert read == sorted(read)
    assert max(stop - start for start, stop in read) < 151 / 2
    whole = np.concatenate([band for _, band in bands])
    np.testing.assert_allclose(whole, np.repeat(np.repeat(lr / 255, 4, 0), 4, 1), atol=1e-6)


def test_memory_that_ends_in_the_middle_keeps_what_is_done() -> None:
    calls = 0

    def limit(lr: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls > 9 and lr.shape[2] > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")

    lr = image(400, 120)
    upscaler = Upscaler(wrap(Enlarge(before=limit), halo_px=4), device=CPU, tile_px=60)
    bands = list(upscaler.bands(400, 120, lambda start, stop: lr[start:stop]))
    assert [start for start, _ in bands] == [
        sum(len(band) for _, band in bands[:index]) // 2 for index in range(len(bands))
    ]
    whole = np.concatenate([band for _, band in bands])
    np.testing.assert_allclose(whole, np.repeat(np.repeat(lr / 255, 2, 0), 2, 1), atol=1e-6)


def test_an_ensemble_is_the_mean_over_eight_turned_inputs(tmp_path: Path) -> None:
    backbone = load("edsr_basicsr", tmp_path)
    lr = image(30, 41)
    found = Upscaler(backbone, device=CPU, ensemble=True).run(lr)
    single = Upscaler(backbone, device=CPU)
    parts = []
    for turned in (lr, lr.transpose(1, 0, 2)):
        for rows, columns in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            sr = single.run(np.ascontiguousarray(turned[::rows, ::columns]))[::rows, ::columns]
            parts.append(sr if turned is lr else sr.transpose(1, 0, 2))
    # The parts are cut off at 0 and 1, which the ensemble does only at the end.
    inside = np.all([(part > 0) & (part < 1) for part in parts], axis=0)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(found[inside], np.mean(parts, axis=0)[inside], atol=1e-5)


@pytest.mark.parametrize("name", ["edsr_basicsr", "safmn", "span"])
def test_a_tiled_ensemble_equals_the_whole_one(name: str, tmp_path: Path) -> None:
    backbone = load(name, tmp_path)
    lr = image(75, 93)
    whole = Upscaler(backbone, device=CPU, tile_px=0, ensemble=True).run(lr)
    tiled = Upscaler(backbone, device=CPU, tile_px=24, ensemble=True).run(lr)
    assert grey_levels_apart(whole, tiled) <= 1


def test_an_ensemble_commutes_with_turning(tmp_path: Path) -> None:
    upscaler = Upscaler(load("rrdb", tmp_path), device=CPU, ensemble=True)
    lr = image(24, 31)
    turned = upscaler.run(np.ascontiguousarray(lr[::-1].transpose(1, 0, 2)))
    np.testing.assert_allclose(turned, upscaler.run(lr)[::-1].transpose(1, 0, 2), atol=1e-5)


@pytest.mark.parametrize("tile_px", [0, 16, 24])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("size", [(150, 40), (40, 150), (9, 9)])
def test_no_more_rows_are_in_work_than_stated(tile_px: int, batch: int, size: tuple[int, int]) -> None:
    upscaler = Upscaler(wrap(Enlarge(), multiple_px=4), device=CPU, tile_px=tile_px, pad_px=4, batch=batch)
    lr = image(*size)
    rows = [len(band) // 2 for _, band in upscaler.bands(*size, lambda start, stop: lr[start:stop])]
    assert sum(rows) == size[0]
    assert max(rows) * size[1] <= upscaler.most_band_px(*size) <= size[0] * size[1]
