"""Images that a run has seen are known in other files too: saved again, mirrored, cropped; through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from imaging.scenes import dead_leaves
from networks import save_tiny
from PIL import Image, ImageOps

from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data import leaks
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.stages.evaluate import seen_copies

QUICK = ("--iterations", 2, "--batch", 1, "--patch", 32, "--lr", 1e-3, "--method", "lora", "--model", "m.safetensors")
RUN = Path("run")


def write_scenes(folder: Path, numbers: range) -> Path:
    """Pairs of x4 with something in them, of 128 px."""
    for number in numbers:
        hr = Image.fromarray(dead_leaves(number)[:128, :128])
        for side, image in (("hr", hr), ("lr", hr.resize((32, 32), Image.Resampling.BICUBIC))):
            path = folder / side / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return folder


@pytest.fixture
def trained(adaptsr: Command, tmp_path: Path) -> SplitRecord:
    """The split of a run on six scenes."""
    save_tiny("safmn", Path("m.safetensors"))
    done = adaptsr("train", "--data", write_scenes(tmp_path / "own", range(6)), "--run", RUN, *QUICK)
    assert done.code == 0, done.err
    assert adaptsr("merge", "--run", RUN).code == 0
    return read_document(RUN / "training" / "split.json", SplitRecord)


def evaluate(adaptsr: Command, data: Path, *words: object) -> tuple[dict[str, Any], str]:
    done = adaptsr("eval", "--data", data, "--run", RUN, "--metrics", "psnr", "--json", *words)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found, " ".join(done.err.split())


def save_again(source: Path, target: Path, names: list[str], change: Callable[[Image.Image], Image.Image]) -> Path:
    for side in ("hr", "lr"):
        (target / side).mkdir(parents=True, exist_ok=True)
        for name in names:
            change(Image.open(source / side / f"{name}.png")).save(target / side / f"x{name}.png", compress_level=1)
    return target


def test_copies_are_known_where_the_set_has_several_scales(adaptsr: Command, tmp_path: Path) -> None:
    own = write_scenes(tmp_path / "own", range(6))
    for path in sorted((own / "hr").iterdir()):
        for scale in (2, 4):
            target = tmp_path / "sets" / "LR" / f"X{scale}" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).resize((128 // scale, 128 // scale), Image.Resampling.BICUBIC).save(target)
    shutil.copytree(own / "hr", tmp_path / "sets" / "HR")
    trained = adaptsr("train", "--data", tmp_path / "sets", "--run", RUN, *QUICK[:-2])  # the embedded network
    assert trained.code == 0, trained.err
    copies = save_again(own, tmp_path / "copies", [f"{number:03d}" for number in range(6)], ImageOps.mirror)
    _, said = evaluate(adaptsr, copies)
    assert "6 images show what the run was trained on or chose its iteration by" in said


@pytest.mark.parametrize("change", [Image.Image.copy, ImageOps.mirror])
def test_copies_are_what_they_show(
    adaptsr: Command, trained: SplitRecord, tmp_path: Path, change: Callable[[Image.Image], Image.Image]
) -> None:
    held_out = [item.name for item in trained.held_out]
    copies = save_again(tmp_path / "own", tmp_path / "copies", [f"{number:03d}" for number in range(6)], change)
    found, said = evaluate(adaptsr, copies)
    assert "6 images show what the run was trained on or chose its iteration by, and count as such" in said
    assert "x000.png and 000.png (a copy" in said
    assert (found["split"], found["seen"]) == ("held-out", "validation")
    assert [image["name"] for image in found["images"]] == [f"x{name}" for name in held_out]
    everything, _ = evaluate(adaptsr, copies, "--split", "all")
    assert (len(everything["images"]), everything["seen"]) == (6, "training")


def test_others_are_never_seen_and_copies_among_them_are_left_out(
    adaptsr: Command, trained: SplitRecord, tmp_path: Path
) -> None:
    others = write_scenes(tmp_path / "others", range(100, 103))
    found, said = evaluate(adaptsr, others)
    assert (len(found["images"]), found["seen"]) == (3, "nothing")
    assert "show what the run" not in said
    save_again(tmp_path / "own", others, [trained.train[0].name], Image.Image.copy)
    found, said = evaluate(adaptsr, others, "--force")
    assert "1 image shows what the run was trained on" in said
    assert (len(found["images"]), found["seen"]) == (3, "nothing")

    shutil.move(tmp_path / "own", tmp_path / "elsewhere")
    _, said = evaluate(adaptsr, others, "--force")
    assert "the images of the training are no longer there" in said


def test_an_image_that_cannot_be_read_costs_the_others_nothing(
    adaptsr: Command, trained: SplitRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose damage only decoding shows."""
    others = write_scenes(tmp_path / "others", range(100, 103))
    save_again(tmp_path / "own", others, [trained.train[0].name], Image.Image.copy)

    def read(path: Path) -> Any:
        if path.name == "101.png":
            raise ImageError(f"cannot read {path}", "replace it")
        return read_rgb(path)

    monkeypatch.setattr(leaks, "read_rgb", read)
    monkeypatch.setattr(seen_copies, "read_rgb", read)
    found, said = evaluate(adaptsr, others)
    assert "1 image shows what the run was trained on" in said
    assert [image["name"] for image in found["images"]] == ["100", "101", "102"]


def test_folders_of_other_systems_keep_what_was_seen(adaptsr: Command, trained: SplitRecord, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "own" / "hr", tmp_path / "theirs")
    found, _ = evaluate(adaptsr, tmp_path / "own", "--split", "all", "--sr", f"theirs={tmp_path / 'theirs'}")
    assert found["seen"] == "training"
    assert [model["name"] for model in found["models"]] == ["backbone", "merged", "theirs"]


def test_a_test_folder_of_copies_is_refused_before_training(
    adaptsr: Command, trained: SplitRecord, tmp_path: Path
) -> None:
    copies = save_again(tmp_path / "own", tmp_path / "copies", [item.name for item in trained.train], ImageOps.mirror)
    refused = adaptsr("adapt", "--data", tmp_path / "own", "--test", copies, "--run", "new", *QUICK)
    assert refused.code == 1
    assert f"every image of --test {copies} shows what is trained on" in refused.err
    assert not Path("new/saliency.json").exists()
