"""Loading of a checkpoint as a `Backbone`: detection of the architecture and all checks before the first image."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.artifacts.base import BackboneIdentity
from adaptsr_cli.backbones.architectures import (
    MAIN_REGISTRY,
    ArchRegistry,
    ArchSupport,
    ImageModelDescriptor,
    KeyCondition,
)
from adaptsr_cli.backbones.backbone import (
    MAX_REACH_PX,
    Backbone,
    Traits,
    fit_to_network,
    receptive_field_px,
    traits_of,
)
from adaptsr_cli.backbones.edsr import EDSRArch
from adaptsr_cli.backbones.fast.attention import fuse_attention
from adaptsr_cli.backbones.fast.normalisation import fuse_channel_norms
from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.tensors import Checkpoint, read_checkpoint, weights_sha256
from adaptsr_cli.units import list_some

_PROBE_PX: Final = 16
_SAME: Final = 2e-4  # threads may add in another order; noise that a network adds is larger
_NEAR_ENOUGH: Final = 0.5  # more than this share of an architecture's marks must be there to call a file like it
_PURPOSES: Final = {
    "Restoration": "restores images at their own size",
    "FaceSR": "restores faces only",
    "Inpainting": "fills holes in images",
}


_OWN_ARCHITECTURES: Final = (EDSRArch,)
"""Architectures that spandrel does not know, each in a file of its own."""


def _registry() -> ArchRegistry:
    """Spandrel's architectures and ours, in a registry of our own: the global one is not ours to change."""
    registry = MAIN_REGISTRY.copy()
    for architecture in _OWN_ARCHITECTURES:
        registry.add(ArchSupport.from_architecture(architecture()), ignore_duplicates=True)
    return registry


def load_backbone(path: Path, *, source: str | None = None) -> Backbone:
    """Load a single-image super-resolution network of any architecture that spandrel knows, or EDSR.

    Args:
        path: The checkpoint.
        source: What to call it in artifacts, such as a catalogue name; the file name where left out.

    Raises:
        CheckpointError: The file cannot be read, is of no known architecture, does not fit the one it looks like,
            holds values that are not finite, or is no network that takes one RGB image and gives a larger one.
    """
    checkpoint = read_checkpoint(path)
    _check_finite(checkpoint)
    state = {key.removeprefix(checkpoint.prefix): tensor for key, tensor in checkpoint.tensors.items()}
    descriptor = _build(path, state)
    architecture = str(descriptor.architecture.id)
    model: nn.Module = descriptor.model.float().eval().requires_grad_(False)
    fuse_attention(model)
    fuse_channel_norms(model)
    size = descriptor.size_requirements
    backbone = Backbone(
        model=model,
        identity=BackboneIdentity(
            architecture=architecture,
            scale=descriptor.scale,
            params=sum(parameter.numel() for parameter in model.parameters()),
            sha256=weights_sha256(checkpoint.tensors),
            source=source or path.name,
        ),
        checkpoint=checkpoint,
        keys=_match_keys(model, checkpoint),
        traits=_traits_of_network(architecture, model, size.multiple_of),
        multiple_px=size.multiple_of,
        minimum_px=max(1, size.minimum),
        square=size.square,
    )
    _probe(path, backbone, descriptor)
    return backbone


def _check_finite(checkpoint: Checkpoint) -> None:
    for key, tensor in checkpoint.tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{checkpoint.path}: {key} holds values that are not finite",
                "the training that made it broke down; take an earlier checkpoint",
            )


def _build(path: Path, state: Mapping[str, Tensor]) -> ImageModelDescriptor[nn.Module]:
    """Detect the architecture and builds the network; what cannot be a super-resolution network is refused."""
    registry = _registry()
    support = next((s for s in registry.architectures("detection") if s.detect(dict(state))), None)
    if support is None:
        raise _unknown(path, state, registry)
    architecture = support.architecture
    try:
        # Networks draw initial weights as they are built, from the global generator.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("ignore", message="torch.meshgrid")  # spandrel's code, nothing a user can do
            # A copy: some architectures rename or drop entries of what they are given.
            descriptor = architecture.load(dict(state))
    except RuntimeError as error:
        raise _mismatch(path, architecture.name, str(error)) from error
    except (KeyError, IndexError, ValueError, AssertionError, ZeroDivisionError, TypeError) as error:
        raise CheckpointError(
            f"{path} looks like {architecture.name}, but its size cannot be determined from its tensors",
            f"it may be a variant, or incomplete ({type(error).__name__}: {_first_line(error)})",
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
    return descriptor


def _unknown(path: Path, state: Mapping[str, Tensor], registry: ArchRegistry) -> CheckpointError:
    """Say which architecture a file is most like and what it lacks of it."""
    lacks = {s.architecture.name: _marks(s, state) for s in registry.architectures("detection")}
    name, (missing, marks) = max(
        ((name, found) for name, found in lacks.items() if found[1]),
        key=lambda item: (1 - len(item[1][0]) / item[1][1], item[1][1]),
    )
    first_keys = f"its first keys are {list_some(list(state))}"
    if 1 - len(missing) / marks <= _NEAR_ENOUGH:
        return CheckpointError(
            f"{path} is of no known architecture; {first_keys}", "adaptsr models lists architectures that work"
        )
    return CheckpointError(
        f"{path} looks like {name}, but is a variant with other blocks that cannot be read: it lacks "
        f"{list_some(missing)}",
        f"use the published {name}, or another model; {first_keys}",
    )


def _marks(support: ArchSupport, state: Mapping[str, Tensor]) -> tuple[list[str], int]:
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


def _mismatch(path: Path, name: str, report: str) -> CheckpointError:
    """Turn torch's report on a state dict that does not fit into one line."""
    missing, unknown = (
        re.findall(r'"([^"]+)"', part)
        for part in (_between(report, "Missing key(s)"), _between(report, "Unexpected key(s)"))
    )
    reshaped = re.findall(r"size mismatch for ([^:]+):", report)
    parts = [
        f"{len(keys)} {what} ({list_some(keys)})"
        for keys, what in ((missing, "missing"), (unknown, "unknown"), (reshaped, "of another shape"))
        if keys
    ]
    return CheckpointError(
        f"{path} looks like {name}, but its tensors do not fit: {'; '.join(parts) or _first_line(report)}",
        f"it is probably a variant of {name} with other options, or an incomplete file",
    )


def _between(report: str, start: str) -> str:
    """The line of torch's report that begins with `start`."""
    return next((line for line in report.splitlines() if line.strip().startswith(start)), "")


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _match_keys(model: nn.Module, checkpoint: Checkpoint) -> dict[str, str]:
    """Find each tensor of the network in the file: by name, and where an architecture renames, by shape and value.

    A value that occurs twice in the file under names unknown to the network (two biases of zeros) is not matched.
    """
    own = model.state_dict()
    keys: dict[str, str] = {}
    for name, tensor in own.items():
        key = checkpoint.prefix + name
        if key in checkpoint.tensors and checkpoint.tensors[key].shape == tensor.shape:
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
        derived = [
            name for name, _ in model.named_modules() if any(re.fullmatch(pattern, name) for pattern in traits.derived)
        ]
        halo_px = min(receptive_field_px(model, tuple(derived)), MAX_REACH_PX)
    if halo_px is not None:
        halo_px = math.ceil(halo_px / aligned_px) * aligned_px
    return replace(traits, tile_multiple_px=aligned_px, halo_px=halo_px)


def _probe(path: Path, backbone: Backbone, descriptor: ImageModelDescriptor[nn.Module]) -> None:
    """Run a tiny image three times, once as spandrel would.

    Refused is what cannot be run, gives a tuple, another size, values that are not finite, other values on another
    run, or others than spandrel, which calls some networks (IPT) in a way of their own.
    """
    lr = torch.rand(1, 3, _PROBE_PX, _PROBE_PX, generator=torch.Generator().manual_seed(0))
    place = f"{path} ({backbone.identity.architecture})"
    hint = "name a network that takes one RGB image and gives a larger one"
    fitted = fit_to_network(backbone, lr)
    try:
        reference = descriptor(fitted.clone())
        # Not in inference mode, and after spandrel, which uses it: SPAN keeps tensors of its last run, and those of
        # inference mode can never be trained again.
        with torch.no_grad():
            first, second = (backbone.model(fitted.clone()) for _ in range(2))
    except (RuntimeError, AttributeError, TypeError, ValueError, AssertionError) as error:
        raise CheckpointError(f"{place} cannot be run on an image: {_first_line(error)}", hint) from error
    if not isinstance(first, Tensor):
        raise CheckpointError(f"{place} gives a {type(first).__name__}, not one image", hint)
    expected = (1, 3, fitted.shape[2] * backbone.scale, fitted.shape[3] * backbone.scale)
    if tuple(first.shape) != expected:
        raise CheckpointError(f"{place} gives {tuple(first.shape)} where {expected} was expected", hint)
    if not bool(torch.isfinite(first).all()):
        raise CheckpointError(f"{place} gives values that are not finite", "the file is damaged or a variant")
    if not torch.allclose(first, second, atol=_SAME):
        raise CheckpointError(f"{place} gives another result on every run", hint)
    if not torch.allclose(first.clamp(0, 1), reference, atol=_SAME):
        raise CheckpointError(f"{place} has to be called in a way of its own, which is not known here", hint)
