"""What the commands have drawn or upscaled is not taken for photographs, wherever it lies in the folder of these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from networks import save_tiny

from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.stages.pair.matching import find_shots
from tests.conftest import Command, Outcome, noise

PHOTOS = ("a", "a_b", "b")


@pytest.fixture
def photos(adaptsr: Command, tmp_path: Path) -> Path:
    """A folder of photographs with a network in it, which is the working folder."""
    for seed, name in enumerate(PHOTOS):
        write_rgb(tmp_path / f"{name}.png", noise(48, 48, 3, seed=seed))
    save_tiny("span_x2", tmp_path / "net.safetensors")
    return tmp_path


def score(adaptsr: Command, *words: object) -> Outcome:
    done = adaptsr("eval", *words, "--model", "net.safetensors", "--metrics", "psnr", "--force", "--device", "cpu")
    assert done.code == 0, done.err
    return done


def upscale(adaptsr: Command, *words: object) -> None:
    done = adaptsr("upscale", *words, "--model", "net.safetensors", "--device", "cpu")
    assert done.code == 0, done.err


def scored(run: Path) -> list[str]:
    return [image["name"] for image in json.loads((run / "eval.json").read_text())["images"]]


def test_pictures_in_a_run_folder_are_no_photographs(adaptsr: Command, photos: Path) -> None:
    score(adaptsr, "--data", ".", "--run", "deep/first")
    assert (photos / "deep/first/comparison.png").exists()
    done = score(adaptsr, "--data", ".", "--run", "second")
    assert scored(photos / "second") == list(PHOTOS)
    assert "in a run folder, such as comparison.png" in done.err
    upscale(adaptsr, ".", "--recursive", "-o", "big")
    assert {path.name for path in (photos / "big").rglob("*.png")} == {f"{name}_x2.png" for name in PHOTOS}


@pytest.mark.parametrize("suffix", ["_x2", " upscaled", ""])
@pytest.mark.parametrize("ext", ["png", "jpg"])
def test_results_are_no_photographs(adaptsr: Command, photos: Path, suffix: str, ext: str) -> None:
    upscale(adaptsr, ".", "-o", "big", "--suffix", suffix, "--ext", ext)
    done = score(adaptsr, "--data", ".")
    assert scored(photos / "adaptsr-run") == list(PHOTOS)
    assert "3 files: a result of upscale" in done.err


def test_results_beside_a_side_of_pairs_are_on_no_side(adaptsr: Command, photos: Path) -> None:
    upscale(adaptsr, ".", "-o", "pairs/hr", "--suffix", "")  # that is allowed: somebody may want to learn from results
    (photos / "pairs/lr").mkdir()
    for name in PHOTOS:
        (photos / f"{name}.png").rename(photos / "pairs/lr" / f"{name}.png")
    upscale(adaptsr, "pairs/lr")
    for words in (("--data", "pairs"), ("--lr-dir", "pairs/lr", "--hr-dir", "pairs/hr")):
        done = score(adaptsr, *words)
        assert scored(photos / "adaptsr-run") == list(PHOTOS)
        assert "left out in pairs" in done.err
        assert "3 files: a result of upscale, such as a_b_x2.png" in done.err


def test_where_all_photographs_are_results_that_is_told(adaptsr: Command, photos: Path) -> None:
    upscale(adaptsr, ".", "-o", "big")
    assert "warning: all photos of the test data in big are results" in score(adaptsr, "--data", "big").err
    assert len(scored(photos / "adaptsr-run")) == len(PHOTOS)


def test_results_belong_to_no_shot(adaptsr: Command, photos: Path) -> None:
    upscale(adaptsr, ".")
    looked: set[Path] = set()

    def look(first: Path, second: Path) -> float | None:
        looked.update((first, second))
        return None

    with pytest.raises(UsageError, match="none of the 3 photographs belong together"):
        find_shots([photos], None, look, lambda path, error: None)
    assert {path.stem for path in looked} == set(PHOTOS)
