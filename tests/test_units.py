"""Numbers as people write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaptsr_cli.errors import AdaptsrError, UsageError, nearest
from adaptsr_cli.progress import Silent, TellOnce
from adaptsr_cli.units import (
    format_bytes,
    format_params,
    format_seconds,
    list_some,
    parse_budget,
    parse_bytes,
    plural,
    readable,
    readable_texts,
)


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("886k", 886_000),
        ("1.2M", 1_200_000),
        ("886000", 886_000),
        ("886_000", 886_000),
        (" 15K ", 15_000),
        ("8%", 960_000),
    ],
)
def test_budgets(text: str, params: int) -> None:
    assert parse_budget(text).resolve(12_000_000) == params


@pytest.mark.parametrize("text", ["", "k", "-5", "8%%", "200%", "0", "0%", "1e3", "5x", "nan", "1.2.3M"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        parse_budget(text)


def test_counts_and_sizes() -> None:
    assert [format_params(count) for count in (420, 14_946, 239_520, 12_000_000)] == ["420", "14.9k", "240k", "12.0M"]
    assert [format_seconds(s) for s in (3.21, 250, 7500)] == ["3.2 s", "4 min 10 s", "2 h 05 min"]
    assert [format_bytes(count) for count in (12, 971_072, 3_000_000_000)] == ["12 B", "971.1 kB", "3.0 GB"]
    assert (plural(1, "pair"), plural(2_000, "pair")) == ("1 pair", "2,000 pairs")


def test_errors_are_one_line() -> None:
    error = AdaptsrError("a\n  b", "do\nthis")
    assert (error.message, error.hint) == ("a b", "do this")
    assert nearest("trian", ["train", "merge"]) == "did you mean train?"
    assert nearest("xyz", ["train", "merge"]) == ""


def test_remarks_are_told_once() -> None:
    silent = Silent()
    once = TellOnce(silent)
    for _ in range(2):
        once.note("loaded")
        once.warn("careful")
    assert (silent.notes, silent.warnings) == (["loaded"], ["careful", "careful"])


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("2G", 2_000_000_000), ("512MB", 512_000_000), ("1.5k", 1500), ("7", 7), ("1 t", 10**12)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text, "cache_ram") == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "2GiB", "many", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"`cache_ram` .* is not a valid size"):
        parse_bytes(text, "cache_ram")


def test_a_list_is_cut_and_says_how_many_are_left() -> None:
    assert list_some(["a", "b", "c"]) == "a, b, c"
    assert list_some(["a", "b", "c", "d"]) == "a, b, c and 1 more"
    assert list_some(["a", "b", "c"], 1, "; ") == "a and 2 more"


def test_names_that_are_no_utf_8_become_text() -> None:
    assert readable(Path("a/café.png")) == "a/café.png"
    assert readable(os.fsdecode(b"caf\xe9.png")) == r"caf\xe9.png"
    assert readable("half\ud83d") == r"half\ud83d"
    assert readable_texts({"caf\udce9": ("caf\udce9", 1, ["\udce9"])}) == {r"caf\xe9": (r"caf\xe9", 1, [r"\xe9"])}
