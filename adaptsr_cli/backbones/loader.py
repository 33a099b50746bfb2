"""Loading of a checkpoint as a `Backbone`: choice of the network in the file and all checks before the first image."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from adaptsr_cli.artifacts.base import HEADER, BackboneIdentity
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.architectures import ImageModelDescriptor
from adaptsr_cli.backbones.backbone import (
    MAX_REACH_PX,
    Backbone,
    Traits,
    fit_to_network,
    looks_at_all,
    receptive_field_px,
    traits_of,
)
from adaptsr_cli.backbones.candidates import (
    Candidate,
    choose_by_name,
    describe_left_out,
    find_candidates,
    is_beside,
    wantedness,
)
from adaptsr_cli.backbones.construction import Blueprint, build_network
from adaptsr_cli.backbones.detection import Detector, explain_mismatch, first_line, read_report
from adaptsr_cli.backbones.fast.forwards import published_forwards, unfuse
from adaptsr_cli.backbones.fast.network import fuse
from adaptsr_cli.backbones.hyperparameters import NETWORK, Value, format_choices
from adaptsr_cli.backbones.products import fuse_products
from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.checkpoints import Checkpoint, CheckpointFile, read_checkpoint_file
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import weights_sha256

_PROBE_PX: Final = 16
_FAULTS_OF_NETWORKS: Final = (RuntimeError, AttributeError, TypeError, ValueError, AssertionError)
_SAME: Final = 2e-4  # threads may add in another order; noise that a network adds is larger
_PURPOSES: Final = {
    "Restoration": "restores images at their own size",
    "FaceSR": "restores faces only",
    "Inpainting": "fills holes in images",
}


@dataclass(frozen=True)
class _Network:
    """One network of a file, built and filled."""

    candidate: Candidate
    descriptor: ImageModelDescriptor[nn.Module]
    arguments: Mapping[str, Any]


def load_backbone(path: Path, *, source: str | None = None, options: Mapping[str, Value] | None = None) -> Backbone:
    """Load a single-image super-resolution network of any architecture that spandrel knows, or EDSR.

    Args:
        path: The checkpoint: a file, the index of a sharded one, or a folder that holds one.
        source: What to call it in artifacts, such as a catalogue name; the file name where left out.
        options: Arguments of the network's constructor that its tensors do not tell, such as ``img_range``, and
            ``network``: which of several in the file is meant.

    Raises:
        CheckpointError: The file cannot be read, is of no known architecture, does not fit the one it looks like,
            holds values that are not finite, or is no network that takes one RGB image and gives a larger one.
        UsageError: An option that the network does not have.
    """
    file = read_checkpoint_file(path)
    choices = _merge_choices(file, options or {})
    network = _choose(file, choices)
    checkpoint = _checkpoint_of(file, network.candidate)
    _check_finite(checkpoint)
    descriptor = network.descriptor
    architecture = network.candidate.architecture
    model: nn.Module = descriptor.model.float().eval().requires_grad_(False)
    keys = _match_keys(model, checkpoint)
    fuse_products(model)
    fuse(model)
    size = descriptor.size_requirements
    backbone = Backbone(
        model=model,
        identity=BackboneIdentity(
            architecture=architecture,
            scale=descriptor.scale,
            params=sum(parameter.numel() for parameter in model.parameters()),
            sha256=weights_sha256(checkpoint.tensors),
            source=source or path.name or str(path),
            options=_effective(choices, network.arguments),
        ),
        checkpoint=checkpoint,
        keys=keys,
        traits=_traits_of_network(architecture, model, size.multiple_of),
        multiple_px=size.multiple_of,
        minimum_px=max(1, size.minimum),
        square=size.square,
        arguments=network.arguments,
    )
    _probe(path, backbone, descriptor)
    return backbone


def _merge_choices(file: CheckpointFile, given: Mapping[str, Value]) -> dict[str, Value]:
    """The options that a merged file of ours was made with, and those that were given.

    Raises:
        CheckpointError: The two contradict.
    """
    text = file.metadata.get(HEADER)
    if text is None:
        return dict(given)
    stored = parse_document(text, MergedHeader, str(file.path)).backbone.options
    stored = {name: value for name, value in stored.items() if name != NETWORK}  # the file holds only that one
    contrary = {name: value for name, value in given.items() if name in stored and stored[name] != value}
    if contrary:
        raise CheckpointError(
            f"{file.path} was made with {format_choices({name: stored[name] for name in contrary})}, "
            f"not {format_choices(contrary)}",
            "leave `model_options` out",
        )
    return {**given, **stored}


def _effective(choices: Mapping[str, Value], arguments: Mapping[str, Any]) -> dict[str, Value]:
    """The choices in the types of the constructor, in the order of their names."""

    def plain(value: Any) -> Value:
        return tuple(value) if isinstance(value, list | tuple) else value

    return {name: plain(arguments.get(name, value)) for name, value in sorted(choices.items())}


def _choose(file: CheckpointFile, choices: Mapping[str, Value]) -> _Network:
    """The network of the file that is meant, built.

    Raises:
        CheckpointError: There is none, it cannot be used, or several could be meant.
    """
    detector = Detector()
    candidates = find_candidates(file, detector.detect)
    if not candidates:
        raise detector.explain_unknown(file)
    if NETWORK in choices:
        named = choose_by_name(candidates, str(choices[NETWORK]))
        if not named:
            raise CheckpointError(
                f"{file.path} holds no network {str(choices[NETWORK])!r}", f"it holds {_list_networks(candidates)}"
            )
        candidates = named
    _, tier = next(groupby(candidates, key=wantedness))
    usable: list[_Network] = []
    failures: list[CheckpointError] = []
    for candidate in tier:
        try:
            usable.append(_build(file.path, candidate, choices, detector))
        except CheckpointError as error:
            failures.append(error)
    if not usable:
        others = [candidate for candidate in candidates if candidate.label not in {n.candidate.label for n in usable}]
        if len(others) > len(failures):
            failures[0].hint += f"; the file also holds {_list_networks(others[len(failures) :])}: `model_options`"
        raise failures[0]
    if not all(_are_equal(usable[0].candidate, other.candidate) for other in usable[1:]):
        found = [network.candidate for network in usable]
        raise CheckpointError(
            f"{file.path} holds {len(found)} networks, and any could be meant: {_list_networks(found)}",
            f"name one by `model_options` {NETWORK}={found[0].label}",
        )
    return usable[0]


def _list_networks(candidates: Sequence[Candidate]) -> str:
    return ", ".join(f"{candidate.label} ({candidate.architecture})" for candidate in candidates)


def _are_equal(first: Candidate, second: Candidate) -> bool:
    return weights_sha256(first.tensors) == weights_sha256(second.tensors)


def _checkpoint_of(file: CheckpointFile, candidate: Candidate) -> Checkpoint:
    """The tensors of one network, and the counters within it, which are kept but mean nothing."""
    kept = {*candidate.names.values(), *candidate.counters()}
    return Checkpoint(
        path=file.path,
        container=file.container,
        tensors={key: tensor for key, tensor in candidate.state.tensors.items() if key in kept},
        wrapper=candidate.state.wrapper,
        prefix=candidate.prefix,
        metadata=file.metadata,
        names=candidate.names,
        left_out=describe_left_out(file, candidate),
    )


def _check_finite(checkpoint: Checkpoint) -> None:
    for key, tensor in checkpoint.tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{checkpoint.path}: {key} holds values that are not finite",
                "the training that made it broke down; take an earlier checkpoint",
            )


def _build(path: Path, candidate: Candidate, choices: Mapping[str, Value], detector: Detector) -> _Network:
    """Build a network; what cannot be a super-resolution network is refused."""
    architecture = detector.architecture(candidate.architecture)
    own = {name: value for name, value in choices.items() if name != NETWORK}
    blueprint = Blueprint()
    try:
        try:
            descriptor = build_network(architecture, candidate.tensors, own, blueprint)
        except RuntimeError as error:
            candidate = _without_foreign(candidate, str(error))
            descriptor = build_network(architecture, candidate.tensors, own, blueprint)
    except RuntimeError as error:
        raise explain_mismatch(path, architecture.name, str(error), format_choices(own)) from error
    except (KeyError, IndexError, ValueError, AssertionError, ZeroDivisionError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} looks like {architecture.name}, but its size cannot be determined from its tensors",
            f"it may be a variant, or incomplete ({type(error).__name__}: {first_line(error)})",
        ) from error
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.purpose != "SR":
        raise CheckpointError(
            f"{path} ({architecture.name}) {_PURPOSES[descriptor.purpose]}",
            "name a network that enlarges images",
        )
    if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise CheckpointError(
            f"{path} ({architecture.name}) takes {descriptor.input_channels} and gives "
            f"{descriptor.output_channels} channels, not RGB",
            "name a network for colour images",
        )
    return _Network(candidate, descriptor, blueprint.arguments)


def _without_foreign(candidate: Candidate, report: str) -> Candidate:
    """Leave losses and counts out that lie among the network's own tensors, where nothing else does not fit."""
    missing, unknown, reshaped = read_report(report)
    if missing or reshaped or not all(is_beside(name) for name in unknown):
        return candidate
    names = {name: key for name, key in candidate.names.items() if name not in unknown}
    return replace(candidate, names=names)


def _match_keys(model: nn.Module, checkpoint: Checkpoint) -> dict[str, str]:
    """Find each tensor of the network in the file: by name, and where an architecture renames, by shape and value.

    A value that occurs twice in the file under names unknown to the network (two biases of zeros) is not matched.
    """
    own = model.state_dict()
    keys: dict[str, str] = {}
    for name, tensor in own.items():
        key = checkpoint.names.get(name)
        if key is not None and checkpoint.tensors[key].shape == tensor.shape:
            keys[name] = key
    taken = set(keys.values())
    by_value: dict[str, list[str]] = {}
    for key, tensor in checkpoint.tensors.items():
        if key not in taken:
            by_value.setdefault(_fingerprint(tensor), []).append(key)
    if by_value:
        for name, tensor in own.items():
            if name not in keys and len(found := by_value.get(_fingerprint(tensor), [])) == 1:
                keys[name] = found[0]
    return keys


def _fingerprint(tensor: Tensor) -> str:
    """The same for tensors of the same shape and, as float32, the same bits."""
    values = tensor.detach().float().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return hashlib.sha256(repr(tuple(tensor.shape)).encode() + values).hexdigest()


def _traits_of_network(architecture: str, model: nn.Module, multiple_px: int) -> Traits:
    """The facts of the table, with halo and alignment as they are for this very network."""
    traits = traits_of(architecture)
    aligned_px = math.lcm(traits.tile_multiple_px, multiple_px)
    if traits.window_attribute is not None:
        aligned_px = math.lcm(aligned_px, int(getattr(model, traits.window_attribute)))
    halo_px = traits.halo_px
    if traits.is_conv_chain:
        halo_px = min(receptive_field_px(model), MAX_REACH_PX)
    if halo_px is not None:
        halo_px = math.ceil(halo_px / aligned_px) * aligned_px
    everywhere = traits.looks_at_all or looks_at_all(model)
    return replace(traits, tile_multiple_px=aligned_px, halo_px=halo_px, looks_at_all=everywhere)


def _probe(path: Path, backbone: Backbone, descriptor: ImageModelDescriptor[nn.Module]) -> None:
    """Run a tiny image three times, once as spandrel would, by the published code.

    Refused is what cannot be run, gives a tuple, another size, values that are not finite, other values on another
    run, or others than spandrel, which calls some networks (IPT) in a way of their own.
    """
    lr = torch.rand(1, 3, _PROBE_PX, _PROBE_PX, generator=torch.Generator().manual_seed(0))
    place = f"{path} ({backbone.identity.architecture})"
    hint = "name a network that takes one RGB image and gives a larger one"
    fitted = fit_to_network(backbone, lr)
    try:
        with published_forwards(backbone.model):
            reference = descriptor(fitted.clone())
        first, second = _run_twice(backbone.model, fitted, reference)
    except _FAULTS_OF_NETWORKS as error:
        raise CheckpointError(f"{place} cannot be run on an image: {first_line(error)}", hint) from error
    if not isinstance(first, Tensor):
        raise CheckpointError(f"{place} gives a {type(first).__name__}, not one image", hint)
    expected = (1, 3, fitted.shape[2] * backbone.scale, fitted.shape[3] * backbone.scale)
    if tuple(first.shape) != expected:
        raise CheckpointError(f"{place} gives {tuple(first.shape)} where {expected} was expected", hint)
    if not bool(torch.isfinite(first).all()):
        raise CheckpointError(f"{place} gives values that are not finite", "the file is damaged or a variant")
    if not torch.allclose(first, second, atol=_SAME):
        raise CheckpointError(f"{place} gives another result on every run", hint)
    if not _is_same(first, reference):
        raise CheckpointError(f"{place} has to be called in a way of its own, which is not known here", hint)


def _run_twice(model: nn.Module, lr: Tensor, reference: Tensor) -> tuple[Any, Any]:
    """Two runs of the same image.

    Our faster forward passes recognise what networks compute, so also those of networks nobody has tried. Where they
    fail, or give something else than the published code, the published code it is: slower, but right.
    """
    while True:
        try:
            with torch.no_grad():
                first, second = model(lr.clone()), model(lr.clone())
        except _FAULTS_OF_NETWORKS:
            if not unfuse(model):
                raise
            continue
        if _is_same(first, reference) or not unfuse(model):
            return first, second


def _is_same(found: Any, reference: Tensor) -> bool:
    is_like = isinstance(found, Tensor) and found.shape == reference.shape
    return is_like and torch.allclose(found.clamp(0, 1), reference, atol=_SAME)
