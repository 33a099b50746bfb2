"""What real pairs show explains other real pairs of the same camera."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.imaging.camera_noise import contrast_of
from adaptsr_cli.imaging.from_pairs import estimate_from_pairs
from adaptsr_cli.imaging.sharp_photographs import reduce_to_lr
from adaptsr_cli.imaging.transfer_function import apply_transfer
from adaptsr_cli.io.images import list_images, read_rgb, resize_bicubic

PAIRS = Path(os.environ.get("ADAPTSR_TEST_DATA", Path(__file__).parents[3] / "shared")) / "data" / "real_pairs"
BORDER = np.s_[6:-6, 6:-6]


def pairs_of(folder: str, prefix: str, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    found = [path for path in list_images(PAIRS / folder / "HR") if path.name.startswith(prefix)][:count]
    sides = [(read_rgb(path), read_rgb(PAIRS / folder / "LR_samesize" / path.name)) for path in found]
    return [(hr, resize_bicubic(lr, lr.shape[1] // 4, lr.shape[0] // 4)) for hr, lr in sides]


@pytest.mark.skipif(not PAIRS.is_dir(), reason="no real pairs in ADAPTSR_TEST_DATA")
@pytest.mark.parametrize(("folder", "prefix", "least_db"), [("iphone", "", 0.5), ("ntire2019", "cam1", 1.0)])
def test_other_pairs_of_a_camera_are_as_its_pairs_say(folder: str, prefix: str, least_db: float) -> None:
    *known, (hr, lr) = pairs_of(folder, prefix, 4)
    found = estimate_from_pairs(known, 4)
    plain = reduce_to_lr(hr.astype(np.float32), 4)
    predicted = reduce_to_lr(apply_transfer(found.transfer, hr), 4)
    errors = [np.square((lr - side)[BORDER]).mean() for side in (plain, predicted)]
    assert 10 * np.log10(errors[0] / errors[1]) > least_db
    left, contrast = (lr - predicted)[BORDER], contrast_of(predicted)[BORDER]
    detailed = contrast > 8
    promised = np.sqrt(np.square(found.noise.deviation(predicted[BORDER], contrast))[detailed].mean())
    assert 0.6 < left[detailed].std() / promised < 1.6
