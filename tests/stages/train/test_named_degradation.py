"""A run keeps the degradation that it was begun with, however it is named later: through the command line."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from imaging.scenes import dead_leaves

from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.transfer import CameraNoise, TransferFunction
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.images import write_rgb

QUICK = ("--iterations", 2, "--batch", 2, "--patch", 32, "--lr", 0.001, "--method", "lora")
TRAIN = ("train", "--data", "sharp", *QUICK)
RUN = Path("adaptsr-run")


@pytest.fixture
def photos(tmp_path: Path) -> None:
    """Sharp photographs, and two cameras' photographs: ``soft``, ``softer``."""
    for seed in range(10):
        write_rgb(tmp_path / "sharp" / f"{seed}.png", dead_leaves(seed))
    for name, blur_px in (("soft", 2.0), ("softer", 3.5)):
        camera = SimulatedCamera(TransferFunction(blur_px=blur_px), CameraNoise(read_variance=4.0), (None,))
        for seed in range(3):
            lr = photograph(dead_leaves(20 + seed), 4, camera, np.random.default_rng(seed))
            write_rgb(tmp_path / name / f"{seed}.png", lr)


@pytest.mark.usefixtures("photos")
def test_a_run_is_not_gone_on_with_by_another_camera(adaptsr: Command) -> None:
    first = adaptsr(*TRAIN, "--degrade", "auto:soft")
    assert first.code == 0, first.err
    record = read_document(RUN / "degradation.json", DegradationRecord)
    for other in ("auto:softer", "auto"):
        refused = adaptsr(*TRAIN, "--degrade", other)
        assert refused.code == 1
        assert f"begun with the camera of other photographs, not with --degrade {other}" in refused.err
    named = adaptsr(*TRAIN, "--degrade", "bicubic")
    assert f"begun with the degradation {record.degradation.name!r}, not with --degrade bicubic" in named.err
    assert adaptsr(*TRAIN, "--degrade", "pairs").code == 2

    shutil.move("soft", "renamed")  # the same photographs
    for same in (("--degrade", "auto:renamed"), ()):
        again = adaptsr(*TRAIN, *same)
        assert again.code == 0, again.err
        assert "finished already" in again.err
    assert read_document(RUN / "degradation.json", DegradationRecord) == record

    config = RUN / "training" / "config.toml"
    assert tomllib.loads(config.read_text())["degrade"] == str((RUN / "degradation.json").resolve())
    repeated = adaptsr("train", "--config", config)
    assert repeated.code == 0, repeated.err
    assert "finished already" in repeated.err


@pytest.mark.usefixtures("photos")
def test_a_preset_may_be_named_or_left_out_when_a_run_goes_on(adaptsr: Command) -> None:
    for first, then in ((("--degrade", "bicubic"), ()), ((), ("--degrade", "bicubic"))):
        assert adaptsr("score", "--data", "sharp", "--batches", 1, "--patch", 32, "--degrade", "bicubic").code == 0
        assert adaptsr(*TRAIN, *first).code == 0
        again = adaptsr(*TRAIN, *then)
        assert again.code == 0, again.err
        assert "finished already" in again.err
        shutil.rmtree(RUN)


@pytest.mark.usefixtures("photos")
def test_scores_by_another_degradation_lie_beside_the_first(adaptsr: Command) -> None:
    assert adaptsr(*TRAIN, "--degrade", "auto:soft").code == 0
    score = ("eval", "--data", "sharp", "--split", "all", "--metrics")
    assert adaptsr(*score, "psnr").code == 0
    first = (RUN / "eval.json").read_bytes()
    assert json.loads(first)["provenance"]["options"]["degrade"] == "camera"
    same = adaptsr(*score, "psnr", "--degrade", "auto:soft")
    assert same.code == 0, same.err
    assert (RUN / "eval.json").read_bytes() == first
    other = adaptsr(*score, "psnr", "--degrade", "bicubic")
    assert other.code == 0, other.err
    assert (RUN / "eval.json").read_bytes() == first
    assert json.loads((RUN / "eval-sharp-all.json").read_bytes())["provenance"]["options"]["degrade"] == "bicubic"

    for name in ("auto:softer", "auto", "pairs"):
        refused = adaptsr(*score, "psnr", "--degrade", name)
        assert refused.code == 2
        assert "leave --degrade out to score with the run's" in refused.err


@pytest.mark.usefixtures("photos")
def test_an_unknown_name_is_answered_with_all_that_go(adaptsr: Command) -> None:
    refused = adaptsr(*TRAIN, "--degrade", "sensor")
    assert refused.code == 2
    assert "use one of bicubic, phone, demo, realesrgan, auto, auto:FOLDER, pairs, or the path of" in refused.err
    assert "did you mean auto" in adaptsr(*TRAIN, "--degrade", "atuo").err


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("name", ["auto", "auto:soft", "pairs"])
def test_what_no_run_has_found_out_cannot_be_scored_by(adaptsr: Command, name: str) -> None:
    refused = adaptsr("eval", "--data", "sharp", "--metrics", "psnr", "--degrade", name)
    assert refused.code == 2
    assert f"--degrade {name}: it is found out where a run is trained on photographs" in refused.err
    assert "hint: name" in refused.err
    assert "or a degradation.json" in refused.err


def test_scores_by_fewer_metrics_do_not_replace_those_by_more(adaptsr: Command, pairs: Path) -> None:
    score = ("eval", "--data", pairs, "--metrics")
    assert adaptsr(*score, "psnr").code == 0
    assert adaptsr(*score, "psnr,ssim").code == 0  # nothing is lost
    both = (RUN / "eval.json").read_bytes()
    refused = adaptsr(*score, "psnr")
    assert refused.code == 1
    assert "holds scores by ssim too" in refused.err
    assert (RUN / "eval.json").read_bytes() == both
    assert adaptsr(*score, "psnr", "--force").code == 0
