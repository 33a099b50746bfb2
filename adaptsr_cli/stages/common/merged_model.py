"""The network with adapters folded in, as ``merge`` and ``export`` write it: what is proven and what the file says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adaptsr_cli.adapters.attach import fold
from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.merged import Blend, MergedHeader
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.stages.common.adapter_file import AdapterSource, put_adapter
from adaptsr_cli.stages.common.run_folder import provenance

MIN_PROBE_PX = 32


@dataclass(frozen=True)
class Probe:
    """An image and what the file that is written must make of it.

    Attributes:
        image: (1, 3, side, side) in [0, 1].
        expected: (1, 3, scale * side, scale * side), made by backbone and adapters.
    """

    image: Tensor
    expected: Tensor


@dataclass(frozen=True)
class FoldedAdapters:
    """The adapters that were folded into a network.

    Attributes:
        changed: Names of the network's tensors that they changed.
        probe: What the network must still make of an image once it is read from a file.
        params: Parameters of the adapters, together.
    """

    changed: tuple[str, ...]
    probe: Probe
    params: int


def fold_adapter(backbone: Backbone, adapter: AdapterSource) -> FoldedAdapters:
    """Fold one adapter into the network, in place.

    Raises:
        ArtifactError: The adapter was made for other weights.
    """
    image = probe_image(backbone)
    attachment = put_adapter(backbone, adapter.header, adapter.tensors, adapter.path)
    params = attachment.params
    with torch.inference_mode():
        expected = super_resolve(backbone, image)
        fold(attachment)
    return FoldedAdapters(attachment.changed, Probe(image, expected), params)


def make_probe(backbone: Backbone) -> Probe:
    """The probe of a network as it is now."""
    image = probe_image(backbone)
    with torch.inference_mode():
        return Probe(image, super_resolve(backbone, image))


def probe_image(backbone: Backbone) -> Tensor:
    """A fixed textured image, (1, 3, side, side) in [0, 1], at least 32 px a side."""
    side = max(MIN_PROBE_PX, backbone.minimum_px)
    return textured_image(1, side, side)


def textured_image(batch: int, width: int, height: int) -> Tensor:
    """Random texture, (batch, 3, height, width) in [0, 1], the same every time.

    Like a photograph it has the more contrast the coarser the detail: white noise is so far from what networks are made
    for that some (a published SPAN) answer with hundreds of times the range, and then rounding alone is a grey level.
    """
    generator = torch.Generator().manual_seed(0)
    image, total, step_px = torch.zeros(batch, 3, height, width), 0, 1
    while step_px < 2 * max(width, height) and step_px <= 64:
        grid = (-(-height // step_px) + 1, -(-width // step_px) + 1)
        noise = torch.rand(batch, 3, *grid, generator=generator)
        image += step_px * functional.interpolate(noise, size=(height, width), mode="bilinear", align_corners=True)
        total, step_px = total + step_px, 2 * step_px
    return image / total


def read_merged_header(backbone: Backbone) -> MergedHeader | None:
    """What a network's file says of the adapters in it; None where it is not a merged file.

    Raises:
        ArtifactError: The header is damaged.
    """
    text = backbone.checkpoint.metadata.get(HEADER)
    return None if text is None else parse_document(text, MergedHeader, str(backbone.checkpoint.path))


def refuse_merging_twice(backbone: Backbone, adapters: Iterable[AdapterSource]) -> None:
    """Refuse adapters that the network's file holds already.

    Raises:
        ArtifactError: Naming the file and the adapter.
    """
    made = read_merged_header(backbone)
    if made is None:
        return
    for adapter in adapters:
        if adapter.sha256 in made.sha256s:
            raise ArtifactError(
                f"{backbone.checkpoint.path} holds {adapter.path} already",
                "merge into the backbone that it was trained on",
            )


def merged_header(
    backbone: Backbone, adapters: Sequence[AdapterSource], command: str, blend: Blend | None = None
) -> MergedHeader:
    """What a file says of the adapters that were folded in.

    Args:
        backbone: The network before folding.
        adapters: At least one.
        command: ``merge`` or ``export``.
        blend: The weights; None where one adapter was folded in as it is.
    """
    first = adapters[0]
    if len(adapters) == 1:
        sha256 = first.sha256
    else:
        sha256 = hashlib.sha256("".join(adapter.sha256 for adapter in adapters).encode()).hexdigest()
    made = first.header.provenance
    if blend is None:
        made = made.model_copy(update={"command": command})
    else:
        made = provenance(command, {}, made.seed, made.data_fingerprint)
    return MergedHeader(backbone=backbone.identity, provenance=made, adapter_sha256=sha256, blend=blend)
