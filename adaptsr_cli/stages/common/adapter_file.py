"""The adapter file: a safetensors file whose header says all that is needed to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment, attach
from adaptsr_cli.adapters.shira import read_entries
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.artifacts.adapter import AdapterBase, AdapterHeader
from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import parse_document, read_document
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.tensors import read_tensors, write_tensors
from adaptsr_cli.stages.common.models import require_same_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder


def write_adapter(path: Path, header: AdapterHeader, state: dict[str, Tensor]) -> None:
    """Write an adapter, atomically."""
    write_tensors(path, state, {HEADER: header.model_dump_json()})


def read_adapter(path: Path) -> tuple[AdapterHeader, dict[str, Tensor]]:
    """Read an adapter.

    Raises:
        ArtifactError: Missing, damaged, or another kind of file.
    """
    tensors, metadata = read_tensors(path)
    if HEADER not in metadata:
        raise ArtifactError(f"{path} is not an adaptsr adapter", "train one with `adaptsr train --data DIR`")
    return parse_document(metadata[HEADER], AdapterHeader, str(path)), tensors


def require_adapter(path: Path) -> None:
    """Refuse a file that is not there.

    Raises:
        ArtifactError: It is not.
    """
    if not path.exists():
        raise ArtifactError(
            f"there is no adapter {path}", "check the path or the `run`, or train one with `adaptsr train --data DIR`"
        )


@dataclass(frozen=True)
class AdapterSource:
    """A trained adapter as it was read.

    Attributes:
        sha256: Of the file.
        tensors: By name, as the file holds them.
    """

    path: Path
    sha256: str
    header: AdapterHeader
    tensors: Mapping[str, Tensor]


def open_adapter(path: Path) -> AdapterSource:
    """Read an adapter for use.

    Raises:
        ArtifactError: Missing, damaged, or another kind of file.
    """
    require_adapter(path)
    header, tensors = read_adapter(path)
    return AdapterSource(path, file_sha256(path), header, tensors)


def read_guard(run: RunFolder, adapter_sha256: str) -> GuardRecord | None:
    """What the guard of a run found for an adapter; None where it was not asked about this one.

    Raises:
        ArtifactError: The file is damaged.
    """
    if not run.guard.exists():
        return None
    found = read_document(run.guard, GuardRecord)
    return found if found.adapter_sha256 == adapter_sha256 else None


def attach_adapter(backbone: Backbone, path: Path) -> tuple[AdapterHeader, Attachment]:
    """Put a trained adapter on its backbone.

    Raises:
        ArtifactError: The adapter was made for other weights, or its tensors are not what its header says.
    """
    header, tensors = read_adapter(path)
    return header, put_adapter(backbone, header, tensors, path)


def put_adapter(
    backbone: Backbone,
    header: AdapterHeader,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    base: AdapterBase | None = None,
) -> Attachment:
    """Put an adapter that was read already on its backbone.

    Args:
        backbone: The network that it was made for.
        header: What the adapter is.
        tensors: Its tensors by name.
        path: Where it came from, for messages.
        base: What is folded into the network already.

    Raises:
        ArtifactError: The adapter was made for other weights or on top of another adapter, or its tensors are not what
            its header says.
    """
    if header.base != base:
        raise ArtifactError(
            f"{path} was trained on top of another adapter and does not stand alone",
            "name the `run` that both belong to, and how much of it to mix in by `sharpness`",
        )
    require_same_backbone(header.backbone, path, backbone.identity)
    table = find_sites(backbone.model, backbone.traits)
    sites = table.select([entry.name for entry in header.sites], str(path))
    for site, entry in zip(sites, header.sites, strict=True):
        if site.shape != entry.shape:
            raise ArtifactError(
                f"{path}: {site.name} has shape {entry.shape}, in the backbone {site.shape}",
                "train the adapter again",
            )
    alphas = {entry.alpha for entry in header.sites}
    if len(alphas) != 1:
        raise ArtifactError(f"{path}: its sites have different alphas or there is none", "train the adapter again")
    plan = [(site, entry.rank) for site, entry in zip(sites, header.sites, strict=True)]
    try:
        attachment = attach(
            backbone.model,
            plan,
            alpha=alphas.pop(),
            method=header.method,
            lora_scaling=header.lora_scaling,
            factorization=header.factorization,
            principal=header.init == "pissa",
            entries=read_entries(tensors),
        )
    except (ArtifactError, UsageError) as error:
        raise ArtifactError(f"{path} contradicts itself: {error.message}", "train the adapter again") from error
    attachment.load(tensors, str(path))
    return attachment
