from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from imaging.pictures import TO_LR, apply, chain, flat, photo

from adaptsr_cli.artifacts.degradation import (
    Degradation,
    FinalSinc,
    Jpeg,
    KernelBlur,
    LensBlur,
    OddSpan,
    RandomNoise,
    RandomResize,
    SensorNoise,
    Span,
    Step,
    ToLr,
)
from adaptsr_cli.imaging import degrade as module
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS, find_degradation
from adaptsr_cli.imaging.degrade import PHOTONS_AT_WHITE, blur, degrade, poisson_noise
from adaptsr_cli.imaging.kernels import shaped_kernel
from adaptsr_cli.io.images import encode_jpeg, resize_bicubic

WITHOUT_JPEG = (*(step for step in DEGRADATIONS["realesrgan"].steps[:-1] if not isinstance(step, Jpeg)), TO_LR)


def fixed(value: float) -> Span:
    return Span(low=value, high=value)


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_every_preset_gives_a_picture_of_the_lr_size_and_the_same_for_a_seed(name: str, scale: int) -> None:
    hr = photo(72, 48)
    degradation = find_degradation(name)
    first = degrade(hr, scale, degradation, np.random.default_rng(1))
    assert (first.shape, first.dtype) == ((48 // scale, 72 // scale, 3), np.uint8)
    assert np.array_equal(first, degrade(hr, scale, degradation, np.random.default_rng(1)))
    other = degrade(hr, scale, degradation, np.random.default_rng(2))
    assert np.array_equal(first, other) == (name == "bicubic")
    means = [apply(degradation, hr, scale, seed).mean() for seed in range(6)]
    assert np.abs(np.mean(means) - hr.mean()) < 12


def test_bicubic_is_the_antialiased_bicubic() -> None:
    hr = photo()
    difference = apply(DEGRADATIONS["bicubic"], hr) - resize_bicubic(hr, 16, 12)
    assert np.abs(difference).max() <= 1


def test_the_picture_is_left_as_it_was_and_may_be_read_only() -> None:
    hr = photo()
    before = hr.copy()
    hr.setflags(write=False)
    for degradation in DEGRADATIONS.values():
        apply(degradation, hr)
    assert np.array_equal(hr, before)


def test_the_smallest_picture_can_be_degraded() -> None:
    for degradation in DEGRADATIONS.values():
        for seed in range(10):
            assert apply(degradation, np.full((4, 4, 3), 99, np.uint8), seed=seed).shape == (1, 1, 3)


def test_threads_do_not_disturb_one_another() -> None:
    hr, degradation = photo(96, 96), DEGRADATIONS["realesrgan"]
    alone = [apply(degradation, hr, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: apply(degradation, hr, seed=seed), range(8)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    before = torch.get_rng_state()
    apply(DEGRADATIONS["realesrgan"], photo())
    assert torch.equal(before, torch.get_rng_state())


# Blur


def test_lens_blur_has_the_width_it_says_along_both_axes() -> None:
    point = np.zeros((65, 65, 3), np.uint8)
    point[32, 32] = 255
    spread = apply(chain(LensBlur(sigma_lr_px=fixed(3.0), roundness=fixed(0.5)), TO_LR), point, scale=1)[..., 0]
    y, x = np.mgrid[-32:33, -32:33]
    weights = spread / spread.sum()
    moments = [[(weights * a * b).sum() for b in (x, y)] for a in (x, y)]
    short, long = np.sqrt(np.linalg.eigvalsh(np.array(moments)))
    assert long == pytest.approx(3.0, rel=0.15)  # 8-bit rounding cuts the tails off
    assert short == pytest.approx(1.5, rel=0.15)


def test_blur_equals_a_direct_convolution() -> None:
    image = torch.rand(3, 37, 50)
    kernel = shaped_kernel(9, 2.0, 0.7, 0.5)
    padded = torch.nn.functional.pad(image[None], (4, 4, 4, 4), mode="replicate").transpose(0, 1)
    expected = torch.nn.functional.conv2d(padded, torch.from_numpy(kernel).float()[None, None])[:, 0]
    assert torch.allclose(blur(image, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("step", [LensBlur(sigma_lr_px=fixed(1.0)), KernelBlur(sigma_px=fixed(2.0))])
def test_blur_keeps_a_flat_picture_flat_up_to_its_border(step: LensBlur | KernelBlur) -> None:
    for seed in range(10):
        assert np.array_equal(apply(chain(step, TO_LR), flat(137, 32), seed=seed), np.full((8, 8, 3), 137.0))


@pytest.mark.parametrize(
    "step",
    [
        LensBlur(sigma_lr_px=fixed(0.8)),
        KernelBlur(sigma_px=fixed(3.2), size_px=OddSpan(low=21, high=21), sinc_share=0, lengths_at_x4=True),
    ],
)
def test_blur_is_the_same_at_every_scale(step: LensBlur | KernelBlur) -> None:
    edges = []
    for scale in (2, 4):
        edge = np.zeros((24 * scale, 24 * scale, 3), np.uint8)
        edge[:, 12 * scale :] = 200
        edges.append(apply(chain(step, ToLr(filters=("area",))), edge, scale, seed=5)[12, :, 0])
    assert 0 < edges[0][11] < 100 < edges[0][12] < 200  # it is blurred at all
    assert np.abs(edges[0] - edges[1]).max() < 5


# Sizes


def test_sizes_keep_to_their_range_and_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    inner = module._interpolate

    def spy(image: torch.Tensor, size: tuple[int, int], method: module.Filter) -> torch.Tensor:
        sizes.append(size[1])
        return inner(image, size, method)

    monkeypatch.setattr(module, "_interpolate", spy)
    step = RandomResize(up=0.2, down=0.7, size=Span(low=0.15, high=1.5), base=4)
    for seed in range(400):
        apply(chain(step, TO_LR), flat(9, 160), scale=4, seed=seed)
    factors = np.array(sizes) / 160
    assert 0.15 <= factors.min() < 0.25
    assert 1.4 < factors.max() <= 1.5
    assert (factors == 1).mean() == pytest.approx(0.1, abs=0.05)
    assert (factors > 1).mean() == pytest.approx(0.2, abs=0.06)


def test_the_way_over_a_smaller_size_costs_detail() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = RandomResize(up=0, down=1, size=Span(low=0.249, high=1), filters=("area",))
    stds = [apply(chain(shrunk, TO_LR), stripes, scale=1, seed=seed).std() for seed in range(20)]
    assert min(stds) < 20
    assert apply(chain(TO_LR), stripes, scale=1).std() > 100


# Noise


def test_sensor_noise_has_the_variance_of_shot_and_read_noise() -> None:
    degradation = chain(TO_LR, SensorNoise(shot=fixed(0.004), read_levels=fixed(3.0)))
    for level in (40, 200):
        noisy = apply(degradation, flat(level))
        expected = np.sqrt(0.004 * level / 255 + (3 / 255) ** 2) * 255
        assert noisy.std() == pytest.approx(expected, rel=0.05)
        assert noisy.mean() == pytest.approx(level, abs=0.5)


def test_gaussian_noise_has_the_deviation_asked_for() -> None:
    step = RandomNoise(gaussian_share=1, gaussian_levels=fixed(12), poisson_scale=fixed(0), grey_share=0)
    noisy = apply(chain(TO_LR, step), flat(128))
    assert noisy.std() == pytest.approx(12, rel=0.03)
    assert noisy.mean() == pytest.approx(128, abs=0.3)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_poisson_noise_has_the_variance_of_counting(scale: float) -> None:
    step = RandomNoise(gaussian_share=0, gaussian_levels=fixed(0), poisson_scale=fixed(scale), grey_share=0)
    for level in (60, 180):
        noisy = apply(chain(TO_LR, step), flat(level))
        expected = scale * 255 * np.sqrt(level / 255 / PHOTONS_AT_WHITE)
        assert noisy.std() == pytest.approx(expected, rel=0.04)
        assert noisy.mean() == pytest.approx(level, abs=0.5)


@pytest.mark.parametrize("level", [0, 1, 3, 20, 128, 255])
def test_photons_are_counted_as_poisson_says(level: int) -> None:
    noise = poisson_noise(torch.full((1, 500, 500), level / 255), np.random.default_rng(0))
    expected = level / 255 * PHOTONS_AT_WHITE
    counts = np.round((noise.double().numpy().ravel() + level / 255) * PHOTONS_AT_WHITE).astype(int)
    assert counts.min() >= 0
    true = np.random.default_rng(1).poisson(expected, counts.size)
    shares, true_shares = (np.bincount(c, minlength=500)[:500] / c.size for c in (counts, true))
    assert np.abs(np.cumsum(shares) - np.cumsum(true_shares)).max() < 0.005  # Kolmogorov-Smirnov, 1e-4 level
    assert counts.var() == pytest.approx(expected, rel=0.02, abs=1e-9)


def test_grey_noise_is_the_same_in_all_channels() -> None:
    for step in (
        SensorNoise(read_levels=fixed(8), grey_share=1),
        RandomNoise(gaussian_share=1, gaussian_levels=fixed(8), poisson_scale=fixed(0), grey_share=1),
        RandomNoise(gaussian_share=0, gaussian_levels=fixed(0), poisson_scale=fixed(0.8), grey_share=1),
    ):
        grey = apply(chain(TO_LR, step), flat(100, 128))
        coloured = apply(chain(TO_LR, step.model_copy(update={"grey_share": 0.0})), flat(100, 128))
        assert np.array_equal(grey[..., 0], grey[..., 2])
        assert not np.array_equal(coloured[..., 0], coloured[..., 2])
        assert grey.std() == pytest.approx(8, rel=0.15)


def test_noise_of_a_crop_does_not_depend_on_what_was_drawn_before() -> None:
    hr, degradation = photo(96, 96), DEGRADATIONS["realesrgan"]
    expected = apply(degradation, hr, seed=7)
    apply(degradation, photo(64, 64), seed=3)
    assert np.array_equal(expected, apply(degradation, hr, seed=7))


# JPEG


def read_qualities(monkeypatch: pytest.MonkeyPatch, degradation: Degradation, count: int) -> list[int]:
    """The qualities that were used, by the first luma step of the quantisation table in the file."""
    tables = {encode_jpeg(flat(0, 8), quality)[:200]: quality for quality in range(1, 101)}
    found: list[int] = []

    def spy(rgb: np.ndarray, quality: int) -> bytes:
        data = encode_jpeg(rgb, quality)
        start = encode_jpeg(flat(0, 8), quality)
        tables_at = data.index(b"\xff\xdb")
        assert data[tables_at : tables_at + 130] == start[start.index(b"\xff\xdb") :][:130]
        found.append(tables[start[:200]])
        return data

    monkeypatch.setattr(module, "encode_jpeg", spy)
    for seed in range(count):
        apply(degradation, flat(80, 32), seed=seed)
    return found


def test_the_file_has_the_quality_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(read_qualities(monkeypatch, chain(TO_LR, Jpeg(quality=fixed(37))), 3)) == {37}


def test_qualities_keep_to_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    degradation = chain(FinalSinc(jpeg_quality=Span(low=60, high=70)))
    found = read_qualities(monkeypatch, degradation, 150)
    assert len(found) == 150  # before or after the filter, but just once
    assert set(found) == set(range(60, 71))


def test_jpeg_comes_last_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    store, interpolate = module._store_jpeg, module._interpolate
    monkeypatch.setattr(module, "_store_jpeg", lambda *given: (order.append("j"), store(*given))[1])
    monkeypatch.setattr(module, "_interpolate", lambda *given: (order.append("r"), interpolate(*given))[1])
    for seed in range(200):
        apply(chain(FinalSinc(jpeg_quality=fixed(50), jpeg_last=0.5)), flat(80, 32), seed=seed)
    pairs = ["".join(order[at : at + 2]) for at in range(0, 400, 2)]
    assert set(pairs) == {"jr", "rj"}
    assert pairs.count("rj") / 200 == pytest.approx(0.5, abs=0.12)


def test_lower_jpeg_quality_costs_more() -> None:
    hr = photo(256, 256)
    clean = apply(chain(TO_LR), hr)
    errors = [
        np.square(apply(chain(TO_LR, Jpeg(quality=fixed(quality))), hr) - clean).mean() for quality in (95, 60, 20)
    ]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_a_step_comes_as_often_as_its_share() -> None:
    hr = photo(64, 64)
    clean = apply(chain(TO_LR), hr)
    stored = chain(TO_LR, Jpeg(quality=fixed(20), share=0.5))
    assert 70 < sum(not np.array_equal(apply(stored, hr, seed=seed), clean) for seed in range(200)) < 130


# Devices


def test_rounding_on_another_device_changes_one_level_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers must not depend on the picture, else all after the first rounding would come out otherwise."""
    hr = photo(256, 256)
    exact = [apply(chain(*WITHOUT_JPEG), hr, seed=seed) for seed in range(12)]
    generator, inner = torch.Generator().manual_seed(0), module.blur

    def rounded(image: torch.Tensor, kernel: np.ndarray) -> torch.Tensor:
        return inner(image, kernel) + 1e-6 * torch.randn(image.shape, generator=generator)

    monkeypatch.setattr(module, "blur", rounded)
    for seed, expected in enumerate(exact):
        assert np.abs(apply(chain(*WITHOUT_JPEG), hr, seed=seed) - expected).max() <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("steps", [WITHOUT_JPEG, *(DEGRADATIONS[name].steps for name in ("bicubic", "phone", "demo"))])
def test_all_devices_give_alike_pictures(steps: tuple[Step, ...], scale: int) -> None:
    degradation = chain(*(step for step in steps if not isinstance(step, Jpeg)))
    hr = photo(256, 256)
    for seed in range(20):
        on_cpu, on_gpu = (
            degrade(hr, scale, degradation, np.random.default_rng(seed), device=torch.device(name)).astype(int)
            for name in ("cpu", "cuda")
        )
        assert np.abs(on_cpu - on_gpu).max() <= 1


@pytest.mark.gpu
def test_the_whole_pipeline_gives_nearly_the_same_on_all_devices() -> None:
    hr = photo(256, 256)
    for seed in range(20):
        on_cpu, on_gpu = (
            degrade(hr, 4, DEGRADATIONS["realesrgan"], np.random.default_rng(seed), device=torch.device(name)).astype(
                int
            )
            for name in ("cpu", "cuda")
        )
        assert np.abs(on_cpu - on_gpu).mean() < 1  # JPEG multiplies a rounding the other way
