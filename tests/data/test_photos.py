from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.data import photos
from adaptsr_cli.data.layouts import find_pairs
from adaptsr_cli.data.photos import demo_photos, write_demo_pairs
from adaptsr_cli.data.preflight import check_pairs
from adaptsr_cli.errors import DataError, OutputExistsError, UsageError
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.progress import Silent


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the demo reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_photos_are_colour_photographs_and_never_in_both_parts() -> None:
    train, test = demo_photos()
    assert not {name for name, _ in train} & {name for name, _ in test}
    assert len(test) >= 2
    for name, rgb in [*train, *test]:
        assert rgb.dtype == np.uint8, name
        assert rgb.shape[2] == 3
        assert min(rgb.shape[:2]) >= 256
        assert rgb.std() > 10
    for name, rgb in test:
        assert np.ptp(rgb.astype(int), axis=2).mean() > 10, f"{name} is grey"


def test_demo_pairs_are_plain_pairs_of_both_splits(tmp_path: Path) -> None:
    write_demo_pairs(tmp_path / "demo", 4, 0)
    for role in ("train", "test"):
        found = find_pairs(tmp_path / "demo", role=role, scale=4)  # type: ignore[arg-type]
        pairs = check_pairs(found, Silent()).pairs
        assert (pairs.ratio, pairs.split, pairs.notes) == (4, role, ())
        assert len(pairs) == len(demo_photos()[role == "test"])
    hr = read_rgb(tmp_path / "demo" / "test" / "hr" / "coffee.png")
    assert np.array_equal(hr, dict(demo_photos()[1])["coffee"])


def test_demo_pairs_depend_on_the_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_TRAIN", ("coins.png", "camera.png"))
    monkeypatch.setattr(photos, "_TEST", ("chelsea.png",))
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_demo_pairs(tmp_path / name, 4, seed)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.png"))
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    lr = Path("train/lr/camera.png")
    assert (tmp_path / "a" / lr).read_bytes() != (tmp_path / "c" / lr).read_bytes()


def test_a_missing_photograph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_TEST", ("missing.png",))
    with pytest.raises(DataError, match=r"no photograph missing\.png"):
        demo_photos()


def test_demo_pairs_replace_nothing_that_is_not_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_TRAIN", ("coins.png",))
    monkeypatch.setattr(photos, "_TEST", ("camera.png",))
    own = tmp_path / "train" / "hr" / "coins.png"
    own.parent.mkdir(parents=True)
    own.write_text("my own work", encoding="utf-8")
    with pytest.raises(OutputExistsError, match=r"coins\.png exists already"):
        write_demo_pairs(tmp_path)
    assert own.read_text(encoding="utf-8") == "my own work"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [own]
    write_demo_pairs(tmp_path, force=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    write_demo_pairs(tmp_path)  # the same ones are there
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before
    with pytest.raises(OutputExistsError):
        write_demo_pairs(tmp_path, seed=1)


@pytest.mark.parametrize("scale", [0, -2, 2.5, "4"])
def test_a_scale_is_a_whole_number(scale: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`scale` is"):
        write_demo_pairs(tmp_path / "demo", scale)  # type: ignore[arg-type]
    assert not (tmp_path / "demo").exists()
