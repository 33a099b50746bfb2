"""Scores that the metrics' own authors' code gives for five images, as IQA-PyTorch collected them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.metrics.fidelity import grey, psnr_db, ssim
from adaptsr_cli.metrics.multiscale import WEIGHTS, scale_terms
from adaptsr_cli.metrics.niqe import Niqe, normalise

NAMES = ("I03", "I04", "I06", "I08", "I19")


@pytest.fixture
def golden(shared: Path) -> dict[str, list[float]]:
    with (shared / "data" / "iqa_golden" / "scores.csv").open(newline="") as file:
        return {row["metric"]: [float(row[name]) for name in NAMES] for row in csv.DictReader(file)}


@pytest.fixture
def pairs(shared: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    folder = shared / "data" / "iqa_golden"
    return [(read_rgb(folder / "dist" / f"{name}.png"), read_rgb(folder / "ref" / f"{name}.png")) for name in NAMES]


def test_full_reference_scores_are_the_authors(
    pairs: list[tuple[np.ndarray, np.ndarray]], golden: dict[str, list[float]]
) -> None:
    assert [psnr_db(*pair) for pair in pairs] == pytest.approx(golden["PSNR (RGB)"], abs=0.005)
    greys = [(grey(first), grey(second)) for first, second in pairs]
    assert [ssim(*pair) for pair in greys] == pytest.approx(golden["SSIM"], abs=6e-5)
    # The collected figures are those of the code's weighted sum; ours joins by the product, as the paper does.
    sums = [float(np.average(scale_terms(*pair)[0].numpy(), weights=WEIGHTS)) for pair in greys]
    assert sums == pytest.approx(golden["MS-SSIM"], abs=6e-5)


def test_niqe_is_matlabs_within_one_percent(
    pairs: list[tuple[np.ndarray, np.ndarray]], golden: dict[str, list[float]], shared: Path
) -> None:
    niqe = Niqe(weights_dir=shared / "weights" / "metrics")
    assert niqe.key == "niqe"
    assert [niqe(first) for first, _ in pairs] == pytest.approx(golden["NIQE"], rel=0.006)


def test_rounding_noise_of_flat_areas_counts_to_neither_side() -> None:
    """The signs of that noise depend on the order of a sum; they moved scores by 5 %."""
    steps = np.repeat(np.arange(0, 240, 10.0), 16)[None].repeat(96, axis=0)
    coefficients, _ = normalise(steps)
    assert not coefficients[:, 8::16].any()  # as far from the steps as the window reaches
    assert (coefficients[:, 16::16] != 0).all()


def test_grey_is_matlabs() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [1, 1, 1], [10, 20, 30]]], np.uint8)
    assert grey(colours).tolist() == [[76, 150, 29, 255, 1, 18]]
