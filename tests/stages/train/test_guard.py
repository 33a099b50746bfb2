"""A training without pairs, or on one shot alone, is guarded: its strength is chosen, kept, told, and used by merge."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, score_little_in
from imaging.scenes import dead_leaves
from networks import save_tiny
from stages.small_runs import weights_of

from adaptsr_cli.api import train
from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.artifacts.transfer import CameraNoise, TransferEstimate, TransferFunction
from adaptsr_cli.imaging.estimate import estimate_camera
from adaptsr_cli.imaging.guard import STRENGTHS, UP_TO_HALF, careful_gain
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import SILENT

CAMERA = SimulatedCamera(TransferFunction(blur_px=2.5), CameraNoise(read_variance=4.0), (None,))
RUN = Path("adaptsr-run")
GUARD = RUN / "training" / "guard.json"


OPTIONS = ("--iterations", 20, "--batch", 2, "--patch", 32, "--lr", 0.01, "--model", "m.safetensors")
WITHOUT_PAIRS = ("train", "--data", "sharp", *OPTIONS, "--degrade", "auto:phone")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, sharp photographs, those of a camera, and a training with these, done once."""
    place = tmp_path_factory.mktemp("once")
    save_tiny("safmn", place / "m.safetensors")
    for seed in range(10):
        sharp = dead_leaves(seed)
        write_rgb(place / "sharp" / f"{seed:02d}.png", sharp)
        if seed < 2:
            lr = photograph(sharp[::-1].copy(), 4, CAMERA, np.random.default_rng(seed))
            write_rgb(place / "phone" / f"{seed}.png", lr)
    with pytest.MonkeyPatch.context() as patch:
        score_little_in(patch)
        patch.chdir(place)
        result = train(
            data="sharp",
            degrade="auto:phone",
            model="m.safetensors",
            iterations=20,
            batch=2,
            patch=32,
            learning_rate=0.01,
        )
    assert result.guard is not None
    return place


@pytest.fixture
def trained(adaptsr: Command, once: Path) -> Command:
    """A copy of that folder as the current one."""
    shutil.copytree(once, Path.cwd(), dirs_exist_ok=True)
    return adaptsr


def test_the_strength_is_chosen_once_and_merged_with(trained: Command) -> None:
    found = read_document(GUARD, GuardRecord)
    assert found.adapter_sha256 == file_sha256(RUN / "adapter.safetensors")
    assert (found.varied, found.versions, found.images) == ("cameras", 12, 2)
    before = GUARD.stat().st_mtime_ns
    again = trained(*WITHOUT_PAIRS, "--json")
    assert json.loads(again.out)["guard"]["strength"] == found.strength
    assert GUARD.stat().st_mtime_ns == before
    assert "strength" in trained("info", GUARD).out

    write_document(GUARD, found.model_copy(update={"strength": 0.5}))
    half = trained("merge", "-o", "half.safetensors")
    assert half.code == 0, half.err
    assert "strength 0.5, as the guard of the training chose" in half.err
    assert trained("merge", "-o", "same.safetensors", "--strength", 0.5).code == 0
    assert trained("merge", "-o", "full.safetensors", "--strength", 1).code == 0
    halves, same, full = (weights_of(Path(f"{name}.safetensors")) for name in ("half", "same", "full"))
    assert all((halves[key] == same[key]).all() for key in halves)
    assert any((halves[key] != full[key]).any() for key in halves)
    refused = trained("export", "--to", "onnx")
    assert refused.code == 1
    assert "guard of the training chose strength 0.5" in refused.err


@pytest.mark.slow
def test_a_final_adapter_has_the_strength_of_those_of_the_folds(trained: Command) -> None:
    """It is trained on all photographs, so none is left that could tell."""
    words = ("adapt", *WITHOUT_PAIRS[1:], "--folds", 3, "--budget", "2k", "--metrics", "psnr", "--run", "f")
    done = trained(*words)
    assert done.code == 0, done.err
    final, *folds = (
        read_document(Path(place) / "training" / "guard.json", GuardRecord)
        for place in ("f", "f/folds/1", "f/folds/2", "f/folds/3")
    )
    assert final.images == sum(guard.images for guard in folds)
    assert final.low_db == pytest.approx(np.mean([guard.low_db for guard in folds], axis=0))
    assert final.median_db == pytest.approx(np.mean([guard.median_db for guard in folds], axis=0))
    careful = careful_gain(np.array(final.low_db), np.array(final.median_db))
    assert final.strength == final.strengths[int(careful.argmax())] > 0
    assert final.adapter_sha256 == file_sha256(Path("f/adapter.safetensors"))


def test_a_kept_backbone_is_warned_of_and_merges_to_itself(trained: Command) -> None:
    found = read_document(GUARD, GuardRecord)
    write_document(GUARD, found.model_copy(update={"strength": 0.0}))
    again = trained(*WITHOUT_PAIRS)
    said = " ".join(again.err.split())
    assert "the backbone is kept" in said
    assert "`adaptsr pair`" in said
    assert trained("merge").code == 0
    merged, backbone = weights_of(RUN / "merged.safetensors"), weights_of(Path("m.safetensors"))
    assert all((merged[key] == backbone[key]).all() for key in backbone)


def test_what_would_help_is_what_is_missing(trained: Command) -> None:
    """Where photos of the camera are named, but could not be compared with the sharp ones, these are too few."""
    record, found = read_document(RUN / "degradation.json", DegradationRecord), read_document(GUARD, GuardRecord)
    assert record.camera is not None
    write_document(GUARD, found.model_copy(update={"strength": 0.0}))
    alone = estimate_camera(sorted(Path("phone").iterdir()), SILENT)
    advice = {record.camera: "larger sharp photos by --data", None: "--degrade auto:FOLDER"}
    for camera in advice:
        changed = record.model_copy(update={"estimate": alone, "camera": camera})
        write_document(RUN / "degradation.json", changed)
        said = " ".join(trained(*WITHOUT_PAIRS[:-2]).err.split())
        assert [one for one in advice.values() if one in said] == [advice[camera]]


def test_half_is_the_most_where_nothing_explains_the_photographs(trained: Command) -> None:
    record = read_document(RUN / "degradation.json", DegradationRecord)
    assert isinstance(record.estimate, TransferEstimate)
    for share, strengths in ((3.0, UP_TO_HALF), (0.5, STRENGTHS)):
        misfit = share * record.estimate.freedom
        changed = record.estimate.model_copy(update={"misfit": misfit})
        write_document(RUN / "degradation.json", record.model_copy(update={"estimate": changed}))
        GUARD.unlink()
        assert trained(*WITHOUT_PAIRS).code == 0
        assert read_document(GUARD, GuardRecord).strengths == strengths


def test_another_adapter_is_not_merged_by_the_guard_of_this_one(trained: Command) -> None:
    found = read_document(GUARD, GuardRecord)
    write_document(GUARD, found.model_copy(update={"strength": 0.5, "adapter_sha256": "0" * 64}))
    done = trained("merge")
    assert done.code == 0, done.err
    assert "as the guard" not in done.err


def test_real_pairs_and_named_degradations_are_not_guarded(trained: Command, pairs: Path) -> None:
    for name, data, more in (("named", "sharp", ("--degrade", "bicubic")), ("real", pairs, ())):
        command = ["train", "--data", data, *OPTIONS, *more, "--run", name]
        done = trained(*command)
        assert done.code == 0, done.err
        assert not (Path(name) / "training" / "guard.json").exists()
    # A file keeps the estimate that its degradation was centred on.
    shutil.copy(RUN / "degradation.json", "camera.json")
    done = trained("train", "--data", "sharp", *OPTIONS, "--degrade", "camera.json", "--run", "file")
    assert done.code == 0, done.err
    assert read_document(Path("file/degradation.json"), DegradationRecord) == read_document(
        RUN / "degradation.json", DegradationRecord
    )
    assert (
        read_document(Path("file") / "training" / "guard.json", GuardRecord).low_db
        == read_document(GUARD, GuardRecord).low_db
    )


def test_a_photograph_with_nothing_in_its_middle_has_no_say(trained: Command) -> None:
    """A white sky that the backbone leaves as it is: by its tens of dB it would outweigh the others."""
    name = read_document(RUN / "training" / "split.json", SplitRecord).held_out[0].name
    picture = dead_leaves(99, 512, 512)
    picture[160:-160, 160:-160] = 255
    write_rgb(Path("sharp") / f"{name}.png", picture)
    done = trained(*WITHOUT_PAIRS, "--run", "white")
    assert done.code == 0, done.err
    found = read_document(Path("white") / "training" / "guard.json", GuardRecord)
    assert (found.versions, found.images) == (12, 1)


@pytest.mark.parametrize("is_grey", [False, True])
def test_parts_of_one_shot_are_tried_in_other_colours(trained: Command, is_grey: bool) -> None:
    hr = dead_leaves(3, 256, 256)
    hr = np.repeat(hr[..., :1], 3, axis=2) if is_grey else hr
    lr = photograph(
        hr, 4, SimulatedCamera(CAMERA.transfer, CameraNoise(read_variance=0), (None,)), np.random.default_rng(0)
    )
    for y in range(0, 64, 16):
        for x in range(0, 64, 16):
            name = f"shot_x{x}_y{y}.png"
            write_rgb(Path("shot") / "hr" / name, hr[4 * y : 4 * y + 64, 4 * x : 4 * x + 64])
            write_rgb(Path("shot") / "lr" / name, lr[y : y + 16, x : x + 16])
    done = trained("train", "--data", "shot", *OPTIONS, "--run", "one")
    assert done.code == 0, done.err
    assert "6 orders of the colours" in " ".join(done.err.split())
    found = read_document(Path("one") / "training" / "guard.json", GuardRecord)
    assert (found.varied, found.versions, max(found.strengths)) == ("colours", 6, 0.5)
    # In grey pictures both sides stay the same, whatever is exchanged.
    assert (found.low_db == pytest.approx(found.median_db, abs=1e-9)) is is_grey
