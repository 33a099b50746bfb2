"""The sidecar of the saliency file: where the gradient of every site points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.saliency import InitDirectionsHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import read_tensors, write_tensors
from adaptsr_cli.stages.common.models import require_same_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder


def write_directions(path: Path, header: InitDirectionsHeader, directions: Mapping[str, Tensor]) -> None:
    """Write leading right singular vectors, (k, in) by site name, atomically."""
    write_tensors(path, dict(directions), {HEADER: header.model_dump_json()})


def find_init_directions(run: RunFolder, rank_map: Path) -> Path:
    """The sidecar of the run, else the one beside the rank map, where its scoring has left it."""
    beside = rank_map.with_name(run.directions.name)
    return beside if beside.exists() and not run.directions.exists() else run.directions


def read_init_directions(path: Path, backbone: Backbone) -> dict[str, Tensor]:
    """Read them.

    Raises:
        ArtifactError: Missing, damaged, another kind of file, or made for other weights.
    """
    if not path.exists():
        raise ArtifactError(
            f"`init` gradient needs {path}, which is not there", "make it with `adaptsr score --data DIR --force`"
        )
    tensors, metadata = read_tensors(path)
    if HEADER not in metadata:
        raise ArtifactError(f"{path} holds no gradient directions", "make it again with `adaptsr score --force`")
    header = parse_document(metadata[HEADER], InitDirectionsHeader, str(path))
    require_same_backbone(header.backbone, path, backbone.identity)
    return tensors
