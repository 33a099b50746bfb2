"""The catalogue, and what ``--model`` means."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from adaptsr_cli.backbones import catalogue
from adaptsr_cli.backbones.catalogue import (
    CatalogueEntry,
    bundled_weights_dir,
    default_model,
    find_model,
    read_catalogue,
    weights_dir,
)
from adaptsr_cli.errors import ArtifactError, DownloadError, UsageError
from adaptsr_cli.progress import Silent

OFFICIAL_SAFMN_SHA256 = "fe4f38fd6c1e3692bfbc6ab94f44adb815bfb54984b8886547657727af67f49d"


def entry(name: str) -> CatalogueEntry:
    return next(entry for entry in read_catalogue() if entry.name == name)


def test_the_catalogue_is_complete_and_without_doubles() -> None:
    entries = read_catalogue()
    assert len({e.name for e in entries}) == len({e.file for e in entries}) == len(entries)
    scales = {
        name: {e.scale for e in entries if e.architecture == name} for name in ("EDSR", "SAFMN", "SwinIR", "DRCT")
    }
    assert scales == {"EDSR": {2, 3, 4}, "SAFMN": {2, 3, 4}, "SwinIR": {2, 3, 4}, "DRCT": {4}}
    assert all(e.url or e.page for e in entries)
    assert entry("safmn-x4").sha256 == OFFICIAL_SAFMN_SHA256


def test_the_sums_in_the_names_of_files_agree_with_the_catalogue() -> None:
    """Both EDSR projects put the first eight digits of the SHA-256 into the file name."""
    named = [e for e in read_catalogue() if e.architecture == "EDSR" and e.sha256]
    assert len(named) == 8
    for e in named:
        assert e.sha256 is not None
        assert e.file.rpartition(".")[0].endswith(f"-{e.sha256[:8]}")


def test_the_bundled_file_is_the_one_in_the_catalogue() -> None:
    default = next(e for e in read_catalogue() if e.file == default_model().name)
    data = default_model().read_bytes()
    assert (default.bytes, default.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("text", ["[[model]\n", "[[model]]\nname = 'x'\n", "[[model]]\nnonsense = 1\n"])
def test_a_damaged_catalogue_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "catalogue.toml").write_text(text)
    monkeypatch.setattr(catalogue, "bundled_weights_dir", lambda: tmp_path)
    with pytest.raises(ArtifactError, match="damaged") as caught:
        read_catalogue()
    assert "\n" not in caught.value.message


def test_where_weights_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAPTSR_CACHE", str(tmp_path / "cache"))
    assert weights_dir(None) == tmp_path / "cache" / "weights"
    monkeypatch.setenv("ADAPTSR_WEIGHTS", str(tmp_path / "named"))
    assert weights_dir(None) == tmp_path / "named"
    assert weights_dir(tmp_path / "option") == tmp_path / "option"


def find(name: str, folder: Path, *, offline: bool = True) -> Path:
    return find_model(name, weights_dir=folder, offline=offline, progress=Silent())


def test_a_file_goes_before_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "swinir-m-x4").write_bytes(b"mine")
    assert find("swinir-m-x4", tmp_path / "none") == Path("swinir-m-x4")


def test_the_bundled_network_needs_no_download(tmp_path: Path) -> None:
    assert find("safmn-x4-bicubic", tmp_path) == default_model()
    assert find("SAFMN-x4-bicubic", tmp_path) == bundled_weights_dir() / "safmn_x4_bicubic.safetensors"


def test_offline_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="offline") as caught:
        find("safmn-x4", tmp_path)
    assert str(tmp_path / "SAFMN_DF2K_x4.pth") in caught.value.hint
    assert OFFICIAL_SAFMN_SHA256 in caught.value.hint


def test_what_no_program_can_fetch_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="Google Drive") as caught:
        find("drct-x4", tmp_path, offline=False)
    assert "drive.google.com" in caught.value.hint
    assert str(tmp_path / "DRCT_X4.pth") in caught.value.hint
    (tmp_path / "DRCT_X4.pth").write_bytes(b"put here by hand")
    assert find("drct-x4", tmp_path) == tmp_path / "DRCT_X4.pth"


def test_a_download_goes_to_the_weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        catalogue,
        "fetch",
        lambda url, target, *, sha256, size_bytes, progress: fetched.append((url, target, sha256, size_bytes)),
    )
    assert find("swinir-light-x4", tmp_path, offline=False) == tmp_path / entry("swinir-light-x4").file
    e = entry("swinir-light-x4")
    assert fetched == [(e.url, tmp_path / e.file, e.sha256, 17_225_941)]


def test_a_file_in_the_weights_folder_is_checked(tmp_path: Path) -> None:
    (tmp_path / "SAFMN_DF2K_x4.pth").write_bytes(b"not the official one")
    with pytest.raises(DownloadError, match="expected was"):
        find("safmn-x4", tmp_path)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("swinir-m-x5", "neither a file nor a name", "swinir-m-x4"),
        ("qqqqqq", "neither a file nor a name", "adaptsr models"),
        ("missing.pth", "no model file", "adaptsr models"),
        ("folder/model", "no model file", "check the path"),
    ],
)
def test_what_is_neither_is_refused(text: str, message: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        find(text, tmp_path)
    assert hint in caught.value.hint


def test_a_folder_goes_behind_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(str(tmp_path), tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drct-x4").mkdir()
    with pytest.raises(DownloadError):
        find("drct-x4", tmp_path)
