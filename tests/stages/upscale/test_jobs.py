"""Places of results: none is lost, none is where nobody expects it, and faults are known before the network runs."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from upscaling import Run, contents, make_run, photo

from adaptsr_cli.errors import AdaptsrError, UsageError
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.io.pictures import Picture
from adaptsr_cli.stages.common.places import LEAST_FREE_BYTES, Folder
from adaptsr_cli.stages.upscale import pipeline, stage


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    write_rgb(Path("in/a.png"), photo(0))
    write_rgb(Path("in/b.png"), photo(1))
    return make_run(tmp_path)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a network that runs fail the test."""
    monkeypatch.setattr(pipeline, "upscale_picture", lambda *_, **__: pytest.fail("upscaled for nothing"))


def test_of_two_inputs_with_one_result_the_second_fails(run: Run) -> None:
    write_rgb(Path("in/a.bmp"), photo(2))
    report, progress = run(Path("in"), ext="jpg")
    assert report.summary == "2 ok, 1 failed, 0 skipped"
    assert "in/a.png: it would become" in progress.warnings[0]
    assert "as in/a.bmp does; give another `ext`" in progress.warnings[0]
    assert len(report.written) + len(report.failed) == 3


@pytest.mark.parametrize("suffix", ["../x", "/x", "a/b", "..\\x", "\0"])
def test_a_suffix_is_no_path(run: Run, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "open_upscaler", lambda *_: pytest.fail("loaded for nothing"))
    with pytest.raises(UsageError, match="`suffix`"):
        run(Path("in"), suffix=suffix)


@pytest.mark.parametrize(
    ("ext", "fault"), [("docx", "cannot be written"), ("../png", "cannot be written"), ("", "is empty"),
                       ("jpg/x", "cannot be written")]
)  # fmt: skip
def test_an_unknown_type_is_refused_before_the_network_is_loaded(
    run: Run, ext: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "open_upscaler", lambda *_: pytest.fail("loaded for nothing"))
    with pytest.raises(UsageError, match=fault):
        run(Path("in"), ext=ext)


@pytest.mark.parametrize(
    ("inputs", "output", "text"),
    [
        (["in/a.png"], "big.pgn", "big.pgn has the ending .pgn, which cannot be written"),
        (["in/a.png"], "new/big.psd", "has the ending .psd"),
        (["in/a.png", "in/b.png"], "all.pdf", "has the ending .pdf"),
        (["in"], "all.mp4", "has the ending .mp4"),
        (["in/a.png"], "-", "standard output"),
        (["in/a.png"], "in/b.txt", "in/b.txt exists and is no folder"),
        (["in/a.png", "in/b.png"], "out.png", "is one file, but there are 2 images"),
        (["in"], "out.png", "is one file, but there are 2 images"),
    ],
)
def test_an_output_of_another_kind_is_refused(run: Run, inputs: list[str], output: str, text: str) -> None:
    Path("in/b.txt").touch()
    before = contents(Path())
    with pytest.raises(UsageError, match=text):
        run(*map(Path, inputs), output=Path(output))
    assert contents(Path()) == before
    assert not Path(output).is_dir()


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        (["in/a.png"], "results"),
        (["in/a.png"], "2026.11"),
        (["in/a.png"], "there.xyz"),
        (["in"], "photos.x2"),
        (["in"], "J.Smith"),
    ],
)
def test_a_folder_may_have_a_dot_in_its_name(run: Run, inputs: list[str], output: str) -> None:
    Path("there.xyz").mkdir()
    run(*map(Path, inputs), output=Path(output))
    assert (Path(output) / "a_x2.png").is_file()


def test_output_and_type_must_agree(run: Run) -> None:
    with pytest.raises(UsageError, match="name two file types"):
        run(Path("in/a.png"), output=Path("big.png"), ext="jpg")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_or_a_pipe_in_the_place_of_the_result_fails(run: Run, force: bool) -> None:
    Path("out/a_x2.png").mkdir(parents=True)
    os.mkfifo("out/b_x2.png")
    report, progress = run(Path("in"), force=force)
    assert report.summary == "0 ok, 2 failed, 0 skipped"
    assert "a_x2.png is a folder" in progress.warnings[0]
    assert "b_x2.png is a pipe" in progress.warnings[1]
    assert Path("out/a_x2.png").is_dir()


@pytest.mark.usefixtures("no_network")
def test_a_socket_in_the_place_of_the_result_fails(run: Run) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("in/a_x2.png")
        report, _ = run(Path("in/a.png"), output=None, force=True)
    assert report.summary == "0 ok, 1 failed, 0 skipped"


@pytest.mark.usefixtures("no_network")
def test_an_output_that_cannot_be_written_is_known_before(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("locked").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and access(path, mode))
    report, progress = run(Path("in"), output=Path("locked/new"))
    assert report.summary == "0 ok, 2 failed, 0 skipped"
    assert "locked is read-only" in progress.warnings[0]
    Path("file").touch()
    report, progress = run(Path("in"), output=Path("file/new"))
    assert report.summary == "0 ok, 2 failed, 0 skipped"
    assert "file is no folder" in progress.warnings[0]


def test_an_input_is_not_replaced_by_the_result_of_another(run: Run) -> None:
    write_rgb(Path("in/a_x2.png"), photo(7, 30, 40))  # not twice as large: a picture of its own
    before = Path("in/a_x2.png").read_bytes()
    report, progress = run(Path("in/a.png"), Path("in/a_x2.png"), output=None, force=True)
    assert report.summary == "1 ok, 1 failed, 0 skipped"
    assert "its result would replace in/a_x2.png, which is an input too" in progress.warnings[0]
    assert Path("in/a_x2.png").read_bytes() == before


@pytest.mark.parametrize("force", [False, True])
def test_a_picture_in_the_place_of_a_result_is_an_input(run: Run, force: bool) -> None:
    """It is called as a result of another one, and has not its size."""
    for number, name in enumerate(("a.png", "a_x2.png")):
        write_rgb(Path("own") / name, photo(number, 12, 10))
    before = Path("own/a_x2.png").read_bytes()
    report, progress = run(Path("own"), output=None, force=force)
    assert report.summary == "1 ok, 1 failed, 0 skipped"
    assert "its result would replace own/a_x2.png, which is an input too" in progress.warnings[0]
    assert [path.name for _, path in report.written] == ["a_x2_x2.png"]
    assert Path("own/a_x2.png").read_bytes() == before


def test_no_input_is_overwritten_by_its_own_result(run: Run) -> None:
    before = contents(Path("in"))
    report, progress = run(Path("in"), output=Path("in/../in"), suffix="", force=True)
    assert report.summary == "0 ok, 2 failed, 0 skipped"
    assert "overwritten by its own result" in progress.warnings[0]
    assert contents(Path("in")) == before


def test_names_that_differ_only_in_capitals_on_a_disk_that_ignores_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rgb(Path("in/A.png"), photo(4))
    assert run(Path("in"))[0].summary == "3 ok, 0 failed, 0 skipped"
    monkeypatch.setattr(Folder, "_ignores_case", True)
    report, progress = run(Path("in"), output=Path("disk"))
    assert report.summary == "2 ok, 1 failed, 0 skipped"
    assert "it would become disk/a_x2.png, as in/A.png does" in progress.warnings[0]


def test_a_disk_that_ignores_capitals_is_told_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "New").mkdir()
    assert Folder(tmp_path / "New").key("A.png") != Folder(tmp_path / "New").key("a.png")
    (tmp_path / "nEW").symlink_to("New")  # what such a disk finds under the other name
    assert Folder(tmp_path / "New").key("Ä.png") == Folder(tmp_path / "New").key("a\u0308.png")
    assert Folder(tmp_path / "New" / "1").key("A.png") == Folder(tmp_path / "New" / "1").key("a.png")


@pytest.mark.parametrize("most", [255, 143])
def test_too_long_a_name_fails_alone(run: Run, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pathconf", lambda *_: most)
    write_rgb(Path("in") / f"{'x' * (most - 7)}.png", photo(0))  # which _x2 makes as long as may be
    write_rgb(Path("in") / f"{'ö' * (most // 2 - 2)}.png", photo(0))
    report, progress = run(Path("in"))
    assert report.summary == "3 ok, 1 failed, 0 skipped"
    assert f"{most // 2 * 2 + 3} bytes long, and names end at {most}" in progress.warnings[0]


def test_what_nobody_foresaw_fails_one_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = pipeline.read_picture

    def fail(path: Path, **options: object) -> object:
        if path.name == "a.png":
            raise RuntimeError("of a library")
        return read(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "read_picture", fail)
    report, progress = run(Path("in"))
    assert report.summary == "1 ok, 1 failed, 0 skipped"
    assert "unexpected RuntimeError: of a library" in progress.warnings[0]


@pytest.mark.usefixtures("no_network")
def test_a_full_disk_is_known_before(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=LEAST_FREE_BYTES - 1))
    report, progress = run(Path("in"))
    assert report.summary == "0 ok, 2 failed, 0 skipped"
    assert os.strerror(errno.ENOSPC) in progress.warnings[0]


def test_what_did_not_fit_is_not_tried_by_larger_ones(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(20):
        write_rgb(Path("in") / f"{index:02d}.png", photo(index, 40, 40))
    write_rgb(Path("in") / "small.png", photo(0, 4, 4))
    upscale, seen = pipeline.upscale_picture, []

    def count(*words: object, **options: object) -> object:
        seen.append(words)
        return upscale(*words, **options)  # type: ignore[arg-type]

    def write(path: Path, picture: Picture, **_: object) -> None:
        if picture.colour.shape[0] > 20:
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                raise AdaptsrError("cannot write") from error

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    monkeypatch.setattr(pipeline, "upscale_picture", count)
    monkeypatch.setattr(pipeline, "write_picture", write)
    report, _ = run(Path("in"))
    assert report.summary == "3 ok, 20 failed, 0 skipped"
    assert len(seen) < 3 + 12  # those that were on their way when the first one failed, and no more
