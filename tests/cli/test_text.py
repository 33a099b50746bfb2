from __future__ import annotations

import pytest

from adaptsr_cli.cli.text import escape_control_chars


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a[1]_:smile:_写真.png", "a[1]_:smile:_写真.png"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("over\rwritten\b", r"over\rwritten\x08"),
        ("bad\udcff.png", r"bad\xff.png"),
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        ("two\nlines\u2028and\ta tab", r"two\nlines\u2028and\ta tab"),
    ],
)
def test_plain_writes_out_what_would_drive_the_terminal(text: str, shown: str) -> None:
    assert escape_control_chars(text) == shown
