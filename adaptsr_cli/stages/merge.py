"""Stage ``merge``: folding an adapter into the backbone's own file, proven on a probe image (R2, R3)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment, fold
from adaptsr_cli.artifacts import AdapterHeader, MergedHeader
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import write_pth, write_tensors
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.adapter_file import HEADER, attach_adapter
from adaptsr_cli.stages.run_folder import ModelChoice, RunFolder, open_backbone, refuse_overwriting

Format = Literal["safetensors", "pth"]

# Largest probe difference accepted, in parts of the image range. A half-precision file cannot hold the fp32 sum.
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class MergeConfig:
    """What to merge into what.

    Attributes:
        adapter: The adapter; None for the run's.
        output: Where the merged model goes; None for ``merged.safetensors`` or ``merged.pth`` in the run folder.
    """

    run: RunFolder
    model: ModelChoice
    adapter: Path | None = None
    output: Path | None = None
    format: Format = "safetensors"
    force: bool = False


@dataclass(frozen=True)
class MergeReport:
    """What merging did.

    Attributes:
        updated_params: Parameters of the adapter.
        inference_params: Parameters that the merged file has more than the backbone's, counted.
        max_difference: Largest difference between adapter + backbone and the written file on the probe image, in
            parts of the image range.
    """

    output: Path
    sites: int
    updated_params: int
    inference_params: int
    max_difference: float


def merge(config: MergeConfig, progress: Progress) -> MergeReport:
    """Writes the backbone's file with the adapted values in their places.

    Keys, shapes, dtypes and order are those of the backbone's own file, so that whatever reads that reads this.

    Raises:
        ArtifactError: No adapter, an adapter of other weights, or a merged file that does not compute the same.
    """
    source = config.adapter or config.run.adapter
    output = config.output or config.run.merged.with_suffix(f".{config.format}")
    if output.suffix != f".{config.format}":
        raise ArtifactError(
            f"--output {output} does not end in .{config.format}",
            "change the name or give --format safetensors|pth",
        )
    if not source.exists():
        raise ArtifactError(f"there is no {source}", "train one with `adaptsr train --data DIR`")
    refuse_overwriting({"merged model": output}, force=config.force)
    adapter_sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    backbone = open_backbone(config.run, config.model, progress, record=False)
    _refuse_merging_twice(backbone, adapter_sha256, source)
    header, attachment = attach_adapter(backbone, source)
    updated = attachment.params
    probe = _probe(backbone)
    with torch.inference_mode():
        expected = super_resolve(backbone, probe)
        fold(attachment)
        super_resolve(backbone, probe)  # lets reparametrised layers recompute what they derive
    merged = _merged_tensors(backbone, attachment)
    difference = _write_checked(output, config.format, backbone, merged, header, adapter_sha256, (probe, expected))
    added = sum(tensor.numel() for tensor in merged.values())
    added -= sum(tensor.numel() for tensor in backbone.checkpoint.tensors.values())
    return MergeReport(output, len(header.sites), updated, added, difference)


def _refuse_merging_twice(backbone: Backbone, adapter_sha256: str, adapter: Path) -> None:
    text = backbone.checkpoint.metadata.get(HEADER)
    if text is None:
        return
    made = parse_document(text, MergedHeader, str(backbone.checkpoint.path))
    if made.adapter_sha256 == adapter_sha256:
        raise ArtifactError(
            f"{backbone.checkpoint.path} holds {adapter} already", "merge into the backbone that it was trained on"
        )


def _probe(backbone: Backbone) -> Tensor:
    """A fixed textured image, (1, 3, side, side) in [0, 1], at least 32 px a side."""
    side = max(32, backbone.minimum_px)
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def _merged_tensors(backbone: Backbone, attachment: Attachment) -> dict[str, Tensor]:
    """The file's tensors with the adapted and the derived ones replaced, each cast once from fp32."""
    tensors = dict(backbone.checkpoint.tensors)
    current = backbone.model.state_dict()
    derived = [re.compile(pattern) for pattern in backbone.traits.derived]
    changed = set(attachment.changed)
    changed |= {name for name in current if any(pattern.fullmatch(name.rpartition(".")[0]) for pattern in derived)}
    for name in changed:
        key = backbone.keys.get(name)
        if key is None:
            raise ArtifactError(
                f"{backbone.checkpoint.path} has no tensor that is {name} of the network",
                "its architecture rearranges weights on loading; convert it to the network's own layout first",
            )
        tensors[key] = current[name].reshape(tensors[key].shape).to(tensors[key].dtype).cpu().contiguous()
    return tensors


def _write_checked(
    output: Path,
    format: Format,
    backbone: Backbone,
    tensors: dict[str, Tensor],
    header: AdapterHeader,
    adapter_sha256: str,
    probe: tuple[Tensor, Tensor],
) -> float:
    """Writes the file under another name, loads it as anyone would, compares, and only then gives it its name."""
    unproven = output.with_name(f".unproven-{output.name}")
    made = MergedHeader(
        backbone=backbone.identity,
        provenance=header.provenance.model_copy(update={"command": "merge"}),
        adapter_sha256=adapter_sha256,
    )
    try:
        difference = _write_and_compare(unproven, format, tensors, made, probe)
        lowest = min((tensor.dtype for tensor in tensors.values()), key=lambda dtype: -_TOLERANCE.get(dtype, 0.0))
        if not difference <= _TOLERANCE.get(lowest, 0.0):
            raise ArtifactError(
                f"the merged file differs from adapter + backbone by {difference:.1e} of the range; not written",
                "please report this with the checkpoint's architecture",
            )
        unproven.replace(output)
    finally:
        unproven.unlink(missing_ok=True)
    return difference


def _write_and_compare(
    path: Path, format: Format, tensors: dict[str, Tensor], made: MergedHeader, probe: tuple[Tensor, Tensor]
) -> float:
    image, expected = probe
    if format == "pth":
        write_pth(path, {"params": tensors})
    else:
        write_tensors(path, tensors, {HEADER: made.model_dump_json()})
    with torch.inference_mode():
        return float((super_resolve(load_backbone(path), image) - expected).abs().max())
