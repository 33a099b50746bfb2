"""Which images ``eval`` scores of those that a run has split, what it says of them, and where it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command, write_pairs
from networks import save_tiny
from stages.small_runs import QUICK, train

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.common.training_data import open_training_data
from adaptsr_cli.stages.evaluate.files import name_data
from adaptsr_cli.stages.evaluate.options import EvaluateOptions

SPLIT = Path("one/training/split.json")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Sixteen pairs, enough for a test part."""
    return write_pairs(tmp_path / "many", count=16, side_px=64)


def evaluate(adaptsr: Command, data: Path, *words: object) -> tuple[dict[str, object], str]:
    done = adaptsr("eval", "--data", data, "--run", "one", "--metrics", "psnr", "--json", *words)
    assert done.code == 0, done.err
    return json.loads(done.out), done.err


def images_of(evaluation: dict[str, object]) -> set[str]:
    return {image["name"] for image in evaluation["images"]}  # type: ignore[attr-defined, index]


def test_from_fifteen_images_on_a_third_part_is_scored_that_nothing_has_seen(adaptsr: Command, many: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    train(adaptsr, many, "one")
    split = read_document(SPLIT, SplitRecord)
    names = [{item.name for item in part} for part in (split.train, split.held_out, split.test)]
    assert [len(part) for part in names] == [10, 3, 3]
    assert len(set().union(*names)) == 16
    found, said = evaluate(adaptsr, many)
    assert (images_of(found), found["split"], found["seen"]) == (names[2], "test", "nothing")
    assert "scoring 3 images that the run has never seen" in said
    held_out, said = evaluate(adaptsr, many, "--split", "held-out")
    assert (images_of(held_out), held_out["seen"]) == (names[1] | names[2], "validation")
    assert "3 images of these chose the iteration" in said
    whole, said = evaluate(adaptsr, many, "--split", "all")
    assert (len(images_of(whole)), whole["seen"]) == (16, "training")
    assert "warning: the run was trained on 10 of these 16 images" in said
    # Each has its own file, and the first one is as it was.
    assert sorted(path.name for path in Path("one").glob("eval*")) == [
        "eval-many-all.json",
        "eval-many-held-out.json",
        "eval.json",
    ]
    assert read_document(Path("one/eval.json"), Evaluation).split == "test"
    assert adaptsr("train", "--data", many, "--run", "one", "--lr", 0.01, *QUICK).code == 0  # finished already


def test_fewer_images_say_that_they_chose_the_iteration(adaptsr: Command, tmp_path: Path) -> None:
    few = write_pairs(tmp_path / "few", count=14, side_px=64)
    save_tiny("safmn", Path("m.safetensors"))
    train(adaptsr, few, "one")
    assert not read_document(SPLIT, SplitRecord).test
    found, said = evaluate(adaptsr, few)
    assert (len(images_of(found)), found["split"], found["seen"]) == (3, "held-out", "validation")
    assert "3 images of these chose the iteration that was kept, so the score is a little too good" in said
    refused = adaptsr("eval", "--data", few, "--run", "one", "--split", "test")
    assert refused.code == 1
    assert "the run keeps no image of" in refused.err


def test_runs_begun_without_a_test_part_go_on_as_they_were(adaptsr: Command, many: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    old = open_training_data(DataSpec.of(many), None, 0, Silent(), test=many)  # as before there was a third part
    assert not old.test
    write_document(SPLIT, old.record(DataSpec.of(many)))
    train(adaptsr, many, "one")
    split = read_document(SPLIT, SplitRecord)
    assert (len(split.train), len(split.held_out), split.test) == (13, 3, ())
    found, _ = evaluate(adaptsr, many)
    assert (len(images_of(found)), found["seen"]) == (3, "validation")
    train(adaptsr, many, "one", "--force")
    assert len(read_document(SPLIT, SplitRecord).test) == 3


def test_a_test_folder_takes_the_place_of_the_third_part(adaptsr: Command, many: Path, tmp_path: Path) -> None:
    other = write_pairs(tmp_path / "other", count=2, side_px=68, seed=100)
    save_tiny("safmn", Path("m.safetensors"))
    train(adaptsr, many, "one", "--test", other)
    split = read_document(SPLIT, SplitRecord)
    assert (len(split.train), len(split.held_out), len(split.test)) == (13, 3, 0)
    assert "test = " in Path("one/training/config.toml").read_text()
    found, _ = evaluate(adaptsr, other)
    assert (found["split"], found["seen"]) == ("all", "nothing")


def test_another_data_set_has_files_of_its_own(adaptsr: Command, tmp_path: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    words = ("eval", "--model", "m.safetensors", "--metrics", "psnr", "--run", "one")
    for number, folder in enumerate(("a/Set5", "b/Set5", "c/Set5", "b/Set5")):  # the same again is the same file
        data = write_pairs(tmp_path / folder, count=1 + number % 3, side_px=64) if number < 3 else tmp_path / folder
        done = adaptsr(*words, "--data", data)
        assert done.code == 0, done.err
    sizes = {path.name: len(read_document(path, Evaluation).images) for path in Path("one").glob("eval*.json")}
    assert sizes == {"eval.json": 1, "eval-Set5.json": 2, "eval-Set5-2.json": 3}
    for kind, suffix in (("comparison", "png"), ("report", "html")):
        assert len(list(Path("one").glob(f"{kind}*.{suffix}"))) == 3
    write_pairs(tmp_path / "b/Set5", count=4, side_px=64)  # other images in the folder that was scored
    changed = adaptsr(*words, "--data", tmp_path / "b/Set5")
    assert changed.code == 1
    assert "one/eval-Set5.json holds another evaluation" in changed.err
    assert "of other images" in changed.err


@pytest.mark.parametrize(
    ("folder", "split", "name"),
    [("sets/Set14/HR", None, "Set14-HR"), ("a b", "all", "a-b-all"), ("x/test", None, "x-test")],
)
def test_data_sets_are_named_by_their_folders(folder: str, split: str | None, name: str, tmp_path: Path) -> None:
    options = EvaluateOptions(data=(str(tmp_path / folder),), split=split)
    assert name_data(options) == name


def test_tables_written_by_older_versions_are_read(adaptsr: Command, tmp_path: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    data = write_pairs(tmp_path / "two", count=2, side_px=64)
    words = ("eval", "--model", "m.safetensors", "--sr", f"x={data / 'hr'}", "--metrics", "psnr", "--run", "one")
    assert adaptsr(*words, "--data", data).code == 0
    path = Path("one/eval.json")
    content = json.loads(path.read_text())
    del content["seen"]
    for test in content["comparisons"]:
        del test["test"], test["scenes"]
    for image in content["images"]:
        del image["scene"]
    path.write_text(json.dumps(content))
    assert read_document(path, Evaluation).comparisons[0].test == "wilcoxon"
    assert adaptsr("info", path).code == 0
