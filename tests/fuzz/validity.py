"""Whether a spoilt file is really malformed, told without the code under test.

A flipped bit may fall where it changes a value into another legitimate one, or where nobody looks. Such a file is no
malformed input: a program that took it would be right.
"""

from __future__ import annotations

import io
import json
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Judge = Callable[[bytes, bytes], bool]
"""Whether the second of two files, made from the first, is still a valid one of its kind."""


_FREE = frozenset(("options", "skipped_metrics"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _shape_of(value: Any) -> Any:
    """The same for contents that differ in nothing but values of one type; free texts and options do not count."""
    if isinstance(value, dict):
        return {
            key: None if key in {"options", "skipped_metrics"} else _shape_of(inner) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_shape_of(inner) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number" if -1e300 < value < 1e300 and value >= 0 else "odd number"
    return type(value).__name__


def _is_like(found: Any, before: Any) -> bool:
    """The same keys and types, and lists of nothing but items like those before: there may be fewer or more."""
    if isinstance(found, dict) and isinstance(before, dict) and found.keys() == before.keys():
        return all(key in _FREE or _is_like(found[key], before[key]) for key in found)
    if isinstance(found, list) and isinstance(before, list) and before:
        known = [_shape_of(item) for item in before]
        return all(_shape_of(item) in known or any(_is_like(item, other) for other in before) for item in found)
    return bool(_shape_of(found) == _shape_of(before))


def is_valid_json(original: bytes, spoilt: bytes) -> bool:
    """The same keys and types; then all that differs is values, which may be as good as those before."""
    try:
        found = json.loads(spoilt.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        return _is_like(found, json.loads(original))
    except (ValueError, RecursionError):
        return False


def is_valid_log(original: bytes, spoilt: bytes) -> bool:
    """Every whole line is a row; what follows the last line feed is a torn one, which may be."""
    known: dict[str, Any] = {}
    for line in original.splitlines():
        known |= _shape_of(json.loads(line))
    try:
        rows = [json.loads(line.decode("utf-8")) for line in spoilt.rpartition(b"\n")[0].split(b"\n") if line]
        # Rows of training and of validation have other keys; all have an iteration.
        return all("iteration" in row and _shape_of(row).items() <= known.items() for row in rows)
    except (ValueError, AttributeError, TypeError):
        return False


def is_valid_toml(original: bytes, spoilt: bytes) -> bool:
    """The same keys and types."""
    try:
        found = tomllib.loads(spoilt.decode("utf-8"))
        before = tomllib.loads(original.decode("utf-8"))
        # Every option may be left out, and another value of its type may be as good.
        return all(key in before and _shape_of(found[key]) == _shape_of(before[key]) for key in found)
    except (ValueError, RecursionError):
        return False


def judge_list() -> Judge:
    """Lists whose paths are relative to a folder."""

    def is_valid_list(original: bytes, spoilt: bytes) -> bool:
        try:
            text = spoilt.decode("utf-8-sig")
        except UnicodeDecodeError:
            return False
        rows = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        known = {
            line.partition(",")[0].strip(): line.partition(",")[2].strip() for line in original.decode().split("\n")
        }
        # Two whole lines are enough to train on.
        halves = [[part.strip() for part in row.split(",")] for row in rows]
        return (
            len(rows) >= 2
            and len({row[0] for row in halves}) == len(rows)
            and all(len(row) == 2 and known.get(row[0]) == row[1] for row in halves)
        )

    return is_valid_list


def is_valid_tensors(original: bytes, spoilt: bytes) -> bool:
    """The same header but for values in the documents, and finite numbers of the same count."""
    try:
        length = int.from_bytes(spoilt[:8], "little")
        if length > len(spoilt) - 8:
            return False
        found = json.loads(spoilt[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
        size = int.from_bytes(original[:8], "little")
        before = json.loads(original[8 : 8 + size])
        metadata, known = found.pop("__metadata__", {}), before.pop("__metadata__", {})
        if found != before or metadata.keys() != known.keys():
            return False
        if not all(is_valid_json(known[key].encode(), metadata[key].encode()) for key in known):
            return False
        payload = spoilt[8 + length :]
        return len(payload) == len(original) - 8 - size and _are_finite(found, payload)
    except (ValueError, RecursionError, AttributeError, TypeError):
        return False


def _are_finite(header: dict[str, Any], payload: bytes) -> bool:
    for entry in header.values():
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "F32":
            exponents = (word & 0x7F800000 for (word,) in struct.iter_unpack("<I", payload[begin:end]))
            if any(exponent == 0x7F800000 for exponent in exponents):
                return False
    return True


def is_valid_header(original: bytes, spoilt: bytes) -> bool:
    """As `is_valid_tensors`, for those that look at the header only: names and numbers of the tensors may be any."""
    if len(spoilt) != len(original):
        return False
    (found, _), (before, payload) = _split(spoilt), _split(original)
    if found is None or before is None or len(found) != len(before):
        return False
    if "__metadata__" not in found:
        return False
    renamed = dict(zip(before, found.values(), strict=True))
    text = json.dumps(renamed).encode()
    return is_valid_tensors(original, len(text).to_bytes(8, "little") + text + payload)


def _split(data: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The header, None where it is none, and what follows."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        return None, b""
    try:
        found = json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None, b""
    return (found if isinstance(found, dict) else None), data[8 + length :]


def is_valid_pth(original: bytes, spoilt: bytes) -> bool:
    """An archive with the same entries, whose checksums agree, and finite numbers."""
    try:
        with zipfile.ZipFile(io.BytesIO(spoilt)) as found, zipfile.ZipFile(io.BytesIO(original)) as before:
            return found.namelist() == before.namelist() and all(
                found.read(name) == before.read(name) for name in before.namelist()
            )
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError, struct.error):
        return False


def is_valid_png(original: bytes, spoilt: bytes) -> bool:
    """All chunks up to the end mark are there, as long as they were, and their checksums agree."""
    if spoilt[:8] != original[:8]:
        return False
    where, kind = 8, b""
    while kind != b"IEND":
        if where + 12 > len(spoilt):
            return False
        length, kind = struct.unpack_from(">I4s", spoilt, where)
        end = where + 12 + length
        if end > len(spoilt) or spoilt[end - 4 : end] != zlib.crc32(spoilt[where + 4 : end - 4]).to_bytes(4, "big"):
            return False
        where = end
    # A header with a matching checksum is another picture, which the pixels may or may not fill.
    return spoilt[:33] == original[:33]


def is_valid_image(original: bytes, spoilt: bytes) -> bool:
    """Of formats without checksums: everything is there, or all but the last bytes, which may be an end mark."""
    return spoilt[:16] == original[:16] and len(spoilt) >= len(original) - 16
