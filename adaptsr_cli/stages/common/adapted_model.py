"""The adapted network: a merged file, or a backbone with adapters folded in, in memory and in any strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.attach import fold
from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import weights_sha256
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.adapter_file import attach_adapter, read_adapter, require_adapter
from adaptsr_cli.stages.common.fields import DEFAULT_RUN
from adaptsr_cli.stages.common.models import ModelSpec, load_model, open_backbone, require_same_backbone
from adaptsr_cli.stages.common.run_command import run_command
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.run_merged import load_merged


def open_adapted(
    run: RunFolder,
    choice: ModelSpec,
    progress: Progress,
    *,
    adapters: Sequence[Path] = (),
    strength: float | None = None,
) -> Backbone:
    """Open the network to upscale with.

    Without adapters and strength: the named model, else the run's merged model, else its backbone, else the embedded
    default; which one is noted, and warned of where a run was named that is not there.

    Args:
        run: The run folder.
        choice: What the user asked for. With adapters their backbone; with a strength alone the adapted model.
        progress: Told which network was loaded.
        adapters: Adapter files of one backbone, whose updates are added up.
        strength: 0 for the backbone, 1 for the adapted model, whether it is merged or not; between them the updates
            are scaled. None for 1, of what is there already.

    Raises:
        UsageError: A strength, and nothing that is adapted, or not known from what.
        ArtifactError: An adapter or a model that belongs to another backbone.
        CheckpointError: No usable network.
    """
    if adapters:
        if adapters[0].exists():
            choice = choice.with_options_of(read_adapter(adapters[0])[0].backbone)
        backbone = open_backbone(run, choice, progress, record=False)
        return add_adapters(backbone, adapters, 1.0 if strength is None else strength, progress)
    is_unmerged = choice.name is None and run.find_merged() is None
    if strength is None or (strength == 1 and not (is_unmerged and run.adapter.exists())):
        return _open_plain(run, choice, progress)
    if is_unmerged:
        if run.adapter.exists():
            return add_adapters(open_backbone(run, choice, progress, record=False), (run.adapter,), strength, progress)
        raise UsageError(
            f"`strength` {strength:g} needs an adapted model, and {run.root} has none",
            "give `adapters`, or a merged model as `model`, or train first",
        )
    return _interpolate(run, choice, strength, progress)


def add_adapters(backbone: Backbone, adapters: Sequence[Path], strength: float, progress: Progress) -> Backbone:
    """Fold adapters into a backbone, in place.

    Args:
        backbone: The network that they were made for; changed.
        adapters: Files, whose updates are added up.
        strength: As for `open_adapted`.
        progress: Told which adapters were folded in.

    Raises:
        ArtifactError: A file that is missing, or was made for another network.
    """
    before = _copy_weights(backbone.model)
    for path in adapters:
        require_adapter(path)
        _, attachment = attach_adapter(backbone, path)
        fold(attachment)
        progress.note(f"with {path}")
    _blend_weights(before, backbone.model, strength)
    return backbone


def model_sha256(backbone: Backbone) -> str:
    """Compute the identity of the weights as they are run, merged in a file or in memory alike."""
    return weights_sha256(backbone.model.state_dict())


def _open_plain(run: RunFolder, choice: ModelSpec, progress: Progress) -> Backbone:
    if choice.name is None and (merged := load_merged(run, choice, progress)) is not None:
        return merged
    if choice.name is None and run.record.exists():
        todo = run_command(run, "merge" if run.adapter.exists() else "train")
        progress.warn(f"{run.root} has no merged model: using its backbone as it is (`{todo}` comes first)")
        return open_backbone(run, choice, progress, record=False)
    if choice.name is None and run.root != DEFAULT_RUN:
        progress.warn(f"there is no run in {run.root}: using the embedded network")
    return load_model(choice, progress)


def _interpolate(run: RunFolder, choice: ModelSpec, strength: float, progress: Progress) -> Backbone:
    """Interpolates between a merged model and the backbone that it was made from."""
    adapted = _open_plain(run, choice, progress)
    path = adapted.checkpoint.path
    text = adapted.checkpoint.metadata.get(HEADER)
    if text is None and not run.record.exists():
        raise UsageError(
            f"`strength` {strength:g}: {path} does not say which network it was adapted from",
            "name a `run` of that network, or a model that `adaptsr merge` made",
        )
    backbone = open_backbone(run, replace(choice, name=None), progress, record=False)
    if text is not None:
        made_for = parse_document(text, MergedHeader, str(path)).backbone
        require_same_backbone(made_for, path, backbone.identity)
    if text is None and adapted.identity.sha256 == backbone.identity.sha256:
        raise UsageError(
            f"`strength` {strength:g} needs an adapted model, and {path} is the backbone itself",
            "name a merged model, or the `run` whose backbone it was made from",
        )
    before, after = backbone.model.state_dict(), adapted.model.state_dict()
    if {name: tensor.shape for name, tensor in before.items()} != {
        name: tensor.shape for name, tensor in after.items()
    }:
        raise ArtifactError(
            f"{path} is not an adapted form of {backbone.checkpoint.path}: their weights have other names or shapes",
            "name the `run` whose backbone it was made from",
        )
    _blend_weights(before, adapted.model, strength)
    return adapted


def _copy_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _blend_weights(before: dict[str, Tensor], model: nn.Module, strength: float) -> None:
    """Set the weights to before + strength (weights - before); exactly `before` at 0, exactly as they are at 1."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.lerp(before[name], tensor, strength))
