from __future__ import annotations

import json

import pytest

from adaptsr_cli.io import strict_json
from adaptsr_cli.io.strict_json import parse_json


@pytest.mark.parametrize(
    "value", [{}, {"a": [1, -2.5, True, None, "ü"], "b": {"a": 1}}, [], "x", 2**64 - 1, -(2**63), 1e300]
)
def test_json_means_what_it_means_elsewhere(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "key 'a' comes twice"),
        ('[{"x": {"a": 1, "a": 2}}]', "comes twice"),
        ("[NaN]", "NaN"),
        ("-Infinity", "Infinity"),
        ("1e999", "not a finite number"),
        (str(2**64), "too large"),
        ("-" + "9" * 30, "too large"),
        ("9" * 5000, "too large"),
        ("[" * 100_000, "nested too deep|Expecting value"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        (b"\xff\xfe", "utf-8"),
    ],
)
def test_what_may_be_understood_in_two_ways_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_documents_without_end_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "MAX_CHARACTERS", 100)
    assert parse_json(f'"{"x" * 98}"') == "x" * 98
    with pytest.raises(ValueError, match="longer than"):
        parse_json(f'"{"x" * 99}"')
