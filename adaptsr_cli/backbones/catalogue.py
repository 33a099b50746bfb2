"""Catalogue of published checkpoints, and the folders of weights on this machine."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from adaptsr_cli.artifacts.base import StrictModel
from adaptsr_cli.backbones.download import check_file, fetch
from adaptsr_cli.errors import ArtifactError, DownloadError, UsageError, nearest
from adaptsr_cli.io.cache_folder import cache_dir
from adaptsr_cli.io.checkpoint_parts import has_model_suffix
from adaptsr_cli.progress import Progress

WEIGHTS_VARIABLE: Final = "ADAPTSR_WEIGHTS"
_DEFAULT_FILE: Final = "safmn_x4_bicubic.safetensors"


class CatalogueEntry(StrictModel):
    """One published checkpoint.

    Attributes:
        name: What ``--model`` takes.
        architecture: Architecture id.
        scale: Upscaling factor.
        file: Its name in the weights folder.
        url: Where it can be fetched; None where it ships with adaptsr or can only be got by hand from `page`.
        page: Where people find it.
        bytes: Its size, where known.
        sha256: Of the file, where known.
        licence: SPDX id, or words.
        psnr_y_set5_db: PSNR on the Y channel of Set5, as published.
        note: One remark.
    """

    name: Annotated[str, Field(pattern=r"[a-z0-9-]+")]
    architecture: str
    scale: Annotated[int, Field(ge=1)]
    file: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    url: Annotated[str, Field(pattern=r"^https://")] | None = None
    page: str
    bytes: Annotated[int, Field(gt=0)] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    licence: str
    psnr_y_set5_db: float | None = None
    note: str = ""


class _Catalogue(StrictModel):
    model: list[CatalogueEntry]


def bundled_weights_dir() -> Path:
    """The folder of the weights that ship with adaptsr: inside an installed package, or beside it in a checkout.

    Raises:
        ArtifactError: It is missing: the installation is damaged.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_weights", package.parent / "weights"):
        if (folder / "catalogue.toml").is_file():
            return folder
    raise ArtifactError(f"the weights that ship with adaptsr are missing beside {package}", "install adaptsr again")


def read_catalogue() -> tuple[CatalogueEntry, ...]:
    """Read ``catalogue.toml``.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    path = bundled_weights_dir() / "catalogue.toml"
    try:
        return tuple(_Catalogue.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).model)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"{path} is damaged: {reason}", "install adaptsr again") from error


def weights_dir(option: Path | None) -> Path:
    """Return the folder of downloaded weights: `option`, else ``ADAPTSR_WEIGHTS``, else the cache folder."""
    if option is not None:
        return option.expanduser()
    if named := os.environ.get(WEIGHTS_VARIABLE):
        return Path(named).expanduser()
    return cache_dir() / "weights"


def default_model() -> Path:
    """The network that ships with adaptsr: SAFMN x4."""
    return bundled_weights_dir() / _DEFAULT_FILE


def is_bundled(path: Path) -> bool:
    """Whether a file is one of the weights that ship with adaptsr, which move with the installation."""
    return path.resolve().parent == bundled_weights_dir().resolve()


def find_model(name_or_path: str, *, weights_dir: Path, offline: bool, progress: Progress) -> Path:
    """Return the file for `model`: a path as it is, or a name of the catalogue, downloaded where it is not there yet.

    Args:
        name_or_path: What the user wrote. A file of that name goes before the catalogue.
        weights_dir: Where downloads lie and are put.
        offline: Never open a connection.
        progress: Where the download is shown.

    Raises:
        UsageError: Neither a file nor a name.
        DownloadError: The file is not here and cannot be fetched, or is not the one the catalogue means.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    catalogue = {entry.name: entry for entry in read_catalogue()}
    entry = catalogue.get(name_or_path.lower())
    if entry is None and path.is_dir():  # of a trainer, with a model in it
        return path
    if entry is None:
        raise _unknown(name_or_path, path, list(catalogue))
    bundled = bundled_weights_dir() / entry.file
    if bundled.is_file():
        return bundled
    return _find_download(entry, weights_dir / entry.file, offline=offline, progress=progress)


def _unknown(text: str, path: Path, names: list[str]) -> UsageError:
    if has_model_suffix(path) or path.name != text:
        return UsageError(f"there is no model file {text!r}", "check the path, or run: adaptsr models")
    hint = nearest(text.lower(), names) or "adaptsr models lists the names"
    return UsageError(f"model {text!r} is neither a file nor a name of the catalogue", hint)


def _find_download(entry: CatalogueEntry, target: Path, *, offline: bool, progress: Progress) -> Path:
    if target.is_file():
        check_file(target, entry.sha256)
        return target
    checksum = f" (SHA-256 {entry.sha256})" if entry.sha256 else ""
    if entry.url is None:
        raise DownloadError(
            f"model {entry.name!r} cannot be fetched by a program: {entry.note}",
            f"get it from {entry.page} and put it at {target}{checksum}",
        )
    if offline:
        raise DownloadError(
            f"model {entry.name!r} is not here, and `offline` forbids the download",
            f"get {entry.url} and put it at {target}{checksum}",
        )
    fetch(entry.url, target, sha256=entry.sha256, size_bytes=entry.bytes, progress=progress)
    return target
