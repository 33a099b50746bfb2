"""The files that a model consists of: one, the shards of an index, or what a trainer put into a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.file_kinds import SAVE_FIRST, describe_irregular
from adaptsr_cli.io.strict_json import parse_json

SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pth.tar")

_INDEX: Final = ".index.json"
_SHARD: Final = re.compile(r"(?P<stem>.+)-(?P<place>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.(?:safetensors|bin|pth|pt))")
_STATES: Final = re.compile(
    r"(optim\w*|optimizer.*|scheduler.*|scaler.*|sampler.*|random_states.*|rng_state.*|training_args|custom_checkpoint.*"
    r"|.*optim_states|trainer_state|dl_state.*)",
    re.IGNORECASE,
)
_DEEPSPEED: Final = "mp_rank_00_model_states.pt"


@dataclass(frozen=True)
class Parts:
    """Which files hold a model.

    Attributes:
        files: The files, in the order of their names.
        is_sharded: The files hold pieces of one mapping of names to tensors; else each holds mappings of its own.
        origin: How they were found, for people; None for the one file that was named.
        names: Names of the tensors that an index promises.
    """

    files: tuple[Path, ...]
    is_sharded: bool = False
    origin: str | None = None
    names: frozenset[str] = frozenset()


def has_model_suffix(path: Path) -> bool:
    """Whether a file has the name of a model file; the index of a sharded one has it too."""
    return path.name.lower().endswith((*SUFFIXES, _INDEX))


def find_parts(path: Path) -> Parts:
    """Find the files of a model.

    Args:
        path: A model file, an index (``model.safetensors.index.json``), a shard of several, or a folder of
            Hugging Face, Accelerate or DeepSpeed.

    Raises:
        CheckpointError: There is none, a shard is missing, or several files of a folder could be meant.
    """
    if path.is_dir():
        return _find_in_folder(path)
    if not path.exists():
        raise CheckpointError(f"there is no model file {path}", "check the path, or run: adaptsr models")
    if (kind := describe_irregular(path)) is not None:
        raise CheckpointError(f"cannot read {path}: it is {kind}, no regular file", SAVE_FIRST)
    if path.name.lower().endswith(_INDEX):
        return _read_index(path)
    shard = _SHARD.fullmatch(path.name)
    if shard is not None and int(shard["count"]) > 1:
        index = path.with_name(f"{shard['stem']}{shard['suffix']}{_INDEX}")
        return _read_index(index) if index.is_file() else _gather(path, shard)
    return Parts((path,))


def _read_index(path: Path) -> Parts:
    try:
        content: Any = parse_json(path.read_text(encoding="utf-8"))
        names = {str(name): str(file) for name, file in content["weight_map"].items()}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}", "check the file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no index of a sharded model: it has no `weight_map`", "name the model file itself"
        ) from error
    files = sorted(set(names.values()))
    if any(Path(file).name != file for file in files):
        raise CheckpointError(f"{path} names files outside of its folder", "fetch the model again")
    if not files:
        raise CheckpointError(f"{path} names no files", "fetch the model again")
    return _require_all(
        Parts(tuple(path.with_name(file) for file in files), True, f"{len(files)} shards", frozenset(names)), path
    )


def _gather(path: Path, shard: re.Match[str]) -> Parts:
    """All shards beside one, by their names."""
    count = int(shard["count"])
    files = tuple(
        path.with_name(f"{shard['stem']}-{place:05d}-of-{count:05d}{shard['suffix']}") for place in range(1, count + 1)
    )
    return _require_all(Parts(files, True, f"{count} shards"), path)


def _require_all(parts: Parts, named: Path) -> Parts:
    missing = [file.name for file in parts.files if not file.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{named} is one of {len(parts.files)} pieces of a model, of which {missing[0]}{more} is not there",
            "fetch the missing files into the same folder",
        )
    return parts


def _find_in_folder(folder: Path) -> Parts:
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {error.strerror or error}", "check the folder") from error
    indices = [path for path in files if path.name.lower().endswith(_INDEX)]
    if len(indices) == 1:
        parts = _read_index(indices[0])
        return Parts(parts.files, True, f"{parts.origin} of {indices[0].name}", parts.names)
    latest = folder / "latest"
    if latest.is_file() and latest.stat().st_size < 200:  # DeepSpeed: the name of the folder of the last state
        tag = latest.read_text(encoding="utf-8", errors="replace").strip()
        if Path(tag).name == tag and (folder / tag / _DEEPSPEED).is_file():
            return Parts((folder / tag / _DEEPSPEED,), origin=f"DeepSpeed folder, {tag}")
    if (folder / _DEEPSPEED).is_file():
        return Parts((folder / _DEEPSPEED,), origin="DeepSpeed folder")
    models = [path for path in files if path.name.lower().endswith(SUFFIXES) and not _STATES.fullmatch(path.stem)]
    first = [path for path in models if re.fullmatch(r"(diffusion_pytorch_model|model|pytorch_model)", path.stem)]
    numbered = [path for path in models if re.fullmatch(r"(model|pytorch_model)_\d+", path.stem)]
    if first:  # Accelerate: one file for each network that it prepared, the same in both formats
        suffix = first[0].suffix if len(first) == 1 else ".safetensors"
        chosen = tuple(path for path in (*first, *numbered) if path.suffix == suffix)
        return Parts(chosen, origin=f"{' and '.join(path.name for path in chosen)} in the folder")
    if len(models) == 1:
        return Parts((models[0],), origin=f"{models[0].name} in the folder")
    if models:
        shown = ", ".join(path.name for path in models[:5]) + (", ..." if len(models) > 5 else "")
        raise CheckpointError(f"{folder} is a folder with {len(models)} model files", f"name one of them: {shown}")
    if any(path.suffix == ".distcp" or path.name == ".metadata" for path in (*files, *folder.glob("*/*.distcp"))):
        raise CheckpointError(
            f"{folder} is a distributed checkpoint, whose tensors are spread over several files",
            "gather it first: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER model.pth",
        )
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
    raise CheckpointError(
        f"{folder} is a folder without a model file; it holds {found}",
        f"name a model file; known endings: {' '.join(SUFFIXES)}",
    )
