"""Lists of paths: text files of any encoding, with any line ends.

File names are bytes to the system, and a list may come from another one: with a byte-order mark, in UTF-16, in an old
code page, with the other system's line ends, in quotation marks, or with null bytes between the names.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

from adaptsr_cli.io.file_kinds import describe_irregular

MOST_BYTES: Final = 1 << 29
"""Longest list that is read."""

_STDIN: Final = "-"
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as the mark of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What systems write lists in that are no UTF-8: Windows and DOS, western, eastern, Cyrillic, Japanese, Chinese, Korean.
_CODE_PAGES: Final = ("cp1252", "cp850", "cp1250", "cp1251", "cp866", "cp932", "gb18030", "big5", "cp949")
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_CONTROL: Final = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x19\x1b-\x1f]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def read_path_list(place: str) -> list[str]:
    """Read the lines of a list, blank ones too.

    Args:
        place: A file, or ``-`` for the standard input.

    Returns:
        The lines as they stand; bytes that are no UTF-8 as lone surrogates, as in the names of files.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no list, and why.
    """
    return split_lines(_read_bytes(place))


def split_lines(data: bytes) -> list[str]:
    """Decode a list and split it into lines.

    Raises:
        ValueError: It is no text.
    """
    text = _decode(data)
    if "\0" in text:  # as `find -print0` writes it, for names that have line ends in them
        return text.removesuffix("\0").split("\0")
    return _LINE_END.split(text.removesuffix("\x1a"))  # DOS ends its files so


def names_nothing(line: str) -> bool:
    """Whether a line is blank or a comment: it begins with ``#``, and no file has such a name."""
    text = line.strip()
    return not text or (text.startswith("#") and not os.path.lexists(text))


def find_listed(line: str, folders: Sequence[Path]) -> tuple[Path, Path]:
    """Find the file that a line names.

    Args:
        line: As `read_path_list` gives it.
        folders: What a relative path may be relative to; the first one that has the file.

    Returns:
        The path, and how it was written; of a file that is not there, as the line has it, in the first folder.
    """
    for folder in folders:
        for text in _spellings(line):
            if os.path.lexists(folder / text):
                return folder / text, Path(text)
    plain = next(_spellings(line.strip()))
    return folders[0] / plain, Path(plain)


def _spellings(line: str) -> Iterator[str]:
    """What a line may mean, the most literal first."""
    stripped = line.strip()
    texts = [line, stripped]
    if len(stripped) > 2 and stripped[0] == stripped[-1] and stripped[0] in "\"'":
        texts.append(stripped[1:-1])
    if stripped.startswith("file://"):
        texts.append(unquote(urlsplit(stripped).path, errors="surrogateescape"))
    if _SURROGATE.search(line):
        raw = texts[-1].encode("utf-8", "surrogateescape")
        for page in _CODE_PAGES:
            try:
                texts.append(raw.decode(page))
            except UnicodeDecodeError:
                continue
    for text in dict.fromkeys(filter(None, texts)):
        yield text
        if not text.isascii():
            # macOS takes letters with accents apart; a copy of the files on another system may not.
            yield from {normalize("NFC", text), normalize("NFD", text)} - {text}
        if "\\" in text and os.sep == "/":
            yield text.replace("\\", "/")


def _read_bytes(place: str) -> bytes:
    if place == _STDIN:
        stream = getattr(sys.stdin, "buffer", None)
        if sys.stdin is None:
            raise ValueError("it is closed")
        if stream is None:  # a program put text in its place
            return sys.stdin.read().encode("utf-8", "surrogateescape")
        data: bytes = stream.read(MOST_BYTES + 1)
    else:
        kind = describe_irregular(Path(place))
        # What the shell passes by `<(...)` has a writer; a pipe that has a name may have none, ever.
        if kind in {"a folder", "a socket"} or (kind == "a pipe" and Path(os.path.realpath(place)).exists()):
            raise ValueError(f"it is {kind}")
        with Path(place).open("rb") as handle:
            data = handle.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES >> 20} MiB")
    return data


def _decode(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise ValueError(f"it begins as {encoding.upper()}, but is not in it") from error
    if (guess := _guess_utf_16(data)) is not None:
        return data.decode(guess, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
        if _CONTROL.search(text):
            raise ValueError("it is no text file") from None
        return text


def _guess_utf_16(data: bytes) -> str | None:
    """The byte order of a text in UTF-16 without a mark: every second byte of its Latin letters is null."""
    low, high = data[1::2].count(0), data[::2].count(0)
    if len(data) % 2 or (low and high) or max(low, high) < 0.3 * len(data):
        return None
    return "utf-16-le" if low else "utf-16-be"
