from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs

from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data.cache import ImageCache
from adaptsr_cli.data.sources import Align, DataSpec, WeightedFolder, choose_data
from adaptsr_cli.data.splits import split_pairs
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.images import read_rgb, write_rgb
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.common.splitting import keep_roles
from adaptsr_cli.stages.common.training_data import (
    TrainingData,
    open_pairs,
    open_reader,
    open_training_data,
)


def choose(*folders: object, align: Align = "none") -> DataSpec:
    return choose_data([str(folder) for folder in folders], None, None, None, align)


def write_photos(folder: Path, count: int) -> Path:
    for index in range(count):
        pixels = np.random.default_rng(100 + index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        write_rgb(folder / f"p{index}.png", pixels)
    return folder


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "a", count=5)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "b", 9)


def names_of(data: TrainingData) -> tuple[set[str], set[str]]:
    train = {f"{pairs.root.name}/{pair.name}" for pairs in data.train for pair in pairs.pairs}
    return train, {f"{pairs.root.name}/{pair.name}" for pairs in data.held_out for pair in pairs.pairs}


def test_pairs_and_photos_mix_and_a_fifth_of_each_is_held_out(a: Path, b: Path) -> None:
    progress = Silent()
    data = open_training_data(choose(a, f"{b}:0.25"), None, 0, progress)
    train, held_out = names_of(data)
    assert (len(train), len(held_out)) == (11, 3)
    assert not train & held_out
    assert "mix: a 80 % (4 pairs), b 20 % (7 photos)" in progress.notes
    assert "11 images to train on, 3 held out for validation" in progress.notes
    alone = split_pairs(open_pairs(choose(a), "train", Silent())[0], seed=0).held_out
    assert {f"a/{pair.name}" for pair in alone.pairs} == {name for name in held_out if name.startswith("a/")}
    reader = open_reader(data.held_out, 4, DEGRADATIONS["bicubic"], 0, ImageCache(1 << 20))
    assert len(reader) == 3
    assert all(hr.shape[0] == 4 * lr.shape[0] for lr, hr in map(reader.read, range(3)))


def test_the_fingerprint_tells_weights_and_shifts_but_not_places(a: Path, b: Path, tmp_path: Path) -> None:
    def fingerprint(*folders: object) -> str:
        return open_training_data(choose(*folders), None, 0, Silent()).fingerprint

    first = fingerprint(a, f"{b}:0.5")
    assert fingerprint(a, f"{b}:0.25") != first
    assert fingerprint(f"{a}:2", f"{b}:1") == first
    assert fingerprint(a) != first
    shutil.copytree(a, tmp_path / "moved" / "elsewhere")
    assert fingerprint(tmp_path / "moved" / "elsewhere", f"{b}:0.5") == first


def test_a_copy_of_a_held_out_image_is_not_trained_on(a: Path, b: Path, tmp_path: Path) -> None:
    held = open_training_data(choose(b), None, 0, Silent()).held_out[0].pairs[0].hr
    shutil.copy(held, b / "again.png")
    progress = Silent()
    data = open_training_data(choose(b), None, 0, progress)
    train, held_out = names_of(data)
    contents = {name: (b.parent / f"{name}.png").read_bytes() for name in train | held_out}
    assert not {contents[name] for name in train} & {contents[name] for name in held_out}
    assert any(
        "1 image of the training data shows what others show, and stays on one side" in note for note in progress.notes
    )
    shutil.copytree(a, tmp_path / "copy")
    train, held_out = names_of(open_training_data(choose(a, tmp_path / "copy"), None, 0, progress))
    assert len(train) == 8
    assert len(held_out) == 2


def test_the_record_covers_all_sets(a: Path, b: Path, tmp_path: Path) -> None:
    choice = choose(a, f"{b}:0.25", align="shift")
    data = open_training_data(choice, None, 0, Silent())
    split = data.record(choice)
    write_document(tmp_path / "split.json", split)
    assert read_document(tmp_path / "split.json", SplitRecord) == split
    assert [(source.weight, source.images) for source in split.sources] == [(None, 4), (0.25, 7)]
    assert split.align == "shift"
    assert len({item.name for item in (*split.train, *split.held_out)}) == 14
    for pairs in open_pairs(choose(a, b), "test", Silent()):
        kept = keep_roles(pairs, split, ("validation",))
        assert {f"{pairs.root.name}/{pair.name}" for pair in kept.pairs} == {
            item.name for item in split.held_out if item.name.startswith(pairs.root.name)
        }


def test_validation_images_in_any_of_the_folders_are_refused(a: Path, b: Path) -> None:
    with pytest.raises(DataError, match=r"9 images of `val` .*b are in the training data"):
        open_training_data(choose(a, b), b, 0, Silent())


def test_sides_and_lists_open_as_folders_do(a: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"a/hr/{n:03d}.png, a/lr/{n:03d}.png\n" for n in range(5)))
    by_sides = DataSpec(hr=a / "hr", lr=a / "lr")
    by_list = DataSpec(list_file=tmp_path / "list.txt")
    texts = []
    for choice in (choose(a), by_sides, by_list):
        progress = Silent()
        data = open_training_data(choice, None, 0, progress)
        texts.append(data.fingerprint)
        assert progress.notes[0].startswith("train data: ")
        assert progress.notes[0].endswith("5 pairs")
    assert len(set(texts)) == 1


def test_all_pairs_of_all_sets_are_checked(a: Path, b: Path) -> None:
    (b / "p3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 9 pairs of the train data in .*b cannot be used: .*p3\.png"):
        open_training_data(choose(a, b), None, 0, Silent())


def shift_lr(folder: Path, name: str, down_px: int) -> None:
    path = folder / "lr" / name
    write_rgb(path, np.roll(read_rgb(path), down_px, axis=0))


def write_detailed_pairs(folder: Path, count: int) -> Path:
    for index in range(count):
        hr = np.random.default_rng(index).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        hr = np.kron(hr[:32, :32], np.ones((3, 3, 1), np.uint8))
        write_rgb(folder / "hr" / f"{index}.png", hr)
        write_rgb(folder / "lr" / f"{index}.png", hr)
    return folder


def test_shifts_are_reported_and_put_right(tmp_path: Path) -> None:
    folder = write_detailed_pairs(tmp_path / "camera", 6)
    shift_lr(folder, "1.png", 2)
    shift_lr(folder, "2.png", -3)
    write_rgb(folder / "lr" / "4.png", read_rgb(folder / "hr" / "0.png"))
    progress = Silent()
    (plain,) = open_pairs(choose(folder), "train", progress)
    assert len(plain) == 6
    assert any(
        note.startswith("residual shift: median 0.0 px, largest 3.0 px (2); colour gain R 1.00")
        for note in progress.notes
    )
    assert "1 pair whose sides do not match: 4" in progress.notes
    assert progress.warnings == ["2 of 6 pairs are shifted by 0.5 px or more; `align` shift corrects whole pixels"]
    progress = Silent()
    (aligned,) = open_pairs(choose(folder, align="shift"), "train", progress)
    assert {pair.name: pair.shift for pair in aligned.pairs} == {
        "0": (0, 0),
        "1": (2, 0),
        "2": (-3, 0),
        "3": (0, 0),
        "5": (0, 0),
    }
    assert progress.warnings == []
    assert "1 pair left out, since the sides do not match: 4" in progress.notes
    cache = ImageCache(1 << 20)
    before, after = (open_reader((pairs,), 4, None, 0, cache) for pairs in (plain, aligned))
    assert after.hr_size(1) == (96, 92)
    assert after.read(1)[1].shape == (92, 96, 3)
    assert before.read(1)[1].shape == (96, 96, 3)


def test_what_is_scored_is_measured_only_to_be_aligned(tmp_path: Path) -> None:
    folder = write_detailed_pairs(tmp_path / "camera", 2)
    progress = Silent()
    open_pairs(choose(folder), "test", progress)
    assert not any("residual shift" in note for note in progress.notes)
    open_pairs(choose(folder, align="shift"), "test", progress)
    assert any("residual shift" in note for note in progress.notes)


def test_validation_pairs_are_aligned_too(tmp_path: Path) -> None:
    train = write_detailed_pairs(tmp_path / "train", 2)
    val = write_detailed_pairs(tmp_path / "val", 4)
    for side in ("lr", "hr"):
        for name in ("0.png", "1.png"):
            (val / side / name).unlink()
    shift_lr(val, "3.png", 2)
    data = open_training_data(choose(train, align="shift"), val, 0, Silent())
    assert [pair.shift for pair in data.held_out[0].pairs] == [(0, 0), (2, 0)]


def test_nothing_is_written_outside_the_cache_folder(a: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    open_training_data(DataSpec((WeightedFolder(a, None),)), None, 0, Silent())
    assert sorted(tmp_path.rglob("*")) == before
    assert len(list(Path(os.environ["ADAPTSR_CACHE"]).rglob("*.json"))) == 1


def test_from_fifteen_images_on_a_third_part_is_kept_and_restored(a: Path, b: Path) -> None:
    write_photos(b, 12)
    choice = choose(a, b)
    progress = Silent()
    data = open_training_data(choice, None, 0, progress)
    parts = [{pair.hr for pairs in part for pair in pairs.pairs} for part in (data.train, data.held_out, data.test)]
    assert [len(part) for part in parts] == [11, 3, 3]
    assert "11 images to train on, 3 held out for validation, 3 for the test alone" in progress.notes
    split = data.record(choice)
    again = open_training_data(choice, None, 7, Silent(), known=split)  # the run's split goes before another seed
    assert again.record(choice) == split
    assert again.fingerprint == data.fingerprint
    assert open_training_data(choice, None, 7, Silent()).record(choice) != split
    named = open_training_data(choice, None, 0, Silent(), test=a)
    assert not named.test
    assert named.held_out[0].pairs == data.held_out[0].pairs
    write_photos(b, 13)  # other images, so another split
    other = open_training_data(choice, None, 0, Silent(), known=split).record(choice)
    assert len((*other.train, *other.held_out, *other.test)) == 18


def test_a_split_with_copies_is_restored_without_them(b: Path, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    for path in sorted(b.iterdir()):
        shutil.copy(path, tmp_path / "copies" / f"{path.stem}again.png")
    choice = choose(b, tmp_path / "copies")
    split = open_training_data(choice, None, 0, Silent()).record(choice)
    parts = [split.train, split.held_out, split.test, split.unused]
    assert sum(map(len, parts)) < 18  # copies of held-out images are on no side
    assert open_training_data(choice, None, 0, Silent(), known=split).record(choice) == split


def test_the_record_names_the_scenes(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 6)
    for index in range(4):
        (photos / f"p{index}.png").rename(photos / f"shot{index // 2}_burst{index}.png")
    split = open_training_data(choose(photos), None, 0, Silent()).record(choose(photos))
    scenes = {item.name: item.scene for item in (*split.train, *split.held_out)}
    assert scenes["shot0_burst1"] == scenes["shot0_burst0"] == "shot0"
    assert scenes["p5"] is None
