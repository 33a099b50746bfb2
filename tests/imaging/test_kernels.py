from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptsr_cli.artifacts.degradation import KernelBlur, KernelShares, OddSpan, Span
from adaptsr_cli.imaging.kernels import Kernel, Shape, draw_kernel, shaped_kernel, sinc_kernel

SHAPES = st.sampled_from(["gaussian", "generalized", "plateau"])
ODD_PX = st.integers(0, 10).map(lambda half: 2 * half + 1)
SIGMA_PX = st.floats(0, 5)
NO_SHAPE = dict.fromkeys(KernelShares.model_fields, 0.0)


def assert_kernel(kernel: Kernel, size_px: int) -> None:
    assert kernel.shape == (size_px, size_px)
    assert np.isfinite(kernel).all()
    assert kernel.sum() == pytest.approx(1)
    assert np.allclose(kernel, kernel[::-1, ::-1])  # turned by half a turn it is the same: nothing is shifted


def moments(kernel: Kernel) -> tuple[float, float]:
    """Standard deviations along the shorter and the longer axis."""
    half = kernel.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    matrix = [[(kernel * a * b).sum() for b in (x, y)] for a in (x, y)]
    short, long = np.sqrt(np.linalg.eigvalsh(np.array(matrix)))
    return float(short), float(long)


@given(ODD_PX, SIGMA_PX, SIGMA_PX, st.floats(-math.pi, math.pi), SHAPES, st.floats(0.5, 4))
def test_shaped_kernels_sum_to_one_and_shift_nothing(
    size_px: int, long_px: float, short_px: float, angle: float, shape: Shape, beta: float
) -> None:
    kernel = shaped_kernel(size_px, long_px, short_px, angle, shape, beta)
    assert_kernel(kernel, size_px)
    assert kernel.min() >= 0


@given(ODD_PX, st.floats(0.01, math.pi))
def test_sinc_kernels_sum_to_one_and_shift_nothing(size_px: int, cutoff: float) -> None:
    kernel = sinc_kernel(size_px, cutoff)
    assert_kernel(kernel, size_px)
    assert np.allclose(kernel, kernel.T)


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 4, 8]), st.floats(0, 1), st.booleans())
def test_drawn_kernels_sum_to_one_at_every_scale(seed: int, scale: int, sinc_share: float, at_x4: bool) -> None:
    step = KernelBlur(sigma_px=Span(low=0.2, high=3), sinc_share=sinc_share, lengths_at_x4=at_x4)
    kernel = draw_kernel(step, scale, np.random.default_rng(seed))
    assert_kernel(kernel, kernel.shape[0])
    most = 2 * round(10 * (scale / 4 if at_x4 else 1)) + 1
    assert 3 <= kernel.shape[0] <= most


def test_a_gaussian_has_the_widths_that_were_asked_for() -> None:
    short, long = moments(shaped_kernel(25, 3.0, 1.5, 0.7))
    assert (short, long) == (pytest.approx(1.5, rel=0.01), pytest.approx(3.0, rel=0.01))
    kernel = shaped_kernel(25, 3.0, 1.0, 0.0)
    assert kernel[12, 15] > kernel[15, 12]  # angle 0: the longer axis is the horizontal one


def test_a_gaussian_is_both_other_shapes_neighbour() -> None:
    gaussian = shaped_kernel(21, 2.0, 2.0, 0.0)
    assert np.allclose(gaussian, shaped_kernel(21, 2.0, 2.0, 0.0, "generalized", 1.0))
    # A small exponent has the sharper peak; a plateau is flatter than the Gaussian at its centre.
    peaked = shaped_kernel(21, 2.0, 2.0, 0.0, "generalized", 0.5)
    flat = shaped_kernel(21, 2.0, 2.0, 0.0, "plateau", 2.0)
    drops = [kernel[10, 11] / kernel[10, 10] for kernel in (peaked, gaussian, flat)]
    assert drops == sorted(drops)
    assert flat[10, 12] / flat[10, 10] == pytest.approx(0.5)  # d = 1


def test_a_sinc_filter_passes_below_its_cutoff_and_stops_above() -> None:
    kernel = sinc_kernel(21, math.pi / 2)
    response = np.abs(np.fft.fft2(kernel, s=(64, 64)))[0]  # along one axis, pi at bin 32
    assert response[4] == pytest.approx(1, abs=0.1)
    assert response[28] < 0.1
    assert kernel.min() < 0


def test_the_same_camera_at_every_scale() -> None:
    step = KernelBlur(
        sigma_px=Span(low=1.5, high=1.5),
        size_px=OddSpan(low=21, high=21),
        shapes=KernelShares(**NO_SHAPE | {"iso": 1.0}),
        sinc_share=0,
        lengths_at_x4=True,
    )
    for scale in (2, 3, 4, 8):
        short, long = moments(draw_kernel(step, scale, np.random.default_rng(0)))
        assert short == pytest.approx(1.5 * scale / 4, rel=0.02)
        assert long == pytest.approx(short)


def test_sizes_and_shapes_come_as_often_as_asked() -> None:
    step = KernelBlur(sigma_px=Span(low=1, high=1), sinc_share=0.25)
    rng = np.random.default_rng(0)
    kernels = [draw_kernel(step, 4, rng) for _ in range(2000)]
    sizes, counts = np.unique([len(kernel) for kernel in kernels], return_counts=True)
    assert sizes.tolist() == [7, 9, 11, 13, 15, 17, 19, 21]
    assert counts.min() > 0.75 * 2000 / 8
    ringing = sum(kernel.min() < -1e-9 for kernel in kernels)
    assert ringing / 2000 == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("name", list(KernelShares.model_fields))
def test_each_shape_can_be_had_alone(name: str) -> None:
    step = KernelBlur(sigma_px=Span(low=0.5, high=3), shapes=KernelShares(**NO_SHAPE | {name: 1.0}), sinc_share=0)
    rng = np.random.default_rng(1)
    kernels = [draw_kernel(step, 4, rng) for _ in range(20)]
    round_ones = sum(np.allclose(kernel, kernel.T) for kernel in kernels)
    assert round_ones == (20 if name.endswith("_iso") or name == "iso" else 0)
