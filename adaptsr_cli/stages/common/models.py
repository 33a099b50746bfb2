"""Which network a command works on: found, loaded, and checked against what the run folder knows of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from adaptsr_cli.artifacts.base import BackboneIdentity
from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.catalogue import bundled_weights_dir, default_model, find_model, is_bundled, read_catalogue
from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
from adaptsr_cli.backbones.hyperparameters import Value, doubtful_guess, format_choices, parse_choices
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.units import format_params, list_some


@dataclass(frozen=True)
class ModelSpec:
    """Which network the user wants and where networks are looked for.

    Attributes:
        name: File or catalogue name; None for the run's backbone, or the embedded default in a new run.
        weights_dir: Where downloaded checkpoints lie.
        offline: Never download.
        options: What the network's file does not tell.
    """

    name: str | None
    weights_dir: Path
    offline: bool
    options: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str | None, weights_dir: Path | None, *, offline: bool, options: Sequence[str] = ()) -> Self:
        """The network that options name; the usual folder of downloaded weights where they name none.

        Raises:
            UsageError: One of `options` is not NAME=VALUE.
        """
        return cls(name, find_weights_dir(weights_dir), offline, parse_choices(options))

    def with_options_of(self, made_for: BackboneIdentity) -> Self:
        """The same network, opened as an artifact's was where the user says nothing else."""
        return self if self.options else replace(self, options=made_for.options)


def open_backbone(run: RunFolder, choice: ModelSpec, progress: Progress, *, record: bool = True) -> Backbone:
    """Load the backbone of a run, and make it the run's if the run is new, or nothing was made with another one yet.

    Where the run's backbone was moved, the file that is named is the run's from then on, if it is the same network.

    Args:
        run: The run folder.
        choice: What the user asked for.
        progress: Told which network was loaded.
        record: Write ``run.json``.

    Raises:
        ArtifactError: The run belongs to other weights, or its backbone has changed or vanished.
        CheckpointError: The file is no usable network.
    """
    is_known = _is_settled(run, choice.name) if record else run.record.exists()
    known = read_document(run.record, RunRecord) if is_known else None
    if known is not None and choice.name is None:
        choice = replace(choice, name=str(_locate(known, run)))
    backbone = load_model(choice, progress, known.backbone if known is not None else None)
    if known is not None:
        require_same_backbone(known.backbone, run.record, backbone.identity)
    if record and (known is None or not _path_of(known).exists()):
        location = _portable(backbone.checkpoint.path)
        write_document(run.record, RunRecord(backbone=backbone.identity, model_path=location))
    return backbone


def load_model(choice: ModelSpec, progress: Progress, known: BackboneIdentity | None = None) -> Backbone:
    """Load the chosen network, else the embedded default, with the options of the `known` one; note what it is."""
    if choice.name is not None:
        path = find_model(choice.name, weights_dir=choice.weights_dir, offline=choice.offline, progress=progress)
    else:
        path = default_model()
    backbone = _load_as_known(path, choice.options, known)
    identity, checkpoint = backbone.identity, backbone.checkpoint
    way = ".".join(filter(None, (checkpoint.wrapper, checkpoint.prefix.rstrip("."))))
    key = f", key {way!r}" if way else ""
    chosen = f", with {format_choices(identity.options)}" if identity.options else ""
    progress.note(
        f"backbone {identity.source}: {identity.architecture} x{identity.scale}, "
        f"{format_params(identity.params)} parameters{key}{chosen}"
    )
    if checkpoint.left_out:
        progress.note(f"left out of {identity.source}: {list_some(checkpoint.left_out, 6)}")
    if doubt := doubtful_guess(identity.architecture, backbone.arguments, checkpoint.names, identity.options):
        progress.warn(f"{identity.source}: {doubt}")
    return backbone


def network_sha256(identity: BackboneIdentity) -> str:
    """Compute the hash of a file's weights, and of what was chosen beside them."""
    if not identity.options:
        return identity.sha256
    text = json.dumps([identity.sha256, identity.options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_settled(run: RunFolder, name: str | None) -> bool:
    """Whether the recorded backbone is the run's, also where another one is named."""
    return run.record.exists() and (name is None or run.is_begun)


def _load_as_known(path: Path, wanted: Mapping[str, Value], known: BackboneIdentity | None) -> Backbone:
    """Load a network as the run did where nothing else is wanted; what comes to the same is the run's too."""
    if known is None or not wanted:
        return load_backbone(path, options=wanted or (known.options if known is not None else {}))
    backbone = load_backbone(path, options=wanted)
    if backbone.identity.options != known.options and backbone.identity.sha256 == known.sha256:
        as_known = load_backbone(path, options=known.options)
        return as_known if as_known.arguments == backbone.arguments else backbone
    return backbone


def expected_scale(run: RunFolder | None, name: str | None) -> int | None:
    """The factor of the network, as far as it is known without loading it: data is looked for before that.

    Args:
        run: The run folder, whose backbone goes before everything else, since another is refused when it is loaded
            (unless nothing was made with it); None where any network may be named.
        name: What the user asked for; None for the embedded default.

    Returns:
        None for a file that only loading can tell.

    Raises:
        ArtifactError: ``run.json`` is damaged.
    """
    if run is not None and _is_settled(run, name):
        return read_document(run.record, RunRecord).backbone.scale
    entries = read_catalogue()
    if name is None:
        return next((entry.scale for entry in entries if entry.file == default_model().name), None)
    return next((entry.scale for entry in entries if entry.name == name.lower() and not Path(name).exists()), None)


def _portable(path: Path) -> str:
    """The embedded weights by file name, since they move with the installation; others by absolute path."""
    if is_bundled(path):
        return f"embedded:{path.name}"
    return str(path.resolve())


def _path_of(record: RunRecord) -> Path:
    embedded = record.model_path.removeprefix("embedded:")
    return bundled_weights_dir() / embedded if embedded != record.model_path else Path(embedded)


def _locate(record: RunRecord, run: RunFolder) -> Path:
    """Where the run's backbone lies.

    Raises:
        ArtifactError: It is no longer there.
    """
    path = _path_of(record)
    if not path.exists():
        raise ArtifactError(
            f"the run's backbone {record.model_path} is no longer there",
            f'move it back, or write where it is now as "model_path" into {run.record}',
        )
    return path


def require_same_backbone(made_for: BackboneIdentity, artifact: Path, backbone: BackboneIdentity) -> None:
    """Refuse an artifact that was made for other weights.

    Raises:
        ArtifactError: Naming the artifact and both networks.
    """
    if made_for.sha256 != backbone.sha256:
        raise ArtifactError(
            f"{artifact} was made for {_name(made_for)}, but the backbone is {_name(backbone)}",
            "give the `model` it was made for, or another `run`",
        )
    if made_for.options != backbone.options:
        ours, theirs = (format_choices(identity.options) or "no choices" for identity in (backbone, made_for))
        raise ArtifactError(
            f"{artifact} was made with {theirs}, but the backbone is opened with {ours}",
            f"give the `model_options` it was made with ({theirs}), or another `run`",
        )


def _name(identity: BackboneIdentity) -> str:
    return f"{identity.source} ({identity.architecture} x{identity.scale}, {identity.sha256[:8]})"
