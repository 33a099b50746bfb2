"""Everything a run needs to go on as if it had never stopped.

The batches are a pure function of seed and iteration, so no random state has to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.artifacts import FORMAT_VERSION, Frozen
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import read_tensors, write_tensors
from adaptsr_cli.training.config import TrainConfig

_HEADER = "adaptsr"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
# These may change between a run and its continuation without changing the result.
_FREE_OPTIONS = frozenset({"save_freq"})


class RunPlan(Frozen):
    """What must be the same for a run to be the same run.

    Attributes:
        backbone_sha256: Weights that are adapted.
        data_fingerprint: Pairs trained on and held out.
        ranks: Rank by site name.
    """

    config: TrainConfig
    backbone_sha256: str
    data_fingerprint: str
    ranks: dict[str, int]


class LoopState(Frozen):
    """Where the loop stands.

    Attributes:
        iteration: Steps done.
        elapsed_s: Seconds spent training, over all sittings.
        backbone_psnr_y_db: Validation score before the first step.
        best_psnr_y_db: Best validation score so far.
        best_iteration: When it was reached.
        pending_losses: Losses since the last log row.
    """

    artifact: Literal["training_state"] = "training_state"
    format_version: Literal[1] = FORMAT_VERSION
    plan: RunPlan
    iteration: int
    elapsed_s: float
    backbone_psnr_y_db: float
    best_psnr_y_db: float
    best_iteration: int
    pending_losses: tuple[float, ...]


def save_state(path: Path, state: LoopState, attachment: Attachment, optimizer: torch.optim.Adam) -> None:
    """Writes adapter, optimiser and position, atomically."""
    tensors = {f"adapter/{name}": tensor for name, tensor in attachment.state().items()}
    for index, parameter in enumerate(attachment.parameters()):
        moments = optimizer.state.get(parameter, {})
        for moment in _MOMENTS:
            if moment in moments:
                # The CUDA optimiser keeps `step` as a tensor on the device, the CPU one as a CPU tensor.
                tensors[f"adam/{index}/{moment}"] = moments[moment].detach().cpu().clone()
    write_tensors(path, tensors, {_HEADER: state.model_dump_json()})


def read_state(path: Path) -> tuple[LoopState, dict[str, Tensor]]:
    """Reads a state file.

    Raises:
        ArtifactError: Damaged or not a state file.
    """
    tensors, metadata = read_tensors(path)
    if _HEADER not in metadata:
        raise ArtifactError(f"{path} is no training state", "train anew with --force")
    return parse_document(metadata[_HEADER], LoopState, str(path)), tensors


def restore(tensors: Mapping[str, Tensor], attachment: Attachment, optimizer: torch.optim.Adam, path: Path) -> None:
    """Puts saved tensors back into adapter and optimiser.

    Raises:
        ArtifactError: A tensor is missing or of another shape.
    """
    adapter = {name.removeprefix("adapter/"): t for name, t in tensors.items() if name.startswith("adapter/")}
    attachment.load(adapter, str(path))
    for index, parameter in enumerate(attachment.parameters()):
        saved = {moment: tensors.get(f"adam/{index}/{moment}") for moment in _MOMENTS}
        if all(tensor is None for tensor in saved.values()):
            continue
        moments: dict[str, Tensor] = {}
        for moment, tensor in saved.items():
            if tensor is None or (moment != "step" and tensor.shape != parameter.shape):
                raise ArtifactError(f"{path}: the optimiser state is damaged", "train anew with --force")
            # Adam wants `step` on the CPU unless it is fused or capturable.
            on_device = moment != "step" or bool(optimizer.defaults.get("fused"))
            moments[moment] = tensor.to(parameter.device) if on_device else tensor.clone()
        optimizer.state[parameter] = moments


def require_same_run(path: Path, wanted: RunPlan) -> None:
    """Refuses to go on with a state that another run saved.

    Raises:
        ArtifactError: Naming what differs, or the state is damaged.
    """
    changed = differences(read_state(path)[0].plan, wanted)
    if changed:
        raise ArtifactError(
            f"{path.parent} holds another training run: {'; '.join(changed)}",
            "repeat its options to go on, or start anew with --force or another --run",
        )


def differences(saved: RunPlan, wanted: RunPlan) -> list[str]:
    """What keeps `wanted` from continuing `saved`, one short text each; empty where nothing does."""
    found = []
    for key, value in saved.config.model_dump().items():
        now = getattr(wanted.config, key)
        if key not in _FREE_OPTIONS and value != now:
            found.append(f"{key.replace('_px', '').replace('_', '-')} was {value}, now {now}")
    if saved.backbone_sha256 != wanted.backbone_sha256:
        found.append("the backbone is another one")
    if saved.data_fingerprint != wanted.data_fingerprint:
        found.append("the training images are others")
    if saved.ranks != wanted.ranks:
        changed = sum(saved.ranks.get(name) != wanted.ranks.get(name) for name in {*saved.ranks, *wanted.ranks})
        found.append(f"the rank map is another one ({changed} sites differ)")
    return found
