"""Training state on disk: everything that resuming needs, so that an interrupted run equals a straight one.

The batches are a pure function of seed and iteration, so no random state has to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.train_config import OptimizerName, TrainConfig
from adaptsr_cli.artifacts.train_state import LoopState, RunFingerprint, ScheduleStart
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import read_tensors, write_tensors
from adaptsr_cli.training.due import end_of_plan
from adaptsr_cli.training.ema import AdapterAverage
from adaptsr_cli.training.objective import Objective
from adaptsr_cli.training.optimizer import JointOptimizer
from adaptsr_cli.training.optimizer_state import put_moments, read_moments
from adaptsr_cli.units import format_seconds, plural

# These may change between a run and its continuation without changing the result; what was degraded how is compared as
# such, whatever it was named by.
_FREE_OPTIONS = frozenset({"save_freq", "degrade"})
# A longer plan goes on from the state of a shorter one, and its validations may be farther apart.
_LENGTH_OPTIONS = ("iterations", "minutes")
_FREE_WITH_LENGTH = frozenset({*_FREE_OPTIONS, *_LENGTH_OPTIONS, "val_freq"})
_RESTART_SHARE: Final = 0.5

_MOMENTS: Final = tuple(f"{name}/" for name in get_args(OptimizerName))
_DAMAGED = "start again with `force`"


@dataclass(frozen=True)
class TrainState:
    """Everything that training changes.

    Attributes:
        average: Of the adapter, where one is kept.
    """

    attachment: Attachment
    optimizer: JointOptimizer
    objective: Objective
    average: AdapterAverage | None


def save_state(path: Path, state: LoopState, train_state: TrainState) -> None:
    """Write adapter, optimiser, objective and position, atomically."""
    tensors = {f"adapter/{name}": tensor for name, tensor in train_state.attachment.state().items()}
    parameters = list(train_state.attachment.parameters())
    tensors |= read_moments(train_state.optimizer, parameters)
    tensors |= {f"objective/{name}": tensor for name, tensor in train_state.objective.state().items()}
    if train_state.average is not None:
        tensors |= {f"ema/{name}": tensor for name, tensor in train_state.average.state().items()}
    write_tensors(path, tensors, {HEADER: state.model_dump_json()})


def write_state(path: Path, state: LoopState, tensors: Mapping[str, Tensor]) -> None:
    """Write what `read_state` gave, with another position or account."""
    write_tensors(path, dict(tensors), {HEADER: state.model_dump_json()})


def read_state(path: Path) -> tuple[LoopState, dict[str, Tensor]]:
    """Read a state file.

    Raises:
        ArtifactError: Damaged or not a state file.
    """
    tensors, metadata = read_tensors(path)
    if HEADER not in metadata:
        raise ArtifactError(f"{path} is not a training state", _DAMAGED)
    return parse_document(metadata[HEADER], LoopState, str(path)), tensors


def adapter_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the adapter among those of a state, by its own names."""
    return _below("adapter/", tensors)


def restore(tensors: Mapping[str, Tensor], train_state: TrainState, path: Path) -> None:
    """Put saved tensors back into everything that training changes.

    Raises:
        ArtifactError: A tensor is missing or of another shape.
    """
    train_state.attachment.load(adapter_tensors(tensors), str(path))
    train_state.objective.load(_below("objective/", tensors), str(path))
    if train_state.average is not None:
        train_state.average.load(_below("ema/", tensors), str(path))
    parameters = list(train_state.attachment.parameters())
    moments = {name: tensor for name, tensor in tensors.items() if name.startswith(_MOMENTS)}
    put_moments(train_state.optimizer, parameters, moments, str(path))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def continue_run(state: LoopState, wanted: RunFingerprint, folder: Path) -> LoopState:
    """The saved state under the plan that is wanted now, which may be longer than the one it was saved under.

    A finished training that gets more iterations or minutes begins its schedule anew; an unfinished one follows that
    of the new length.

    Args:
        state: As it was saved.
        wanted: What is asked for now.
        folder: Where it lies, for messages.

    Raises:
        ArtifactError: Another run saved it (what differs is named), or it is at the wanted end already.
    """
    changed = differences(state.plan, wanted)
    if changed:
        raise ArtifactError(
            f"{folder} holds another training run: {'; '.join(changed)}",
            "give the options it was started with to resume, or start again with `force` or another `run`",
        )
    if not _other_length(state.plan, wanted):
        return state
    if end_of_plan(state, wanted.config) is not None:
        raise ArtifactError(
            f"{folder} holds a training of {plural(state.iteration, 'iteration')} "
            f"({format_seconds(state.elapsed_s)}), and what is asked for now is not more",
            "its adapter is there; give more `iterations` or `minutes` to go on, or `force` to start again",
        )
    update: dict[str, object] = {"plan": wanted, "finished": False}
    if state.finished:
        update["schedule_start"] = ScheduleStart(
            iteration=state.iteration, elapsed_s=state.elapsed_s, peak_share=restart_share(wanted.config)
        )
    return state.model_copy(update=update)


def restart_share(config: TrainConfig) -> float:
    """Peak of the rate after a finished training was given more iterations, as a share of the first peak.

    What has fallen to a hundredth must not rise to the whole again, which would undo what it found.
    """
    return 1.0 if config.schedule == "constant" else _RESTART_SHARE


def _other_length(saved: RunFingerprint, wanted: RunFingerprint) -> bool:
    return any(getattr(saved.config, name) != getattr(wanted.config, name) for name in _LENGTH_OPTIONS)


def differences(saved: RunFingerprint, wanted: RunFingerprint) -> list[str]:
    """What keeps `wanted` from continuing `saved`, one short text each; empty where nothing does."""
    found = []
    free = _FREE_WITH_LENGTH if _other_length(saved, wanted) else _FREE_OPTIONS
    for key, value in saved.config.model_dump().items():
        now = getattr(wanted.config, key)
        if key not in free and value != now:
            found.append(f"`{key.removesuffix('_px')}` was {value}, now {now}")
    if saved.backbone_sha256 != wanted.backbone_sha256:
        found.append("the backbone is another one")
    if saved.data_fingerprint != wanted.data_fingerprint:
        found.append("the training images are others, or come in another order, share or alignment")
    if saved.degradation_sha256 != wanted.degradation_sha256:
        found.append("the degradation that makes the LR side of photos is another one")
    if saved.start_sha256 != wanted.start_sha256:
        found.append("it continues another adapter")
    if saved.base != wanted.base:
        found.append("it is on top of another adapter")
    if saved.ranks != wanted.ranks:
        changed = sum(saved.ranks.get(name) != wanted.ranks.get(name) for name in {*saved.ranks, *wanted.ranks})
        found.append(f"the rank map is another one ({changed} sites differ)")
    return found
