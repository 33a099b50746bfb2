"""The networks in a model file: which tensors belong to one, under which names, and which of several is meant.

Trainers wrap: every key gets a prefix (``module.``, ``model.``, ``netG.``), compilers and profilers add to names, and
losses, discriminators and moving averages lie beside. Which architecture a candidate is only its keys tell, so the
detection is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from adaptsr_cli.io.checkpoints import WRAPPERS, CheckpointFile, StateDict
from adaptsr_cli.units import list_some, plural

# What compilers and wrappers of single modules put between the parts of a name.
_INSERTED: Final = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
# What thop leaves in every module that it counted.
_COUNTERS: Final = frozenset({"total_ops", "total_params"})

_AVERAGE: Final = re.compile(
    r"(.*[_.\-])?(ema|swa|avg|average|averaged|shadow|polyak)(\d*|[_.\-].*)|g_?ema|averaged_?model|net_?e",
    re.IGNORECASE,
)
_GENERATOR: Final = re.compile(
    r"net_?g\w*|g|gen\w*|\w*generator\w*|model_?g|g_?model|state_dict_?g|student\w*", re.IGNORECASE
)
_BESIDE: Final = re.compile(
    r"net_?[df]\w*|[df]|dis|disc\w*|\w*discriminator\w*|model_?d|d_?model|state_dict_?d|\w*critic\w*|\w*loss\w*"
    r"|\w*criterion\w*|cri_\w+"
    r"|\w*perceptual\w*|\w*vgg\w*|\w*lpips\w*|\w*dists\w*|\w*metrics?\w*|psnr\w*|ssim\w*|fid\w*|niqe\w*|teacher\w*"
    r"|data_preprocessor|preprocess\w*|augment\w*|kornia\w*|feature_extractor\w*|contextual\w*|optim\w*"
    r"|callbacks|loops|lr_schedulers",
    re.IGNORECASE,
)
_COUNTS: Final = re.compile(
    r"n_averaged|initted|step|\w*_step|step_counter|epoch|\w*iter\w*|decay|num_updates|mean|std|best\w*", re.IGNORECASE
)
# Attributes by which modules that train, average or distribute hold the network.
_WRAPPER_NAMES: Final = re.compile(
    r"module|_?model\w*|_?net|network|nn|sr\w*|backbone|base_model|online_model|ema\w*|pl_module|arch|student\w*|fsdp|unet"
    r"|generator\w*|gen|g|net_?g\w*|params|state_dict|weights",
    re.IGNORECASE,
)
_DEEPEST: Final = 5


@dataclass(frozen=True)
class Candidate:
    """Tensors of a file that an architecture recognises.

    Attributes:
        state: The mapping that holds them.
        prefix: What their keys start with, as in the file but for what compilers insert.
        names: Name in the network -> key in `state.tensors`.
        architecture: Id of the architecture.
    """

    state: StateDict
    prefix: str
    names: Mapping[str, str]
    architecture: str

    @property
    def label(self) -> str:
        """What a user calls it by: the keys that lead to it."""
        return ".".join(self.parts) or "(top level)"

    @property
    def parts(self) -> tuple[str, ...]:
        """The keys that lead to it, one by one."""
        keys = (self.state.wrapper or "", self.prefix.rstrip("."))
        return tuple(part for text in keys for part in text.split(".") if part)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Name in the network -> tensor."""
        return {name: self.state.tensors[key] for name, key in self.names.items()}

    def counters(self) -> tuple[str, ...]:
        """Keys below the prefix that no network has: they are kept, and mean nothing."""
        taken = set(self.names.values())
        start = self.prefix
        return tuple(key for key in self.state.tensors if key not in taken and _plain_name(key).startswith(start))


def find_candidates(file: CheckpointFile, detect: Callable[[Mapping[str, Tensor]], str | None]) -> list[Candidate]:
    """All networks in a file that `detect` recognises, most wanted first.

    Args:
        file: The file.
        detect: The id of the architecture that a mapping of names to tensors is of; None for none.
    """
    found = [candidate for state in file.states for candidate in _search(state, plain_names(state), "", 0, detect)]
    return sorted(found, key=wantedness)


def wantedness(candidate: Candidate) -> tuple[bool, bool, bool, tuple[int, ...]]:
    """Sorts candidates: no discriminator or loss, moving averages before last iterates, generators before others."""
    parts = candidate.parts
    ranks = tuple(WRAPPERS.index(part) if part in WRAPPERS else len(WRAPPERS) + 1 for part in parts)
    return (
        any(_BESIDE.fullmatch(part) for part in parts),
        not any(_AVERAGE.fullmatch(part) for part in parts),
        not any(_GENERATOR.fullmatch(part) for part in parts),
        ranks or (len(WRAPPERS),),
    )


def is_beside(name: str) -> bool:
    """Whether a tensor belongs to a loss, a discriminator or the counts of a trainer, by its name."""
    head, dot, _ = name.partition(".")
    return _BESIDE.fullmatch(head) is not None or (not dot and _COUNTS.fullmatch(head) is not None)


def choose_by_name(candidates: Sequence[Candidate], name: str) -> list[Candidate]:
    """The candidates that a name means: the whole way to it, else its end, else any key on the way."""
    for fits in (
        lambda candidate: candidate.label == name,
        lambda candidate: candidate.label.endswith(f".{name}"),
        lambda candidate: name in candidate.parts,
    ):
        if found := [candidate for candidate in candidates if fits(candidate)]:
            return found
    return []


def describe_left_out(file: CheckpointFile, chosen: Candidate) -> tuple[str, ...]:
    """What of a file is not taken, in groups by what leads to it; empty where all is."""
    parts: list[str] = []
    taken = set(chosen.names.values())
    for state in file.states:
        rest = [key for key in state.tensors if state is not chosen.state or key not in taken]
        counters = [key for key in rest if key.rpartition(".")[2] in _COUNTERS]
        if counters and state is chosen.state:
            parts.append(f"{plural(len(counters), 'counter')} of a profiler")
            rest = [key for key in rest if key.rpartition(".")[2] not in _COUNTERS]
        if state is not chosen.state and all(state.tensors[key].numel() == 1 for key in rest):
            continue  # counts and scores of the trainer
        if state is not chosen.state:
            parts.append(f"{state.wrapper or 'the top level'} ({plural(len(rest), 'tensor')})")
        else:
            parts += _group(rest)
    if any(re.match(r"optim", entry, re.IGNORECASE) for entry in file.entries):
        parts.append("the state of the optimizer")
    if file.unread:
        parts.append(f"settings ({list_some(file.unread)})")
    return tuple(parts)


def _group(keys: Sequence[str]) -> list[str]:
    """``netD (12 tensors)`` for keys below a common part, single keys by their name."""
    heads: dict[str, list[str]] = {}
    for key in keys:
        # mmcv's average lies beside the network under names without dots: ema_generator_conv_first_weight.
        head = "ema_..." if "." not in key and key.startswith("ema_") else key.partition(".")[0]
        heads.setdefault(head, []).append(key)
    return [
        found[0] if len(found) == 1 else f"{head} ({plural(len(found), 'tensor')})" for head, found in heads.items()
    ]


def _plain_name(key: str) -> str:
    """A key without what compilers insert."""
    return ".".join(part for part in key.split(".") if part not in _INSERTED)


def plain_names(state: StateDict) -> dict[str, str]:
    """Key without what compilers insert -> key in the file, counters left out."""
    return {_plain_name(key): key for key in state.tensors if key.rpartition(".")[2] not in _COUNTERS}


def _search(
    state: StateDict,
    names: Mapping[str, str],
    prefix: str,
    depth: int,
    detect: Callable[[Mapping[str, Tensor]], str | None],
) -> Iterator[Candidate]:
    """Candidates below a prefix, from the top: old ESRGAN files have keys ``model.0``, so as it is comes first."""
    architecture = detect({name: state.tensors[key] for name, key in names.items()})
    if architecture is not None:
        yield Candidate(state, prefix, names, architecture)
        return
    if depth == _DEEPEST:
        return
    groups: dict[str, dict[str, str]] = {}
    loose = set()
    for name, key in names.items():
        head, _, rest = name.partition(".")
        if rest:
            groups.setdefault(head, {})[rest] = key
        else:
            loose.add(head)
    own = [head for head in groups if not _BESIDE.fullmatch(head)]
    for head, inner in groups.items():
        # Any name will do where nothing else is there; a part of an unknown network must not be taken for a network.
        if _WRAPPER_NAMES.fullmatch(head) or _AVERAGE.fullmatch(head) or _GENERATOR.fullmatch(head) or own == [head]:
            yield from _search(state, inner, f"{prefix}{head}.", depth + 1, detect)
