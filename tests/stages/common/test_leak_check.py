"""A planted leak is found and told, and what shows the same picture stays on one side."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, write_pairs
from networks import save_tiny
from PIL import Image
from skimage import data
from stages.small_runs import QUICK

from adaptsr_cli.data.sources import DataSpec, choose_data
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.common.training_data import TrainingData, open_training_data


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight windows of two photographs that do not overlap."""
    folder = tmp_path_factory.mktemp("scenes")
    for name, image in (("cat", data.chelsea()), ("coffee", data.coffee())):
        for column in range(4):
            part = image[40:280, 108 * column : 108 * column + 104]
            Image.fromarray(part).save(folder / f"{name}{'abcd'[column]}.png")
    return folder


@pytest.fixture
def photos(scenes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scenes, tmp_path / "photos"))


def plant(photos: Path, source: str, target: Path, change: str) -> None:
    """Puts a copy of an image of `photos` elsewhere."""
    image = Image.open(photos / f"{source}.png")
    match change:
        case "crop":
            image = image.crop((10, 20, 100, 200))
        case "mirror":
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        case "rescale":
            image = image.resize((78, 180))
    target.parent.mkdir(exist_ok=True)
    image.save(target, quality=70)


def sides_of(data: TrainingData) -> dict[str, str]:
    parts = {"train": data.train, "val": data.held_out, "test": data.test}
    return {pair.hr.name: side for side, sets in parts.items() for pairs in sets for pair in pairs.pairs}


@pytest.mark.parametrize("seed", range(3))
def test_what_shows_the_same_picture_stays_on_one_side(photos: Path, seed: int) -> None:
    plant(photos, "cata", photos / "holiday.jpg", "none")
    plant(photos, "catc", photos / "x1.png", "crop")
    plant(photos, "coffeeb", photos / "x2.jpg", "mirror")
    plant(photos, "coffeeb", photos / "x3.png", "rescale")
    progress = Silent()
    found = open_training_data(DataSpec.of(photos), None, seed, progress)
    sides = sides_of(found)
    assert len(sides) == 12
    for group in (("cata.png", "holiday.jpg"), ("catc.png", "x1.png"), ("coffeeb.png", "x2.jpg", "x3.png")):
        assert len({sides[name] for name in group}) == 1
    (told,) = (note for note in progress.notes if "show what others show" in note)
    assert told.startswith("4 images of the training data")
    assert "holiday.jpg and cata.png (a copy)" in told
    assert "x1.png and catc.png (" in told
    assert "mirrored" in told
    record = found.record(DataSpec.of(photos))
    scene = {item.name: item.scene for item in (*record.train, *record.held_out)}
    assert scene["holiday"] == scene["cata"] != scene["catc"]
    assert scene["cata"] is not None
    again = open_training_data(DataSpec.of(photos), None, seed, Silent(), known=record)
    assert again.record(DataSpec.of(photos)) == record


def test_a_leak_into_named_folders_is_told_by_name_before_training(photos: Path, tmp_path: Path) -> None:
    val, test = tmp_path / "val", tmp_path / "test"
    for folder in (val, test):
        write_pairs(folder, count=1, side_px=64)
        shutil.move(folder / "hr" / "000.png", folder / f"{folder.name}.png")
        shutil.rmtree(folder / "hr")
        shutil.rmtree(folder / "lr")
    Image.fromarray(data.astronaut()[:200, :200]).save(test / "test.png")
    plant(photos, "cata", val / "v.jpg", "none")
    plant(photos, "coffeec", test / "t.jpg", "crop")
    (photos / "catd.png").rename(val / "own.png")
    plant(val, "own", test / "u.jpg", "mirror")
    progress = Silent()
    open_training_data(DataSpec.of(photos), val, 0, progress, test=test)
    assert [warning.split(": ")[0] for warning in progress.warnings] == [
        f"1 image of `val` {val} shows what is trained on, so the score will be too good",
        f"2 images of `test` {test} show what is trained on (left out of the score then) or chooses the iteration (the "
        "score is a little too good then)",
    ]
    assert "v.jpg and cata.png (a copy)" in progress.warnings[0]
    assert "t.jpg and coffeec.png (overlaps by" in progress.warnings[1] or "(a copy)" in progress.warnings[1]
    assert "u.jpg and own.png (a copy, mirrored)" in progress.warnings[1]


def test_copies_across_folders_are_not_trained_on_where_they_are_held_out(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for path in sorted(photos.iterdir()):
        plant(photos, path.stem, other / f"{path.stem}-again.jpg", "mirror")
    choice = choose_data([str(photos), str(other)], None, None, None, "none")
    progress = Silent()
    sides = sides_of(open_training_data(choice, None, 0, progress))
    held = {name.partition(".")[0].removesuffix("-again") for name, side in sides.items() if side != "train"}
    trained = {name.partition(".")[0].removesuffix("-again") for name, side in sides.items() if side == "train"}
    assert held
    assert trained
    assert not held & trained
    assert any("not trained on, showing the same as held-out ones" in note for note in progress.notes)


def test_a_set_of_one_picture_is_split_all_the_same_and_warned_of(tmp_path: Path) -> None:
    image = data.astronaut()
    for number in range(4):
        folder = tmp_path / "one"
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image[number * 8 : 300 + number * 8, :300])).save(folder / f"{number}.png")
    progress = Silent()
    found = open_training_data(DataSpec.of(tmp_path / "one"), None, 0, progress)
    assert sorted(sides_of(found).values()) == ["train", "train", "train", "val"]
    assert progress.warnings[0].startswith(f"nearly all images of {tmp_path / 'one'} show the same picture")


def test_sketches_are_kept_in_the_cache_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_training_data(DataSpec.of(photos), None, 0, Silent())
    monkeypatch.setattr("adaptsr_cli.data.leaks.make_sketch", None)
    open_training_data(DataSpec.of(photos), None, 0, Silent())
    (photos / "cata.png").unlink()
    open_training_data(DataSpec.of(photos), None, 0, Silent())


def test_the_command_line_tells_of_a_leak(adaptsr: Command, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", count=5, side_px=64)
    val = write_pairs(tmp_path / "val", count=2, side_px=72)  # the same pictures, rescaled
    save_tiny("safmn", Path("m.safetensors"))
    done = adaptsr("train", "--data", pairs, "--val", val, *QUICK)
    assert done.code == 0, done.err
    assert f"warning: 2 images of --val {val} show what is trained on" in done.err
    assert "000.png and 000.png (a copy)" in done.err
