"""Lists of paths in every encoding and with every line end that systems write."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from adaptsr_cli.io.path_lists import find_listed, names_nothing, read_path_list, split_lines

TEXT = "in/a b.png\nphotos/ä/ö.png\n"
LINES = ["in/a b.png", "photos/ä/ö.png", ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_unicode_encoding_and_line_end(encoding: str, end: str) -> None:
    assert split_lines(TEXT.replace("\n", end).encode(encoding)) == LINES


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_mark_of_utf_16_in_either_order(order: str) -> None:
    encoding = "utf-16-le" if order == "<" else "utf-16-be"
    assert split_lines(f"\ufeff{TEXT}".encode(encoding)) == LINES


def test_mixed_line_ends_and_blank_lines() -> None:
    assert split_lines(b"a.png\r\n\r\n  \nb.png\r\n\rc.png\x1a") == ["a.png", "", "  ", "b.png", "", "c.png"]


def test_letters_that_other_programs_take_for_line_ends_are_part_of_a_name() -> None:
    assert split_lines("a\x85b\u2028c.png\n".encode()) == ["a\x85b\u2028c.png", ""]


def test_null_bytes_between_names() -> None:
    assert split_lines(b"a\nb.png\0 c.png\0") == ["a\nb.png", " c.png"]
    assert split_lines(b"a.png\0") == ["a.png"]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no text file"):
        split_lines(b"\x89PNG\r\n\x1a\n\xff\x03\x02 \x01")
    with pytest.raises(ValueError, match="not in it"):
        split_lines(b"\xff\xfea")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a.png", "a.png"),
        ("  a.png ", "a.png"),
        (" spaced .png", " spaced .png"),
        ('"a.png"', "a.png"),
        ("'a.png'", "a.png"),
        ("below\\a.png", "below/a.png"),
        ("a\u0308.png", "\u00e4.png"),
        ("\u00e4.png", "a\u0308.png"),
        ("# 1.png", "# 1.png"),
    ],
)
def test_a_line_is_understood_as_what_is_there(
    line: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).touch()
    assert not names_nothing(line)
    found, written = find_listed(line, [Path()])
    assert found.samefile(name)
    assert found == written == Path(name)


@pytest.mark.parametrize("page", ["cp1252", "cp850", "cp1251", "cp932", "gb18030"])
def test_an_old_code_page_is_told_by_the_files(page: str, tmp_path: Path) -> None:
    name = {"cp1251": "фото.png", "cp932": "写真.png", "gb18030": "照片.png"}.get(page, "é ü.png")
    (tmp_path / name).touch()
    line, _ = split_lines(name.encode(page) + b"\r\n")
    assert find_listed(line, [tmp_path])[0] == tmp_path / name


def test_a_name_that_is_no_text_is_found_by_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.png")
    (tmp_path / name).touch()
    line, _ = split_lines(b"\xff\xfe.png\n".replace(b"\xff\xfe", b"./\xff\xfe"))
    assert find_listed(line, [tmp_path])[0] == tmp_path / name


def test_an_address_of_a_file_manager(tmp_path: Path) -> None:
    (tmp_path / "ä b.png").touch()
    assert find_listed((tmp_path / "ä b.png").as_uri(), [Path()])[0] == tmp_path / "ä b.png"


def test_a_relative_path_is_first_looked_for_in_the_first_folder(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    (tmp_path / "two" / "b.png").touch()
    folders = [tmp_path / "one", tmp_path / "two"]
    assert find_listed("a.png", folders)[0] == tmp_path / "one" / "a.png"
    assert find_listed("b.png", folders) == (tmp_path / "two" / "b.png", Path("b.png"))
    assert find_listed("c.png", folders) == (tmp_path / "one" / "c.png", Path("c.png"))


def test_comments_and_blank_lines_name_nothing() -> None:
    assert names_nothing("  # photographs of May")
    assert names_nothing(" \t")
    assert not names_nothing("a.png # not here")


def test_a_pipe_with_a_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list")
    with pytest.raises(ValueError, match="it is a pipe"):
        read_path_list(str(tmp_path / "list"))
    with pytest.raises(ValueError, match="it is a folder"):
        read_path_list(str(tmp_path))


def test_a_pipe_of_the_shell_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"a.png\n")
    os.close(writer)
    assert read_path_list(f"/dev/fd/{reader}") == ["a.png", ""]
    os.close(reader)


def test_the_standard_input_is_read_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode("utf-16")), encoding="ascii"))
    assert read_path_list("-") == LINES
    monkeypatch.setattr(sys, "stdin", io.StringIO(TEXT))
    assert read_path_list("-") == LINES


def test_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptsr_cli.io.path_lists.MOST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="longer than 1 MiB"):
        read_path_list("/dev/zero")
