"""The degradation steps of a camera as its photographs show it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from imaging.pictures import TO_LR, apply, chain, flat, photo

from adaptsr_cli.artifacts.degradation import CameraGrain, CameraTransfer, Degradation
from adaptsr_cli.artifacts.transfer import IDENTITY, CameraNoise, TransferFunction
from adaptsr_cli.imaging.camera_noise import add_noise
from adaptsr_cli.imaging.degrade import degrade
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph, reduce_to_lr

FUNCTION = TransferFunction(blur_px=2.0, short_blur_px=1.5, angle=0.4, sharpening=0.8, radius_px=3.0)
NOISE = CameraNoise(read_variance=4.0, shot_variance=0.05, correlation_px=0.5, shared=0.3)


def camera_chain(*functions: TransferFunction, scale: int = 4) -> Degradation:
    return chain(CameraTransfer(functions=functions, scale=scale), TO_LR, CameraGrain(noise=NOISE))


def test_the_camera_is_the_one_that_was_estimated() -> None:
    hr = photo(128, 128)
    camera = SimulatedCamera(FUNCTION, CameraNoise(read_variance=0.0), (None,))
    expected = photograph(hr, 4, camera, np.random.default_rng(0)).astype(float)
    made = apply(chain(CameraTransfer(functions=(FUNCTION,), scale=4), TO_LR), hr)
    assert np.abs(made - expected).max() <= 1


def test_one_function_is_drawn_for_each_picture() -> None:
    hr, others = photo(), (IDENTITY, FUNCTION)
    ends = [apply(chain(CameraTransfer(functions=(one,), scale=4), TO_LR), hr) for one in others]
    made = [apply(chain(CameraTransfer(functions=others, scale=4), TO_LR), hr, seed=seed) for seed in range(60)]
    drawn = [next(place for place, end in enumerate(ends) if np.array_equal(end, one)) for one in made]
    assert 15 < sum(drawn) < 45


def test_a_camera_is_the_same_for_a_seed_and_at_every_scale() -> None:
    hr = photo(128, 128)
    assert np.array_equal(apply(camera_chain(FUNCTION), hr), apply(camera_chain(FUNCTION), hr))
    lengths = FUNCTION.stretched(0.5)
    assert lengths.blur_px == 1
    assert np.array_equal(
        apply(camera_chain(FUNCTION, scale=4), hr, scale=2), apply(camera_chain(lengths, scale=2), hr, scale=2)
    )


def test_grain_grows_with_brightness() -> None:
    for level in (40, 200):
        noisy = apply(chain(TO_LR, CameraGrain(noise=NOISE)), flat(level), scale=1)
        assert noisy.mean() == pytest.approx(level, abs=0.5)
        assert noisy.std() == pytest.approx(float(NOISE.deviation(np.array(level))), rel=0.05)


def test_grain_of_texture_is_that_of_the_camera() -> None:
    texture = CameraNoise(read_variance=0.0, texture_variance=1.6)
    hr = photo(128, 128)
    made, clean = (apply(chain(TO_LR, CameraGrain(noise=noise)), hr) for noise in (texture, texture.scaled(0)))
    exact = reduce_to_lr(hr.astype(np.float32), 4)
    expected = add_noise(texture, exact, np.random.default_rng(0))
    assert np.abs(clean - np.clip(exact, 0, 255)).max() <= 1
    assert np.abs(made - np.clip(np.rint(expected), 0, 255)).max() <= 1
    assert (apply(chain(TO_LR, CameraGrain(noise=texture)), flat(100)) == 100).all()


@pytest.mark.gpu
def test_all_devices_give_alike_pictures_of_a_camera() -> None:
    for seed in range(8):
        on_cpu, on_gpu = (
            degrade(photo(), 4, camera_chain(FUNCTION), np.random.default_rng(seed), device=torch.device(name))
            for name in ("cpu", "cuda")
        )
        assert np.abs(on_cpu.astype(int) - on_gpu.astype(int)).max() <= 1
