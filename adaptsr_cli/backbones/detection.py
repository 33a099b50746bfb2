"""Detection of architectures by the names of tensors, and what to say of files that are of none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from adaptsr_cli.backbones.architectures import (
    MAIN_REGISTRY,
    Architecture,
    ArchRegistry,
    ArchSupport,
    KeyCondition,
)
from adaptsr_cli.backbones.edsr import EDSRArch
from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.checkpoints import CheckpointFile, StateDict
from adaptsr_cli.units import list_some, plural

_NEAR_ENOUGH: Final = 0.5  # more than this share of an architecture's marks must be there to call a file like it
_OWN_ARCHITECTURES: Final = (EDSRArch,)
"""Architectures that spandrel does not know, each in a file of its own."""

_FACTORS: Final = re.compile(r".*[._](lora_(A|B|down|up|embedding_[AB])|hada_w\d_[ab]|lokr_w\d)\b.*")

_DISCRIMINATOR: Final = re.compile(r"(^|[_\-.])(net_?d|discriminator|D)([_\-.]|$)|netD", re.ASCII)


class Detector:
    """Spandrel's architectures and ours, and the tensors that they were asked about.

    Attributes:
        seen: Every mapping of names to tensors that was looked at.
    """

    def __init__(self) -> None:
        # A registry of our own: the global one is not ours to change.
        self._registry: ArchRegistry = MAIN_REGISTRY.copy()
        for architecture in _OWN_ARCHITECTURES:
            self._registry.add(ArchSupport.from_architecture(architecture()), ignore_duplicates=True)
        self._supports = list(self._registry.architectures("detection"))
        self.seen: list[Mapping[str, Tensor]] = []

    def detect(self, state: Mapping[str, Tensor]) -> str | None:
        """The id of the architecture that tensors are of; None for none that is known."""
        self.seen.append(state)
        found = next((support for support in self._supports if support.detect(dict(state))), None)
        return None if found is None else str(found.architecture.id)

    def architecture(self, arch_id: str) -> Architecture[nn.Module]:
        """The architecture of an id that `detect` gave."""
        return next(s.architecture for s in self._supports if str(s.architecture.id) == arch_id)

    def explain_unknown(self, file: CheckpointFile) -> CheckpointError:
        """Say which architecture a file is most like, what it lacks of it, and what is in it."""
        share, name, missing, state = max(
            (
                (1 - len(missing) / marks, support.architecture.name, missing, state)
                for state in self.seen
                for support in self._supports
                for missing, marks in [_marks(support, state)]
                if marks
            ),
            key=lambda found: (found[0], len(found[2]), len(found[3])),
            default=(0.0, "", [], file.states[0].tensors),
        )
        first_keys = f"its first keys are {list_some(list(state))}"
        if share > _NEAR_ENOUGH:
            return CheckpointError(
                f"{file.path} looks like {name}, but is a variant with other blocks that cannot be read: it lacks "
                f"{list_some(missing)}",
                f"use the published {name}, or another model; {first_keys}",
            )
        if any(_FACTORS.fullmatch(key) for held in file.states for key in held.tensors):
            return CheckpointError(
                f"{file.path} holds low-rank factors of another program's adapter, not a network; {first_keys}",
                "fold it into its network with that program, and name the result",
            )
        if _DISCRIMINATOR.search(file.path.stem) or all(map(_has_spectral_norm, file.states)):
            return CheckpointError(
                f"{file.path} is of no known architecture, and seems to hold a discriminator, as GANs are trained by; "
                f"{first_keys}",
                "name the generator that the trainer wrote beside it, such as net_g_latest.pth",
            )
        held = _describe_states(file)
        return CheckpointError(
            f"{file.path} is of no known architecture; {first_keys}{held}",
            "adaptsr models lists architectures that work"
            + (f"; the nearest is {name}, of which are missing: {list_some(missing)}" if share > 0 else ""),
        )


def _describe_states(file: CheckpointFile) -> str:
    """What else than one mapping at the top a file holds."""
    if len(file.states) == 1 and file.states[0].wrapper is None:
        return ""
    states = [f"{state.wrapper or 'the top level'} ({plural(len(state.tensors), 'tensor')})" for state in file.states]
    return f"; it holds {list_some(states, 5)}"


def _has_spectral_norm(state: StateDict) -> bool:
    """Whether a mapping is of a network whose weights are normalised by their largest gain: no generator of images."""
    return any(key.endswith((".weight_orig", ".weight_u")) for key in state.tensors)


def explain_mismatch(path: Path, name: str, report: str, chosen: str) -> CheckpointError:
    """Turn torch's report on a state dict that does not fit into one line."""
    missing, unknown, reshaped = read_report(report)
    parts = [
        f"{len(keys)} {what} ({list_some(keys)})"
        for keys, what in ((missing, "missing"), (unknown, "unknown"), (reshaped, "of another shape"))
        if keys
    ]
    return CheckpointError(
        f"{path} looks like {name}{f' with {chosen}' if chosen else ''}, but its tensors do not fit: "
        f"{'; '.join(parts) or first_line(report)}",
        f"it is probably a variant of {name} with other options, or an incomplete file",
    )


def read_report(report: str) -> tuple[list[str], list[str], list[str]]:
    """The keys that are missing, unknown and of another shape in torch's report on a state dict."""
    missing, unknown = (
        re.findall(r'"([^"]+)"', _between(report, start)) for start in ("Missing key(s)", "Unexpected key(s)")
    )
    return missing, unknown, re.findall(r"size mismatch for ([^:]+):", report)


def _between(report: str, start: str) -> str:
    """The line of torch's report that begins with `start`."""
    return next((line for line in report.splitlines() if line.strip().startswith(start)), "")


def first_line(error: object) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _marks(support: ArchSupport, state: Mapping[str, Tensor]) -> tuple[Sequence[str], int]:
    """The keys by which an architecture is recognised that are missing, and how many there are in all.

    Spandrel has no public way to ask this; where its conditions change shape nothing is found and nothing breaks.
    """
    condition = getattr(support.architecture, "_detect", None)
    return _missing_marks(condition, state) if isinstance(condition, KeyCondition) else ([], 0)


def _missing_marks(condition: KeyCondition, state: Mapping[str, Tensor]) -> tuple[list[str], int]:
    found = [
        _missing_marks(key, state) if isinstance(key, KeyCondition) else ([] if key in state else [str(key)], 1)
        for key in getattr(condition, "_keys", ())
    ]
    if not found:
        return [], 0
    if getattr(condition, "_kind", "all") == "any":
        return min(found, key=lambda item: len(item[0]) / max(1, item[1]))
    return [key for missing, _ in found for key in missing], sum(marks for _, marks in found)
