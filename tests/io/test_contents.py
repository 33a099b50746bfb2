"""Every file of a folder is an image or left out for a reason that is told."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.contents import (
    BROKEN_LINK,
    LINK_BACK,
    NO_FILE,
    NO_PERMISSION,
    TOO_DEEP,
    packed_data,
    read_contents,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names_of(root: Path, **options: int) -> tuple[list[str], dict[str, list[str]]]:
    """Images and, by reason, other files, below the root."""
    contents = read_contents(root, **options)
    images = [path.relative_to(root).as_posix() for paths in contents.images.values() for path in paths]
    left = {group.reason: [path.relative_to(root).as_posix() for path in group.paths] for group in contents.left_out()}
    return images, left


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("@eaDir/a.png/SYNOFILE_THUMB_XL.jpg", "a thumbnail or preview of a system"),
        ("SYNOFILE_THUMB_M.png", "a thumbnail or preview of a system"),
        (".@__thumb/default.jpg", "a thumbnail or preview of a system"),
        (".thumbnails/a.png", "a thumbnail or preview of a system"),
        (".AppleDouble/a.png", "a thumbnail or preview of a system"),
        ("Catalog Previews.lrdata/0/a.jpg", "a thumbnail or preview of a system"),
        ("#recycle/a.png", "in a recycle bin"),
        ("@Recycle/a.png", "in a recycle bin"),
        ("$RECYCLE.BIN/S-1-5/a.png", "in a recycle bin"),
        (".Trash-1000/files/a.png", "in a recycle bin"),
        ("lost+found/#123.png", "left behind by a system"),
        ("System Volume Information/a.png", "left behind by a system"),
        ("__MACOSX/._a.png", "left behind by a system"),
        ("._a.png", "left behind by a system"),
        ("Thumbs.db", "left behind by a system"),
        (".DS_Store", "left behind by a system"),
        ("desktop.ini", "left behind by a system"),
        (".a.png.icloud", "not downloaded from the cloud"),
        (".git/a.png", "hidden"),
        (".partial-a.png", "hidden"),
        ("a.psd", "of an image type that is not read (.psd)"),
        ("a.npy", "of an image type that is not read (.npy)"),
        ("a.txt", "no image (.txt)"),
        ("README", "without a type in its name"),
    ],
)
def test_what_is_no_image_is_counted_with_its_reason(tmp_path: Path, name: str, reason: str) -> None:
    touch(tmp_path, "photo.png", "below/photo.jpg", name)
    images, left = names_of(tmp_path)
    assert images == ["photo.png", "below/photo.jpg"]
    assert left == {reason: [name]}


@pytest.mark.parametrize(
    ("name", "text", "is_run"),
    [
        ("run.json", '{\n "artifact": "run",', True),
        ("eval.json", '{\n "artifact": "eval",', True),
        ("run.json", '{"run": 1}', False),
        ("split.json", '{\n "artifact": "run",', False),
        ("eval.json", None, False),
    ],
)
def test_a_run_folder_below_is_known_by_its_records(tmp_path: Path, name: str, text: str | None, is_run: bool) -> None:
    touch(tmp_path, "photo.png", "run/comparison.png", "run/training/curves.png")
    record = tmp_path / "run" / name
    if text is None:
        os.mkfifo(record)
    else:
        record.write_text(text)
    pictures = ["run/comparison.png", "run/training/curves.png"]
    images, others = names_of(tmp_path)
    assert images == ["photo.png", *([] if is_run else pictures)]
    assert sorted(others.get("in a run folder", [])) == ([*pictures[:1], f"run/{name}", pictures[1]] if is_run else [])
    assert names_of(tmp_path / "run")[0] == ["comparison.png", "training/curves.png"]  # named by itself it is read


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "store/a.png", "data/own/b.png")
    data = tmp_path / "data"
    (data / "linked").symlink_to(tmp_path / "store")
    (data / "own" / "back").symlink_to(data)
    (data / "own" / "far").symlink_to(tmp_path)
    (tmp_path / "store" / "round").symlink_to(tmp_path / "data" / "own")
    (data / "gone.png").symlink_to(tmp_path / "nowhere")
    (data / "self").symlink_to(data / "self")
    images, left = names_of(data)
    assert sorted(images) == ["linked/a.png", "linked/round/b.png", "own/b.png"]
    assert left[BROKEN_LINK] == ["gone.png", "self"]
    assert left[LINK_BACK] == ["linked/round/back", "linked/round/far", "own/back", "own/far"]
    linked_root = tmp_path / "by-link"
    linked_root.symlink_to(data)
    assert sorted(path.name for path in read_contents(linked_root).images["own",]) == ["b.png"]


def test_depth_pipes_and_folders_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "1/2/a.png", "1/2/3/b.png")
    os.mkfifo(tmp_path / "pipe.png")
    images, left = names_of(tmp_path, max_depth=2)
    assert (images, left) == (["1/2/a.png"], {TOO_DEEP: ["1/2/3/b.png"], NO_FILE: ["pipe.png"]})
    assert names_of(tmp_path, recursive=False) == ([], {NO_FILE: ["pipe.png"]})
    with pytest.raises(ImageError, match="cannot read the folder"):
        read_contents(tmp_path / "missing")
    told: list[Path] = []
    assert not read_contents(tmp_path / "missing", on_fault=lambda folder, _: told.append(folder)).images
    assert told == [tmp_path / "missing"]


class Locked:
    """An entry of a folder that may be listed but not entered, which root could enter."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name, self.path = entry.name, entry.path

    def stat(self) -> os.stat_result:
        raise PermissionError(13, "Permission denied", self.path)


def test_files_without_permission_are_not_taken_for_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "b.png")
    entries = [Locked(entry) for entry in os.scandir(tmp_path)]
    monkeypatch.setattr(os, "scandir", lambda folder: nullcontext(entries))
    images, left = names_of(tmp_path)
    assert (images, left) == ([], {NO_PERMISSION: ["a.png", "b.png"]})
    assert all(group.is_unexpected for group in read_contents(tmp_path).left_out())


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (("hr.lmdb/data.mdb", "hr.lmdb/lock.mdb"), r"hr.lmdb is an LMDB, which is not read: .*import lmdb"),
        (("data.mdb",), "is an LMDB"),
        (("shard-000000.tar", "shard-000001.tar"), "2 tar files, the shards of a WebDataset"),
        (("set5.zip",), "unpack set5.zip first"),
        (("train.parquet",), "Hugging Face"),
        (("a.tfrecord",), "TFRecord"),
        (("a.h5",), "HDF5"),
        (("a.npy",), "NumPy"),
        (("notes.txt",), "^$"),
    ],
)
def test_packed_data_is_recognised_by_name(tmp_path: Path, names: tuple[str, ...], advice: str) -> None:
    touch(tmp_path, *names)
    assert re.search(advice, packed_data(read_contents(tmp_path), tmp_path))
