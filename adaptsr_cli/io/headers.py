"""What a safetensors file says about itself, read without torch: for listings and completion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from adaptsr_cli.errors import ArtifactError

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


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
        entries = json.loads(text)
        metadata = {str(name): str(value) for name, value in entries.pop("__metadata__", {}).items()}
        ordered = sorted(entries.items(), key=lambda item: item[1]["data_offsets"])
        tensors = {name: (str(entry["dtype"]), tuple(map(int, entry["shape"]))) for name, entry in ordered}
        end_bytes = max((entry["data_offsets"][1] for _, entry in ordered), default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise damaged from error
    if _LENGTH_BYTES + length + end_bytes != size:
        raise damaged
    return Header(tensors, metadata)
