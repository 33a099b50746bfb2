"""Files of `torch.save`, read without running anything that they hold.

Trainers put their settings beside the weights, as objects of their own classes. Torch refuses such a file as a whole.
Where the classes are those of well-known settings (argparse, Lightning, OmegaConf, numpy), an empty placeholder stands
for each of their objects: neither the class nor anything that the file names is ever called.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import torch

from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.file_kinds import require_regular

FETCH_AGAIN: Final = "fetch or make the file again"

_PICKLE_START: Final = b"\x80"  # the format of torch before 1.6, still common
# What `zipfile` raises on damaged archives, besides what it documents.
_ARCHIVE_FAULTS: Final = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError)

# Classes that hold settings, results and logs. Everything else that is not a tensor is taken for a danger.
_SETTINGS: Final = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|typing\.Any|collections\.(deque|defaultdict)|functools\.partial"
    r"|pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path|datetime\.\w+|uuid\.UUID|decimal\.Decimal|fractions\.Fraction"
    r"|builtins\.(dict|list|tuple|set|frozenset|int|float|str|bool|bytes|complex|slice|range|object)"
    r"|copyreg\._reconstructor|_codecs\.encode"
    r"|(omegaconf|hydra|numpy|addict|easydict|yacs|munch|box|ml_collections|mmengine|mmcv|mmagic|mmedit|basicsr"
    r"|lightning|lightning_fabric|lightning_utilities|pytorch_lightning|lightning_lite|torchmetrics|accelerate"
    r"|deepspeed|ignite|transformers|wandb|tensorboardX)\.[\w.]+"
)
# Programs that keep the weights in a .bin file, and how the other file ends.
_HALVES: Final = {".param": "ncnn", ".xml": "OpenVINO"}
_MOST_CLASSES: Final = 100  # of one file; more are an attack on the time of the reader


class _Unread(list[Any]):
    """Stands for an object that is not read: takes whatever the file says of it and keeps nothing."""

    def __new__(cls, *_arguments: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        super().__init__()

    def __setstate__(self, _state: object) -> None:
        """Take nothing from the file."""


class _UnreadMapping:
    """Stands for a class of mappings; what it makes is a plain one, since torch fills no other."""

    def __new__(cls, *_arguments: object) -> Any:
        return OrderedDict()


def load_pickle(path: Path) -> tuple[object, tuple[str, ...]]:
    """Read what `torch.save` put into `path`, always with ``weights_only=True``.

    Returns:
        What the file holds, placeholders in place of settings; and the names of the classes that were not read.

    Raises:
        CheckpointError: The file is unreadable, damaged, of another kind, or holds more than weights and settings.
    """
    _refuse_other_files(path)
    unread: dict[str, type] = {}
    while True:
        try:
            with warnings.catch_warnings():
                # Old files name storages by type; torch warns of its own internals, which nobody here can change.
                warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
                warnings.filterwarnings("ignore", message=".*'torch.load' received a zip file.*")
                # Said of pickles that then turn out to be unsafe, which is answered below.
                warnings.filterwarnings("ignore", message="Detected pickle protocol")
                with torch.serialization.safe_globals([(kind, name) for name, kind in unread.items()]):
                    return torch.load(path, map_location="cpu", weights_only=True), tuple(unread)
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}", "check the file") from error
        except pickle.UnpicklingError as error:
            if (mapping := _misjudged_mapping(error, unread)) is not None:
                unread[mapping] = _placeholder(mapping, _UnreadMapping)
                continue
            name = _culprit(error)
            if name is None or name in unread or len(unread) >= _MOST_CLASSES or not _is_of_settings(name, unread):
                raise _explain(path, error, name) from error
            unread[name] = _placeholder(name, _Unread)
        except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
            raise CheckpointError(f"{path} is cut off, damaged or not a torch checkpoint", FETCH_AGAIN) from error


def _is_of_settings(name: str, unread: Mapping[str, type]) -> bool:
    """Whether a class or function belongs to well-known settings, by its name and by those that came before."""
    if name == "builtins.getattr":  # the logs of mmengine hold methods of their own classes
        return any(known.startswith(("mmengine.", "mmcv.")) for known in unread)
    return _SETTINGS.fullmatch(name) is not None


def _placeholder(name: str, base: type) -> type:
    """A class of its own for each name: torch goes by the class to know what is allowed."""
    return type(name.replace(".", "_"), (base,), {"__module__": __name__})


def _misjudged_mapping(error: pickle.UnpicklingError, unread: Mapping[str, type]) -> str | None:
    """The name of a placeholder that the file fills like a mapping, which only shows as it is read."""
    found = re.search(rf"Can only SETITEMS? for .*'{re.escape(__name__)}\.(\w+)'", str(error))
    if found is None:
        return None
    return next((name for name, kind in unread.items() if kind.__name__ == found[1]), None)


def _culprit(error: pickle.UnpicklingError) -> str | None:
    """The class or function that torch would not let pass."""
    found = re.search(r"(?:GLOBAL|class|function) ([\w.]+)(?= was not| whose|\b)", str(error))
    if found is None:
        return None
    name = found[1].rstrip(".")
    return name if "." in name else f"builtins.{name}"  # torch leaves that module out in what it says


def _explain(path: Path, error: pickle.UnpicklingError, culprit: str | None) -> CheckpointError:
    if culprit is None and "Unsupported" not in str(error) and "Can only" not in str(error):
        return CheckpointError(f"{path} is damaged or not a torch checkpoint", FETCH_AGAIN)
    if culprit is not None and culprit.startswith("torch.distributed"):
        return CheckpointError(
            f"{path} holds pieces of tensors that were spread over several processes ({culprit})",
            "gather them first, with the trainer's own export of a full state dict",
        )
    what = culprit or "an unusual object"
    hint = "where you trust it, save only its weights: torch.save(network.state_dict(), 'weights.pth')"
    if culprit is not None and not culprit.startswith(("builtins.", "os.", "posix.", "nt.", "subprocess.", "sys.")):
        hint += "; a file of torch.save(network) holds the program too, not only weights"
    return CheckpointError(
        f"{path} holds more than weights ({what}); opening it could run code hidden in it, so it is not opened", hint
    )


def _refuse_other_files(path: Path) -> None:
    try:
        require_regular(path)
        with path.open("rb") as handle:
            start = handle.read(64)
        archived = zipfile.is_zipfile(path)
        # Torch does not look at the checksums: it would take a weight with a flipped bit as it is.
        names = _check_archive(path) if archived else []
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}", "check the file") from error
    except _ARCHIVE_FAULTS as error:
        raise CheckpointError(f"{path} is cut off or damaged", FETCH_AGAIN) from error
    if not start:
        raise CheckpointError(f"{path} is empty", FETCH_AGAIN)
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{path} is a web page, not a model", "the download went wrong; fetch it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is only a Git LFS pointer to a model", "fetch the file itself: git lfs pull")
    if start[8:].startswith(b'{"'):
        raise CheckpointError(f"{path} is a safetensors file by its content", "rename it to end in .safetensors")
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript program, not weights that can be adapted",
            "use the state dict (.pth or .safetensors) that it was made from",
        )
    if archived and not any(name.endswith("data.pkl") for name in names):
        what = "a Keras or numpy" if any(name.endswith((".npy", ".h5", "config.json")) for name in names) else "a zip"
        raise CheckpointError(f"{path} is {what} archive, not a torch checkpoint", "unpack it and name the model in it")
    for suffix, program in _HALVES.items():
        if path.suffix.lower() == ".bin" and path.with_suffix(suffix).exists():
            raise CheckpointError(
                f"{path} is one half of a model of {program}, beside {path.with_suffix(suffix).name}",
                "name the pth or safetensors file that it was converted from",
            )
    if not archived and not start.startswith(_PICKLE_START):
        raise CheckpointError(f"{path} is cut off, damaged or not a torch checkpoint", FETCH_AGAIN)


def _check_archive(path: Path) -> list[str]:
    """The names in an archive whose entries all agree with their checksums."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        return archive.namelist()
