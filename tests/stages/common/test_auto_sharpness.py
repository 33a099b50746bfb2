"""The choice of a sharpness by photographs without ground truth."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from stages.common.test_dial import camera, run  # noqa: F401

from adaptsr_cli.artifacts.dial import DialRecord
from adaptsr_cli.artifacts.evaluation import DialCurve, DialPoint
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import SILENT
from adaptsr_cli.stages.common.auto_sharpness import SIDE_LR_PX, begin_by_held_out, find_worse, open_crops


def test_what_rises_beyond_its_standard_error_is_worse() -> None:
    def pictures(*values: float) -> list[dict[str, float]]:
        return [{"steady": 1.0, "noise": value} for value in values]

    before = pictures(1.0, 2.0, 3.0)
    assert find_worse(before, pictures(1.2, 2.1, 3.2)) == "noise"
    assert find_worse(before, pictures(0.8, 1.9, 2.9)) is None
    assert find_worse(before, pictures(2.0, 2.0, 2.1)) is None  # one picture alone: its standard error is 0.3
    assert find_worse(before[:1], pictures(1.1)) == "noise"


def record(*psnr_y_db: float) -> DialRecord:
    points = tuple(
        DialPoint(sharpness=place / (len(psnr_y_db) - 1), metrics={"psnr_y_db": score})
        for place, score in enumerate(psnr_y_db)
    )
    return DialRecord(adapter_sha256="", curve=DialCurve(images=4, backbone={"psnr_y_db": 30.0}, points=points))


@pytest.mark.parametrize(
    ("found", "setting", "said"),
    [
        (record(30.4, 30.3, 30.0, 29.5, 29.0), 0.41, "keeps 25% of the +0.40 dB PSNR-Y that the faithful"),
        (record(30.4, 30.6, 30.5), 1.0, "keeps more than 25%"),
        (record(29.9, 30.2), 0.0, "gains no PSNR-Y"),
        (None, 1.0, "older version"),
    ],
)
def test_it_begins_where_a_share_of_the_gain_is_left(found: DialRecord | None, setting: float, said: str) -> None:
    begin = begin_by_held_out(found)
    assert begin.sharpness == setting
    assert said in begin.describe()


def test_crops_are_the_centres_of_the_photographs(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 50, 3), dtype=np.uint8)
    write_rgb(tmp_path / "a.png", photo)
    (crop,) = open_crops([tmp_path / "a.png"], SILENT)
    assert np.array_equal(crop, photo[12 : 12 + SIDE_LR_PX])


def test_photographs_lower_it(adaptsr: Command, run: Path) -> None:  # noqa: F811
    for name, value in enumerate((40, 128, 220)):  # the perceptual adapter of this run wants more contrast
        write_rgb(Path(f"photos/{name}.png"), np.full((60, 70, 3), value, np.uint8))
    Path("photos/3.png").write_bytes(b"no picture")
    write_rgb(Path("photos/4.png"), np.full((9, 70, 3), 90, np.uint8))

    def merge(sharpness: str) -> float:
        done = adaptsr("merge", "--run", run, "--sharpness", sharpness, "-o", "m.pth", "--format", "pth", "--force")
        assert done.code == 0, done.err
        told.append(done.err)
        return float(re.findall(r"sharpness ([\d.]+): ", done.err)[-1])

    told: list[str] = []
    path, record_path = run / "perceptual/adapter.safetensors", run / "perceptual/training/dial.json"
    kept = record(30.4, 30.4, 30.4, 30.4, 30.3).model_copy(update={"adapter_sha256": file_sha256(path)})
    write_document(record_path, kept)
    assert merge("auto") == 1
    assert merge("auto:photos") < 1
    assert "lowered from 1 by 3 photographs: with more, areas would change their colour or light" in told[-1]
    assert "photos/3.png is left out of the choice" in told[-1]
    assert "photos/4.png is left out of the choice: it is smaller than 16 px" in told[-1]
    own = adaptsr("upscale", "photos/0.png", "photos/1.png", "photos/2.png", "--run", run, "--sharpness", "auto")
    assert own.code == 0, own.err
    # By the same photographs it is the same setting.
    assert next(line for line in told[-1].splitlines() if "lowered from" in line) in own.err
    # Of another adapter it says nothing.
    write_document(record_path, kept.model_copy(update={"adapter_sha256": "another"}))
    assert adaptsr("merge", "--run", run, "--sharpness", "auto", "-o", "n.pth").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sharpness", "auto:empty"), "there are no photographs in empty"),
        (("--sharpness", "auto:small"), "can use none of 1 photograph: it is smaller than 16 px"),
        (("--sharpness", "auto:none"), "none"),
    ],
)
def test_nothing_to_choose_by(adaptsr: Command, run: Path, words: tuple[str, ...], said: str) -> None:  # noqa: F811
    Path("empty").mkdir()
    write_rgb(Path("small/0.png"), np.full((12, 20, 3), 90, np.uint8))
    done = adaptsr("merge", "--run", run, *words, "-o", "m.pth")
    assert done.code in {1, 2}
    assert said in done.err
    assert "Traceback" not in done.err
    assert not Path("m.pth").exists()
