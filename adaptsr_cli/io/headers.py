"""Metadata of a safetensors file, read without its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.file_kinds import require_regular


@contextmanager
def safetensors_faults(path: Path) -> Iterator[None]:
    """Turn what the library raises on a bad file into one line that names the file."""
    try:
        require_regular(path)
        path.open("rb").close()  # the library says of a file without permission that it is not there
        yield
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is not a safetensors file, or it is damaged", "check the file, or fetch or make it again"
        ) from error
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}", "check the path") from error


@contextmanager
def utf8_name(path: Path) -> Iterator[str]:
    """Name an existing file for a library that wants UTF-8: by itself, else by a descriptor that is open meanwhile."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield str(path)


def read_metadata(path: Path) -> dict[str, str]:
    """Read the text entries in the header of a safetensors file; the header is checked against the file's size.

    Raises:
        ArtifactError: The file is missing, cut off or not a safetensors file.
    """
    with safetensors_faults(path), utf8_name(path) as name, safe_open(name, framework="numpy") as handle:
        return dict(handle.metadata() or {})
