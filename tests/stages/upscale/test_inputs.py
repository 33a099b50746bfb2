"""Inputs of all kinds: one that cannot be used is named, and the others are made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from raw_files import write_dng
from upscaling import Run, contents, make_run, photo

from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.stages.upscale import stage
from adaptsr_cli.stages.upscale.inputs import find_inputs


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    write_rgb(Path("in/a.png"), photo(0))
    write_rgb(Path("in/b.png"), photo(1))
    return make_run(tmp_path)


def everything(folder: str = "in") -> list[Path]:
    """What the shell makes of a star."""
    return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))


def test_foreign_files_are_left_out_by_name(run: Run) -> None:
    (Path("in") / "desktop.ini").write_text("[x]")
    (Path("in") / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (Path("in") / "BMW").write_text("BMW: all models of the year")
    (Path("in") / "empty folder").mkdir()
    report, progress = run(*everything())
    assert report.summary == "2 ok, 0 failed, 0 skipped, 4 left out"
    assert {path.name for path, _ in report.left_out} == {"desktop.ini", "Thumbs.db", "BMW", "empty folder"}
    for name in ("desktop.ini is no image", "Thumbs.db is an Office document", "empty folder has no image"):
        assert any(name in note for note in progress.notes)
    reason = "is an Office document, which is not read"
    assert {"input": "in/Thumbs.db", "reason": reason} in report.to_json()["left_out"]


def test_what_macos_puts_beside_files_is_left_out(run: Run) -> None:
    (Path("in") / "._a.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (Path("in") / ".partial-x.png").touch()
    Path("list").write_text("in/._a.png\nin/a.png\nin/.partial-x.png\nin\n")
    report, _ = run(list_file="list")
    assert report.summary == "1 ok, 0 failed, 0 skipped, 3 left out"


def test_many_foreign_files_are_not_all_named(run: Run) -> None:
    for index in range(30):
        (Path("in") / f"{index}.txt").touch()
    report, progress = run(*everything())
    assert len(report.left_out) == 30
    assert len(progress.notes) == 1 + 20 + 1  # the network first
    assert progress.notes[-1] == "10 more are left out"


def test_missing_ones_among_others_fail_alone(run: Run) -> None:
    Path("in/dead.png").symlink_to("nowhere.png")
    report, progress = run(Path("in/a.png"), Path("missing.png"), Path("x" * 300 + ".png"), Path("in/dead.png"))
    assert report.summary == "1 ok, 3 failed, 0 skipped"
    missing = "missing.png: it does not exist; check the path; the name of a result goes with `output`"
    texts = (missing, "File name too long", "dead.png: it leads nowhere")
    for text, warning in zip(texts, progress.warnings, strict=True):
        assert text in warning


def test_a_link_to_nowhere_in_a_folder_fails(run: Run) -> None:
    Path("in/dead.png").symlink_to("nowhere.png")
    Path("in/link.png").symlink_to("a.png")
    report, _ = run(Path("in"))
    assert report.summary == "3 ok, 1 failed, 0 skipped"


@pytest.mark.parametrize("how", ["named", "listed", "in a folder"])
def test_pipes_and_sockets_and_devices_are_never_opened(run: Run, how: str) -> None:
    os.mkfifo("in/pipe.png")
    Path("in/device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("in/socket.png")
        Path("list").write_text("\n".join(map(str, everything())))
        places = {"named": everything(), "listed": [], "in a folder": [Path("in")]}[how]
        report, progress = run(*places, list_file="list" if how == "listed" else None)
    assert report.summary == "2 ok, 3 failed, 0 skipped"
    found = "".join(progress.warnings)
    assert all(f"it is {kind}" in found for kind in ("a pipe", "a socket", "a device"))


def test_an_image_without_a_suffix_is_made_by_its_content(run: Run) -> None:
    Path("in/a.png").rename("in/IMG_1")
    Path("in/b.png").rename("in/b.png_large")
    assert run(Path("in/IMG_1"), Path("in/b.png_large"))[0].summary == "2 ok, 0 failed, 0 skipped"
    assert set(contents(Path("out"))) == {"IMG_1_x2.png", "b.png_large_x2.png"}


def test_nothing_but_unusable_inputs_needs_no_network(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "open_upscaler", lambda *_: pytest.fail("loaded for nothing"))
    report, _ = run(Path("missing.png"), Path("no.png"))
    assert report.summary == "0 ok, 2 failed, 0 skipped"
    Path("notes.txt").touch()
    with pytest.raises(UsageError, match=r"notes.txt is no image"):
        run(Path("notes.txt"))
    with pytest.raises(UsageError, match=r"in/a.png would be overwritten by its own result"):
        run(Path("in"), output=None, suffix="")


def test_a_list_of_paths_is_mirrored(run: Run, tmp_path: Path) -> None:
    write_rgb(tmp_path / "c.png", photo(2))
    Path("list.txt").write_text(f"in/a.png\n\n# two more\nin/b.png\nmissing.png\n{tmp_path / 'c.png'}\nin/../c.png\n")
    report, progress = run(list_file="list.txt")
    assert report.summary == "3 ok, 1 failed, 0 skipped"  # c.png is named twice
    assert set(contents(tmp_path / "out")) == {"in/a_x2.png", "in/b_x2.png", "c_x2.png"}
    assert progress.warnings[0].startswith("missing.png: ")
    with pytest.raises(UsageError, match="names no image"):
        run(list_file=os.devnull)
    Path("folders.txt").write_text("in\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"`list_file` folders\.txt names no image: in is a folder"):
        run(list_file="folders.txt")


def test_no_line_of_a_list_leads_out_of_the_output_folder(run: Run, tmp_path: Path) -> None:
    write_rgb(tmp_path / "work" / "x.png", photo(2))
    write_rgb(tmp_path / "other" / "x.png", photo(3))
    os.chdir("work")
    Path("list").write_text("../in/a.png\n../in/../other/x.png\nx.png\n")
    report, progress = run(list_file="list", output=Path("out"))
    assert set(contents(tmp_path / "work" / "out")) == {"a_x2.png", "x_x2.png"}
    assert report.summary == "2 ok, 1 failed, 0 skipped"  # two of one name
    assert "x.png: it would become out/x_x2.png, as ../in/../other/x.png does" in progress.warnings[0]


def test_a_list_beside_its_images(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in" / "list").write_bytes("\ufeffa.png\r\nb.png\r\n".encode("utf-16-le"))
    assert run(list_file="in/list")[0].summary == "2 ok, 0 failed, 0 skipped"


def test_an_image_is_no_list(run: Run) -> None:
    with pytest.raises(UsageError, match=r"cannot read `list_file` in/a.png: it is no text file"):
        run(list_file="in/a.png")


def test_names_that_are_no_text_and_of_two_lines(run: Run) -> None:
    names = [b"in/\xff\xfe.png", b"in/two\nlines.png"]
    for name in names:
        Path("in/a.png").rename(os.fsdecode(name)) if name == names[0] else write_rgb(Path(os.fsdecode(name)), photo(1))
    Path("list").write_bytes(b"\0".join(names) + b"\0missing\nname.png\0")
    report, progress = run(list_file="list")
    assert report.summary == "2 ok, 1 failed, 0 skipped"
    assert progress.warnings[0].startswith("missing\\nname.png: ")
    assert set(contents(Path("out"))) == {os.fsdecode(b"in/\xff\xfe_x2.png"), "in/two\nlines_x2.png"}


def test_a_link_to_a_folder_is_not_gone_into(run: Run) -> None:
    Path("in/loop").symlink_to(Path("in").resolve())
    report, _ = run(Path("in"))
    assert report.summary == "2 ok, 0 failed, 0 skipped, 1 left out"


def test_a_folder_is_an_input_once(run: Run) -> None:
    found = find_inputs([Path("in"), Path("in/a.png")], recursive=False, list_file=None)
    assert len(found.sources) == 3
    assert run(Path("in"), Path("in/a.png"), Path("in/../in/b.png"))[0].summary == "2 ok, 0 failed, 0 skipped"


def test_options_for_kinds_of_files_that_are_not_there_are_told(run: Run) -> None:
    def unused(**options: object) -> list[str]:
        _, progress = run(Path("in"), force=True, **options)
        return [note.split("`")[1] for note in progress.notes if "is not used" in note]

    assert unused() == []
    raw = {"raw_white_balance": "auto", "raw_exposure": 1}
    assert unused(quality=50, **raw) == ["quality", *raw]
    assert unused(quality=50, ext="jpg") == []
    write_dng(Path("in/c.png"), np.full((32, 48, 3), 0.2))  # told by its content
    assert unused(quality=50, raw_exposure=1) == ["quality"]
