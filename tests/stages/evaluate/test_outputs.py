"""Outputs of other systems are found by the names that these systems give them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from adaptsr_cli.errors import DataError
from adaptsr_cli.stages.evaluate.outputs import find_outputs
from tests.conftest import Command
from tests.stages.evaluate.test_stage import make_outputs


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    "name",
    [
        *("baby.jpg", "baby_x4.png", "baby_out.png", "baby-4x.png", "baby_SR.png", "baby_HAT_x4.png", "babyx4.png"),
        *("baby (1).png", "baby.4x.png", "baby_SwinIR_large.png", "SR_baby.png", "4x-baby.png"),
    ],
)
def test_names_that_other_tools_give(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "babylon_x4.png", "crybaby.png")
    assert find_outputs(tmp_path, ["baby", "babylon"])["baby"].name == name


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_letters_with_accents_are_the_same_from_every_system(tmp_path: Path, forms: tuple[Any, Any]) -> None:
    image, output = (normalize(form, "café") for form in forms)
    (tmp_path / f"{output}_x4.png").touch()
    assert find_outputs(tmp_path, [image]) == {image: tmp_path / f"{output}_x4.png"}


def test_images_whose_names_begin_alike_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "img_x4.png", "img_1_x4.png", "img_1_2_x4.png", "img_10_x4.png")
    found = find_outputs(tmp_path, ["img", "img_1", "img_1_2", "img_10", "gone"])
    assert {image: path.name for image, path in found.items()} == {
        "img": "img_x4.png",
        "img_1": "img_1_x4.png",
        "img_1_2": "img_1_2_x4.png",
        "img_10": "img_10_x4.png",
    }


def test_outputs_may_be_called_without_the_scale_that_both_sides_name(tmp_path: Path) -> None:
    touch(tmp_path, "0801_SwinIR.png")
    assert find_outputs(tmp_path, ["0801x4"])["0801x4"].name == "0801_SwinIR.png"


def test_two_outputs_of_one_image_and_none_for_any(tmp_path: Path) -> None:
    touch(tmp_path / "two", "baby.png", "baby.jpg")
    with pytest.raises(DataError, match="2 images for 'baby'"):
        find_outputs(tmp_path / "two", ["baby"])
    touch(tmp_path / "other", "x.npy", "y.png")
    with pytest.raises(DataError, match=r"no image for 'baby', nor for any other, but 1 file: .*\.npy"):
        find_outputs(tmp_path / "other", ["baby"])


def test_folders_are_scored_beside_the_models_of_the_run(adaptsr: Command, pairs: Path) -> None:
    outputs = make_outputs(pairs / "hr", Path("theirs"), suffix="-4x")
    photos = ("--data", pairs / "hr", "--metrics", "psnr", "--sr", f"theirs={outputs}", "--json")
    alone = adaptsr("eval", *photos)  # photographs do not tell the scale
    assert alone.code == 2
    assert "do not tell the scale" in alone.err
    train = adaptsr("score", "--data", pairs, "--run", "run", "--batches", 1, "--batch", 1)
    assert train.code == 0, train.err
    beside = adaptsr("eval", *photos, "--run", "run")
    assert beside.code == 0, beside.err
    assert [model["name"] for model in json.loads(beside.out)["models"]] == ["backbone", "theirs"]
