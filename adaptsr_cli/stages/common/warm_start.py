"""The warm start: the sidecar of a rank map made from an adapter, which holds the updates that training continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch import Tensor

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.warm_start import WarmStartHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.tensors import read_tensors, write_tensors
from adaptsr_cli.stages.common.models import require_same_backbone

MAKE_AGAIN: Final = "make both again with `adaptsr reallocate ADAPTER --force`"


def warm_start_path(rank_map: Path) -> Path:
    """Where the sidecar of a rank map lies."""
    return rank_map.with_suffix(".safetensors")


def write_warm_start(path: Path, header: WarmStartHeader, factors: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    """Write factors A and B by site name, atomically.

    Returns:
        The SHA-256 of the file.
    """
    tensors = {}
    for name, (lora_a, lora_b) in factors.items():
        tensors[f"{name}.lora_A"], tensors[f"{name}.lora_B"] = lora_a, lora_b
    write_tensors(path, tensors, {HEADER: header.model_dump_json()})
    return file_sha256(path)


def read_warm_start(
    rank_map: Path, start_sha256: str | None, backbone: Backbone
) -> tuple[WarmStartHeader, dict[str, Tensor]]:
    """Read the sidecar of a rank map.

    Args:
        rank_map: Its file.
        start_sha256: The SHA-256 that the rank map names.
        backbone: The network.

    Returns:
        (header, tensors by name)

    Raises:
        ArtifactError: Missing, damaged, another one than the rank map was written with, or of another network.
    """
    path = warm_start_path(rank_map)
    if not path.exists():
        raise ArtifactError(f"{rank_map} needs {path}, which is not there", MAKE_AGAIN)
    if file_sha256(path) != start_sha256:
        raise ArtifactError(f"{path} is not the one that {rank_map} was written with", MAKE_AGAIN)
    tensors, metadata = read_tensors(path)
    if HEADER not in metadata:
        raise ArtifactError(f"{path} holds no adapter to continue", MAKE_AGAIN)
    header = parse_document(metadata[HEADER], WarmStartHeader, str(path))
    require_same_backbone(header.backbone, path, backbone.identity)
    return header, tensors
