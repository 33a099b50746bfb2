"""A camera is measured from files, and what is trained with does what it was measured to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from imaging.scenes import dead_leaves
from numpy.testing import assert_allclose

from adaptsr_cli.artifacts.degradation import CameraGrain, CameraTransfer, DegradationRecord, Jpeg, ToLr
from adaptsr_cli.artifacts.transfer import CameraNoise, TransferEstimate, TransferFunction
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging.from_pairs import estimate_from_pairs
from adaptsr_cli.imaging.measure_camera import degradation_of_camera, degradation_of_pairs, measure_camera
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph
from adaptsr_cli.imaging.training_cameras import cautious_draws
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import SILENT

CAMERA = SimulatedCamera(
    TransferFunction(blur_px=2.5, sharpening=0.4, radius_px=3.0), CameraNoise(read_variance=4.0), (None,)
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """Twelve LR photographs of the camera, and 24 sharp ones."""
    root = tmp_path_factory.mktemp("photos")
    for seed in range(24):
        write_rgb(root / f"sharp{seed:02d}.png", dead_leaves(seed))
    for seed in range(12):
        lr = photograph(dead_leaves(100 + seed), 4, CAMERA, np.random.default_rng(seed))
        write_rgb(root / f"lr{seed:02d}.png", lr)
    return sorted(root.glob("lr*")), sorted(root.glob("sharp*"))


@pytest.fixture(scope="module")
def estimate(folders: tuple[list[Path], list[Path]]) -> TransferEstimate:
    return measure_camera(*folders, 4, SILENT, seed=1)


def test_the_camera_is_found_and_the_same_for_a_seed(
    estimate: TransferEstimate, folders: tuple[list[Path], list[Path]]
) -> None:
    assert estimate.photographs == 12
    assert_allclose(estimate.noise.levels, 2.0, rtol=0.3)
    frequency = np.array(estimate.band.frequency)
    assert np.abs(estimate.transfer.at(frequency) - CAMERA.transfer.at(frequency)).mean() < 0.15
    assert measure_camera(*folders, 4, SILENT, seed=1) == estimate


def test_the_degradation_holds_the_cautious_functions_and_more_than_the_noise(estimate: TransferEstimate) -> None:
    transfer, to_lr, grain = degradation_of_camera(estimate, 4).steps
    assert transfer == CameraTransfer(functions=cautious_draws(estimate), scale=4)
    assert to_lr == ToLr()
    assert isinstance(grain, CameraGrain)
    assert_allclose(grain.noise.read_variance, estimate.noise.read_variance + 1)  # what no function explains


def test_pairs_lend_photographs_less_than_their_whole_function_and_the_noise_of_flat_places() -> None:
    hr = dead_leaves(7)
    found = estimate_from_pairs([(hr, photograph(hr, 4, CAMERA, np.random.default_rng(0)))], 4)
    transfer, to_lr, grain = degradation_of_pairs(found, 4).steps
    assert isinstance(transfer, CameraTransfer)
    assert [function.sharpening for function in transfer.functions] == [
        pytest.approx(share * found.transfer.sharpening) for share in (0.5, 0.75)
    ]
    assert to_lr == ToLr()
    assert grain == CameraGrain(noise=found.noise.model_copy(update={"texture_variance": 0.0}))


def test_jpeg_comes_last_in_its_share(estimate: TransferEstimate) -> None:
    some = estimate.model_copy(update={"jpeg_qualities": (80, 90, 90)})
    jpeg = degradation_of_camera(some, 4).steps[-1]
    assert isinstance(jpeg, Jpeg)
    assert (jpeg.share, jpeg.quality.low, jpeg.quality.high) == (3 / 12, 82, 90)


def test_the_record_gives_back_what_was_written(estimate: TransferEstimate) -> None:
    record = DegradationRecord(degradation=degradation_of_camera(estimate, 4), estimate=estimate)
    assert DegradationRecord.model_validate_json(record.model_dump_json()) == record


def test_large_photographs_are_looked_at_in_windows_and_negative_seeds_taken(tmp_path: Path) -> None:
    for seed in range(8):
        write_rgb(tmp_path / f"{seed}.png", np.tile(dead_leaves(seed), (1, 5, 1)))
    paths = sorted(tmp_path.glob("*.png"))
    assert measure_camera(paths[:1], paths, 4, SILENT, seed=-1).photographs == 1


def test_too_few_sharp_photographs_are_refused(folders: tuple[list[Path], list[Path]]) -> None:
    with pytest.raises(DataError, match="takes 8"):
        measure_camera(folders[0], folders[1][:7], 4, SILENT)
