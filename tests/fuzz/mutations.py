"""Ways to spoil a file, each drawn from a seeded generator.

A mutation takes the generator and the whole file and gives what shall stand in its place. It need not succeed in
making the file malformed: `validity.py` decides that, and another one is drawn where it did not.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutation = Callable[[Random, bytes], bytes]

HUGE_JSON_BYTES = 50_000_000


# --- any file


def truncate(rng: Random, data: bytes) -> bytes:
    """Cut off anywhere, more often near the ends."""
    where = rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 64)), len(data) - rng.randint(1, 64)))
    return data[: max(0, where)]


def flip_bits(rng: Random, data: bytes) -> bytes:
    """One to a few bits the other way round."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def spoil_start(rng: Random, data: bytes) -> bytes:
    """The first bytes, by which a kind of file is known, are others."""
    length = min(len(data), rng.randint(4, 16))
    return rng.randbytes(length) + data[length:]


def insert_bytes(rng: Random, data: bytes) -> bytes:
    """Something that does not belong there, in between."""
    where = rng.randrange(len(data))
    return data[:where] + rng.randbytes(rng.choice((1, 3, 100))) + data[where:]


def drop_block(rng: Random, data: bytes) -> bytes:
    """A hole in the middle."""
    where = rng.randrange(len(data))
    return data[:where] + data[where + rng.randint(1, max(2, len(data) // 3)) :]


def zero_block(rng: Random, data: bytes) -> bytes:
    """A part that was never written, as after a power cut."""
    where = rng.randrange(len(data))
    length = min(len(data) - where, rng.randint(16, 4096))
    return data[:where] + bytes(length) + data[where + length :]


def empty(rng: Random, data: bytes) -> bytes:
    """Nothing."""
    return b""


def random_bytes(rng: Random, data: bytes) -> bytes:
    """Noise."""
    return rng.randbytes(rng.choice((1, 7, 100, 5000)))


def web_page(rng: Random, data: bytes) -> bytes:
    """What a failed download leaves."""
    return b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n" * rng.randint(1, 20)


ANY_FILE: tuple[Mutation, ...] = (
    truncate, truncate, truncate, flip_bits, flip_bits, spoil_start, insert_bytes, drop_block, zero_block, empty,
    random_bytes, web_page,
)  # fmt: skip


# --- JSON

_WRONG: tuple[Any, ...] = ({"x": [1]}, [[]], "12", True)
_POSITIVE = frozenset(
    ("params", "rank_cost", "max_rank", "scale", "batches", "batch", "patch_px", "budget_params", "alpha", "rank")
)
_NULLABLE = frozenset(
    ("mean_spearman", "weight", "val_psnr_y_db", "backbone_psnr_y_db", "sha256", "loss", "parts", "lr", "minutes",
     "ema", "patience", "degrade", "energy_j", "peak_device_bytes", "peak_host_bytes", "estimate", "start_sha256")
)  # fmt: skip
# Free for all by design: which options a command had, and the names and scores of anything.
_FREE = frozenset(("options", "skipped_metrics"))

# Files of older versions have none of these.
_OPTIONAL = frozenset(
    ("align", "sources", "unused", "elapsed_s", "waited_s", "energy_j", "peak_device_bytes", "peak_host_bytes",
     "pending_losses", "finished", "degradation_sha256", "method", "objective", "minutes", "accumulate", "ema",
     "patience", "degrade", "start_sha256")
)  # fmt: skip

Place = tuple[Any, Any]  # a container and the key or index in it


def _places(value: Any) -> list[Place]:
    found: list[Place] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            found.append((value, key))
            if key not in _FREE:
                found += _places(inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found.append((value, index))
            found += _places(inner)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pick(rng: Random, content: Any, wanted: Callable[[Any, Any, Any], bool]) -> Place | None:
    """A place whose container, key and value are as wanted; few of many alike, so that every key has its turn."""
    by_key: dict[str, list[Place]] = {}
    for container, key in _places(content):
        if wanted(container, key, container[key]):
            by_key.setdefault(key if isinstance(key, str) else "#", []).append((container, key))
    return rng.choice(by_key[rng.choice(sorted(by_key))]) if by_key else None


def _in_json(change: Callable[[Random, Any], None]) -> Mutation:
    def mutate(rng: Random, data: bytes) -> bytes:
        content = json.loads(data)
        change(rng, content)
        return json.dumps(content, indent=1).encode()

    mutate.__name__ = change.__name__.strip("_")
    return mutate


def _in_text(change: Callable[[Random, Any], str]) -> Mutation:
    """A change that puts a mark into the content and says what the mark becomes in the text."""

    def mutate(rng: Random, data: bytes) -> bytes:
        content = json.loads(data)
        becomes = change(rng, content)
        return json.dumps(content).replace('"MARK"', becomes).encode()

    mutate.__name__ = change.__name__.strip("_")
    return mutate


def _drop_key(rng: Random, content: Any) -> None:
    if place := _pick(rng, content, lambda container, key, value: isinstance(container, dict) and key not in _OPTIONAL):
        del place[0][place[1]]


def _rename_key(rng: Random, content: Any) -> None:
    if place := _pick(rng, content, lambda container, key, value: isinstance(container, dict)):
        place[0][f"{place[1]}x"] = place[0].pop(place[1])


def _add_key(rng: Random, content: Any) -> None:
    place = _pick(rng, content, lambda container, key, value: isinstance(value, dict) and key not in _FREE)
    (place[0][place[1]] if place else content)["unheard_of"] = rng.choice((1, None, "x", []))


def _wrong_type(rng: Random, content: Any) -> None:
    if place := _pick(rng, content, lambda container, key, value: True):
        value = place[0][place[1]]
        place[0][place[1]] = rng.choice([wrong for wrong in _WRONG if type(wrong) is not type(value)])


def _put_null(rng: Random, content: Any) -> None:
    if place := _pick(rng, content, lambda container, key, value: key not in _NULLABLE):
        place[0][place[1]] = None


def _negative(rng: Random, content: Any) -> None:
    if place := _pick(rng, content, lambda container, key, value: key in _POSITIVE and _is_number(value)):
        place[0][place[1]] = -rng.randint(1, 1000)


def _other_version(rng: Random, content: Any) -> None:
    if place := _pick(rng, content, lambda container, key, value: key in {"format_version", "artifact"}):
        place[0][place[1]] = rng.choice((0, 2, 10**9, "1", "eval", "thing"))


def _repeat_item(rng: Random, content: Any) -> None:
    """One site twice."""
    if place := _pick(rng, content, lambda container, key, value: key == "sites" and bool(value)):
        place[0][place[1]].append(rng.choice(place[0][place[1]]))


def _no_number(rng: Random, content: Any) -> str:
    if place := _pick(rng, content, lambda container, key, value: _is_number(value)):
        place[0][place[1]] = "MARK"
    return rng.choice(("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "1_000", "01", "+1"))


def _huge_number(rng: Random, content: Any) -> str:
    if place := _pick(rng, content, lambda container, key, value: _is_number(value) and key != "seed"):
        place[0][place[1]] = "MARK"
    return "9" * rng.choice((400, 4000, 5000, 100_000))


def _repeat_key(rng: Random, content: Any) -> str:
    place = _pick(rng, content, lambda container, key, value: isinstance(container, dict) and not _holds(value))
    if place is None:
        return ""
    value = json.dumps(place[0][place[1]])
    place[0][place[1]] = "MARK"
    return f'{value}, "{place[1]}": {rng.choice((value, "1", "null"))}'


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def other_coding(rng: Random, data: bytes) -> bytes:
    """Text that is not UTF-8."""
    return rng.choice((data.decode().encode("utf-16"), b"\xff\xfe" + data, data.replace(b'"', b"\xe4", 1)))


def nested(rng: Random, data: bytes) -> bytes:
    """Lists in lists in lists, here and there where something else belongs."""
    depth = rng.choice((200, 5000, 100_000))
    text = rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
    return rng.choice((text, f'{{"artifact": {text}}}')).encode()


def huge_text(rng: Random, data: bytes) -> bytes:
    """50 MB of lists."""
    unit = rng.choice((b"[],", b"[[[1]]],", b'{"a":[0]},'))
    return b"[" + unit * (HUGE_JSON_BYTES // len(unit)) + b"0]"


JSON_CONTENT: tuple[Mutation, ...] = (
    *map(_in_json, (_drop_key, _rename_key, _add_key, _wrong_type, _put_null, _negative, _other_version)),
    *map(_in_json, (_drop_key, _wrong_type, _wrong_type, _repeat_item)),
    *map(_in_text, (_no_number, _huge_number, _repeat_key)),
    nested,
)  # fmt: skip


# --- TOML and lists


def spoil_toml(rng: Random, data: bytes) -> bytes:
    """One line is another one."""
    lines = data.decode().splitlines()
    where = rng.randrange(1, len(lines))
    name = lines[where].partition(" = ")[0]
    lines[where] = rng.choice((
        f"{name}", f"{name} =", f"{name} = nan", f"{name} = inf", f"{name} = [[1]]", f"{name} = {{a = 1}}",
        f"{name} = 1979-05-27", f"{name}x = 1", f"{name} = 0x", f"{lines[where]}\n{lines[where]}", f"[{name}]\nx = 1",
        f"{name} = -1.5", f"{name} = {'9' * 5000}", f"{name} = {'[' * 5000}", f'{name} = "\\q"', f"{name}.x = 1",
    ))  # fmt: skip
    return "\n".join(lines).encode()


def spoil_list(rng: Random, data: bytes) -> bytes:
    """One line is another one."""
    lines = data.decode().splitlines()
    where = rng.randrange(len(lines))
    first, _, second = lines[where].partition(", ")
    lines[where] = rng.choice((
        first, f"{first}, ", f", {second}", f"{first}, {first}", f"{first}, {second}, {second}", "nothing.png, x.png",
        f"{first}x, {second}", "a" * 5000, f"{first}\t{second}\t{first}", ".., .", f"{first}, {second}\x00",
        f"{lines[where]}\n{lines[where]}", "/dev/null, /dev/zero", f"{first}; {second}", "https://x.org/a.png, b.png",
    ))  # fmt: skip
    return "\n".join(lines).encode()


# --- safetensors: 8 bytes of length, a JSON header, the data


def _split_tensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _join_tensors(header: Any, payload: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + payload


def lie_about_length(rng: Random, data: bytes) -> bytes:
    """A header of 2^60 bytes, of none, of one more."""
    length = int.from_bytes(data[:8], "little")
    wrong = rng.choice((1 << 60, (1 << 64) - 1, 1 << 31, 0, 1, length - 1, length + 8, len(data)))
    return wrong.to_bytes(8, "little") + data[8:]


def spoil_tensor_entry(rng: Random, data: bytes) -> bytes:
    """What the header says of one tensor is wrong."""
    header, payload = _split_tensors(data)
    name = rng.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    begin, end = entry["data_offsets"]
    spoilt = rng.choice((
        {"shape": [*entry["shape"], 2]}, {"shape": [1 << 60]}, {"shape": [-1]}, {"shape": "x"}, {"dtype": "F7"},
        {"dtype": "F64"}, {"data_offsets": [begin, end + 4]}, {"data_offsets": [end, begin]}, {"data_offsets": [begin]},
        {"data_offsets": [1 << 60, 1 << 61]}, {"data_offsets": [-4, end]},
    ))  # fmt: skip
    header[name] = entry | spoilt
    return _join_tensors(header, payload)


def rename_tensor(rng: Random, data: bytes) -> bytes:
    """A tensor that nobody knows in place of one that is needed."""
    header, payload = _split_tensors(data)
    name = rng.choice([name for name in header if name != "__metadata__"])
    return _join_tensors({f"{key}.x" if key == name else key: entry for key, entry in header.items()}, payload)


def drop_last_tensor(rng: Random, data: bytes) -> bytes:
    """A whole file, but a tensor is missing."""
    header, payload = _split_tensors(data)
    name = max((key for key in header if key != "__metadata__"), key=lambda key: header[key]["data_offsets"])
    return _join_tensors(header, payload[: header.pop(name)["data_offsets"][0]])


def spoil_values(rng: Random, data: bytes) -> bytes:
    """Numbers that are none."""
    header, payload = _split_tensors(data)
    entry = rng.choice([entry for key, entry in header.items() if key != "__metadata__" and entry["dtype"] == "F32"])
    where = rng.randrange(*entry["data_offsets"], 4)
    return _join_tensors(
        header, payload[:where] + struct.pack("<f", rng.choice((math.nan, math.inf))) + payload[where + 4 :]
    )


def huge_header(rng: Random, data: bytes) -> bytes:
    """A header of 50 MB of lists."""
    return _join_tensors('{"a": [' + "[]," * (HUGE_JSON_BYTES // 3) + "0]}", b"")


def nested_header(rng: Random, data: bytes) -> bytes:
    """A header of lists in lists."""
    depth = rng.choice((500, 20_000))
    return _join_tensors(f'{{"a": {"[" * depth}{"]" * depth}}}', b"")


def spoil_metadata(rng: Random, data: bytes) -> bytes:
    """The document in the header is no good."""
    header, payload = _split_tensors(data)
    metadata = header["__metadata__"]
    name = rng.choice(sorted(metadata))
    way = rng.choice(("content", "content", "content", "text", "drop"))
    if way == "drop":
        del metadata[name]
    else:
        mutation = rng.choice(JSON_CONTENT if way == "content" else (truncate, drop_block, random_bytes))
        metadata[name] = mutation(rng, metadata[name].encode()).decode("utf-8", "replace")
    return _join_tensors(header, payload)


TENSOR_CONTENT: tuple[Mutation, ...] = (
    lie_about_length, spoil_tensor_entry, spoil_tensor_entry, rename_tensor, drop_last_tensor, spoil_values,
    nested_header,
)  # fmt: skip


# --- images


def claim_png_size(rng: Random, data: bytes) -> bytes:
    """A PNG that says it is larger than any, and its checksum agrees."""
    size = rng.choice(((100_000, 100_000), (0x7FFFFFFF, 0x7FFFFFFF), (0, 0), (1, 0x7FFFFFFF), (5000, 5000)))
    head = data[12:16] + struct.pack(">II", *size) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def claim_bmp_size(rng: Random, data: bytes) -> bytes:
    """A BMP that says it is larger than any."""
    return data[:18] + struct.pack("<ii", *rng.choice(((100_000, 100_000), (2**31 - 1, 2**31 - 1)))) + data[26:]


def claim_jpeg_size(rng: Random, data: bytes) -> bytes:
    """A JPEG that says it is as large as one can be."""
    where = next(data.index(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in data)
    return data[: where + 5] + struct.pack(">HH", 65_500, 65_500) + data[where + 9 :]


def claim_tiff_size(rng: Random, data: bytes) -> bytes:
    """A TIFF whose width and height tags say 100,000."""
    spoilt = bytearray(data)
    first = struct.unpack_from("<I", data, 4)[0]
    for index in range(struct.unpack_from("<H", data, first)[0]):
        entry = first + 2 + 12 * index
        if struct.unpack_from("<H", data, entry)[0] in {256, 257}:
            struct.pack_into("<HII", spoilt, entry + 2, 4, 1, 100_000)
    return bytes(spoilt)
