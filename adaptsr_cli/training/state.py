"""Training state on disk: everything that resuming needs, so that an interrupted run equals a straight one.

The batches are a pure function of seed and iteration, so no random state has to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import read_tensors, write_tensors
from adaptsr_cli.training.config import TrainConfig
from adaptsr_cli.training.ema import MovingAverage
from adaptsr_cli.training.objective import Objective
from adaptsr_cli.training.optimizer_state import put_moments, read_moments

_HEADER = "adaptsr"
# These may change between a run and its continuation without changing the result.
_FREE_OPTIONS = frozenset({"save_freq"})
_DAMAGED = "start again with `force`"


class RunFingerprint(StrictModel):
    """What must be the same for a run to be the same run.

    Attributes:
        backbone_sha256: Weights that are adapted.
        data_fingerprint: Pairs trained on and held out, and how they are mixed and aligned.
        degradation_sha256: What makes LR from photos; empty where all LR sides are real.
        start_sha256: Of the file that holds the updates from which it goes on; empty where it begins at the backbone.
        ranks: Rank by site name.
    """

    config: TrainConfig
    backbone_sha256: str
    data_fingerprint: str
    degradation_sha256: str = ""
    start_sha256: str = ""
    ranks: dict[str, int]


class LoopState(StrictModel):
    """Where the loop stands.

    Attributes:
        iteration: Steps done.
        elapsed_s: Seconds spent training, over all sittings; so are the other accounts.
        waited_s: Of these, seconds spent waiting for data.
        energy_j: Joules taken; None where it was not reported all the time.
        peak_device_bytes: Most device memory held at a time; None on the CPU.
        peak_host_bytes: Most memory held at a time; None where the system does not tell.
        backbone_psnr_y_db: Validation score before the first step.
        best_psnr_y_db: Best validation score so far.
        best_iteration: When it was reached.
        pending_losses: Losses since the last log row, by name.
        finished: Nothing is left to do: the iterations are done, the time is over or patience was.
    """

    artifact: Literal["training_state"] = "training_state"
    format_version: Literal[1] = FORMAT_VERSION
    plan: RunFingerprint
    iteration: int
    elapsed_s: float = 0.0
    waited_s: float = 0.0
    energy_j: float | None = 0.0
    peak_device_bytes: int | None = None
    peak_host_bytes: int | None = None
    backbone_psnr_y_db: float
    best_psnr_y_db: float
    best_iteration: int
    pending_losses: tuple[dict[str, float], ...] = ()
    finished: bool = False


@dataclass(frozen=True)
class TrainState:
    """Everything that training changes.

    Attributes:
        average: The moving average of the adapter, where one is wanted.
    """

    attachment: Attachment
    optimizer: torch.optim.Adam
    objective: Objective
    average: MovingAverage | None


def save_state(path: Path, state: LoopState, train_state: TrainState) -> None:
    """Writes adapter, optimiser, objective and position, atomically."""
    tensors = {f"adapter/{name}": tensor for name, tensor in train_state.attachment.state().items()}
    parameters = list(train_state.attachment.parameters())
    moments = read_moments(train_state.optimizer, parameters)
    tensors |= {f"adam/{name}": tensor for name, tensor in moments.items()}
    tensors |= {f"objective/{name}": tensor for name, tensor in train_state.objective.state().items()}
    if train_state.average is not None:
        tensors |= {f"ema/{name}": tensor for name, tensor in train_state.average.state().items()}
    write_tensors(path, tensors, {_HEADER: state.model_dump_json()})


def read_state(path: Path) -> tuple[LoopState, dict[str, Tensor]]:
    """Reads a state file.

    Raises:
        ArtifactError: Damaged or not a state file.
    """
    tensors, metadata = read_tensors(path)
    if _HEADER not in metadata:
        raise ArtifactError(f"{path} is not a training state", _DAMAGED)
    return parse_document(metadata[_HEADER], LoopState, str(path)), tensors


def restore(tensors: Mapping[str, Tensor], train_state: TrainState, path: Path) -> None:
    """Puts saved tensors back into everything that training changes.

    Raises:
        ArtifactError: A tensor is missing or of another shape.
    """
    train_state.attachment.load(_below("adapter/", tensors), str(path))
    train_state.objective.load(_below("objective/", tensors), str(path))
    if train_state.average is not None:
        train_state.average.load(_below("ema/", tensors), str(path))
    parameters = list(train_state.attachment.parameters())
    put_moments(train_state.optimizer, parameters, _below("adam/", tensors), str(path))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def require_same_run(path: Path, wanted: RunFingerprint) -> None:
    """Refuse to resume from a state that another run saved.

    Raises:
        ArtifactError: Naming what differs, or the state is damaged.
    """
    changed = differences(read_state(path)[0].plan, wanted)
    if changed:
        raise ArtifactError(
            f"{path.parent} holds another training run: {'; '.join(changed)}",
            "give the options it was started with to resume, or start again with `force` or another `run`",
        )


def differences(saved: RunFingerprint, wanted: RunFingerprint) -> list[str]:
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
    if saved.degradation_sha256 != wanted.degradation_sha256:
        found.append("the degradation that makes the LR side of photos is another one")
    if saved.start_sha256 != wanted.start_sha256:
        found.append("the adapter that it goes on from is another one")
    if saved.ranks != wanted.ranks:
        changed = sum(saved.ranks.get(name) != wanted.ranks.get(name) for name in {*saved.ranks, *wanted.ranks})
        found.append(f"the rank map is another one ({changed} sites differ)")
    return found
