"""What a safetensors file says about itself, read without torch: for listings and completion."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.strict_json import parse_json

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file.

    Attributes:
        tensors: Key -> (type as the format spells it, such as ``F32``; shape), in the order of the data.
        metadata: The free text entries.
    """

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Reads only the header of a safetensors file; no tensor is touched.

    Raises:
        ArtifactError: The file is missing, cut off, or no safetensors file.
    """
    damaged = ArtifactError(
        f"{path} is no safetensors file, or a damaged one", "check the file, or fetch or make it again"
    )
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(_LENGTH_BYTES), "little")
            if not 0 < length <= min(size - _LENGTH_BYTES, _MAX_HEADER_BYTES):
                raise damaged
            text = handle.read(length)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}", "check the path") from error
    try:
        header = _understand(parse_json(text), size - _LENGTH_BYTES - length)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged from error
    return header


def _understand(entries: Any, data_bytes: int) -> Header:
    """The header in its parsed form; any exception of the wrong types and missing keys that it may hold."""
    metadata = {str(name): str(value) for name, value in entries.pop("__metadata__", {}).items()}
    ordered = sorted(entries.items(), key=lambda item: item[1]["data_offsets"])
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    end_bytes = 0
    for name, entry in ordered:
        shape = tuple(map(int, entry["shape"]))
        begin, end = entry["data_offsets"]
        if min(shape, default=0) < 0 or begin != end_bytes or (end - begin) * 8 != prod(shape) * _BITS[entry["dtype"]]:
            raise ValueError(f"{name} is not as large as it says")
        tensors[name] = (entry["dtype"], shape)
        end_bytes = end
    if end_bytes != data_bytes:
        raise ValueError("the tensors do not fill the file")
    return Header(tensors, metadata)
