"""One bad image never costs the others their scores, least of all after a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.images import read_rgb, write_rgb
from tests.conftest import Command, write_pairs

SCORE = ("--model", "safmn-x4-bicubic", "--run", "run", "--metrics", "psnr,ssim", "--json")


def spoil(folder: Path, name: str, kind: str) -> None:
    """Make one pair of a folder unusable in one of the ways that happen."""
    hr, lr = folder / "hr" / name, folder / "lr" / name
    match kind:
        case "tiny":
            write_rgb(hr, np.zeros((16, 16, 3), np.uint8))
            write_rgb(lr, np.zeros((4, 4, 3), np.uint8))
        case "other size":
            write_rgb(hr, np.zeros((96, 80, 3), np.uint8))
        case "truncated":
            hr.write_bytes(hr.read_bytes()[:-200])
        case "empty":
            lr.write_bytes(b"")
        case "exchanged":
            content = hr.read_bytes()
            hr.write_bytes(lr.read_bytes())
            lr.write_bytes(content)


@pytest.mark.parametrize("kind", ["tiny", "other size", "truncated", "exchanged"])
def test_a_bad_image_is_named_and_left_out_of_the_means(adaptsr: Command, pairs: Path, kind: str) -> None:
    spoil(pairs, "002.png", kind)
    done = adaptsr("eval", "--data", pairs, *SCORE)
    assert done.code == 1
    assert "002" in done.err
    found = json.loads(done.out)
    assert [image["name"] for image in found["images"]] == ["000", "001", "003", "004", "005"]
    assert [image["name"] for image in found["left_out"]] == ["002"]
    assert found["models"][0]["spread"]["ssim_y"]["images"] == 5
    account = found["files"][0]
    assert (account["files"], account["used"]) == (12, {"scored": 10})
    assert [(group["files"], "002.png" in group["examples"][0]) for group in account["left_out"]] == [(2, True)]
    assert read_document(Path("run/eval.json"), Evaluation).left_out[0].name == "002"


@pytest.mark.parametrize("kind", ["tiny", "other size", "truncated"])
def test_strict_refuses_it_before_any_work(adaptsr: Command, pairs: Path, kind: str) -> None:
    spoil(pairs, "002.png", kind)
    done = adaptsr("eval", "--data", pairs, *SCORE, "--strict")
    assert (done.code, done.out) == (1, "")
    assert "1 of 6" in done.err
    assert "002" in done.err
    assert "eval:" not in done.err
    assert not Path("run/eval.json").exists()


@pytest.mark.parametrize("metrics", ["ms_ssim", "niqe"])
def test_images_too_small_for_all_are_an_error(adaptsr: Command, pairs: Path, metrics: str) -> None:
    done = adaptsr("eval", "--data", pairs, *SCORE[:4], "--metrics", metrics)
    assert done.code == 1
    assert f"6 of 6 images cannot be scored: 000: an image of 88x88 px is too small for {metrics}" in done.err


def test_outputs_of_another_size_cost_only_their_image(adaptsr: Command, pairs: Path) -> None:
    for path in sorted((pairs / "hr").iterdir()):
        write_rgb(Path("sr") / path.name, read_rgb(path)[:, : 88 if path.stem == "001" else None])
    done = adaptsr("eval", "--data", pairs, *SCORE, "--sr", "other=sr")
    assert done.code == 1
    found = json.loads(done.out)
    assert [image["name"] for image in found["left_out"]] == ["001"]
    assert found["models"][1]["metrics"]["psnr_rgb_db"] == 100
    done = adaptsr("eval", "--data", pairs, *SCORE, "--sr", "other=sr", "--strict", "--force")
    assert done.code == 1
    assert "1 of 6 images cannot be scored: 001: other has 88x96 px for 96x96" in done.err


TRAIN = ("--run", "run", "--iterations", 1, "--batch", 1, "--patch", 32, "--metrics", "psnr,ssim")


def test_adapt_names_a_bad_test_image_before_and_keeps_all_else(adaptsr: Command, pairs: Path, tmp_path: Path) -> None:
    test = write_pairs(tmp_path / "test", count=3, side_px=64, seed=100)
    spoil(test, "001.png", "tiny")
    spoil(test, "002.png", "truncated")
    refused = adaptsr("adapt", "--data", pairs, "--test", test, *TRAIN, "--strict")
    assert refused.code == 1
    assert "002.png" in refused.err
    assert not Path("run/adapter.safetensors").exists()
    done = adaptsr("adapt", "--data", pairs, "--test", test, *TRAIN, "--json")
    assert done.code == 1
    assert done.err.index("002.png") < done.err.index("training")
    assert [image["name"] for image in json.loads(done.out)["left_out"]] == ["002", "001"]
    assert Path("run/merged.safetensors").exists()
    assert list(Path("run/upscaled").iterdir())


def test_adapt_without_a_single_score_keeps_what_it_trained(adaptsr: Command, pairs: Path, tmp_path: Path) -> None:
    test = write_pairs(tmp_path / "test", count=2, side_px=16)
    done = adaptsr("adapt", "--data", pairs, "--test", test, *TRAIN, "--json")
    assert done.code == 1
    assert "what was trained is kept, but: 2 of 2 images cannot be scored" in done.err
    found = json.loads(done.out)
    assert "2 of 2 images" in found["fault"]
    assert Path(found["adapter"]).exists()
    assert Path("run/merged.safetensors").exists()


def test_strict_measures_photographs_without_reference_as_large_as_they_become(adaptsr: Command, pairs: Path) -> None:
    words = ("eval", "--data", pairs / "hr", *SCORE[:4], "--protocol", "no-reference", "--metrics", "niqe", "--strict")
    done = adaptsr(*words)  # 96 px are too small for niqe, and four times as many are not
    assert done.code == 0, done.err
