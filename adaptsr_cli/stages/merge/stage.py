"""Stage ``merge``: folding adapters into the backbone's own file, proven on a probe image (R2, R3)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import fold
from adaptsr_cli.artifacts.base import Blend, BlendPart, MergedHeader, Tuning
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import write_pth, write_tensors
from adaptsr_cli.progress import Progress
from adaptsr_cli.runtime import pick_device
from adaptsr_cli.stages.common.adapter_file import HEADER, AdapterSource, open_adapter, put_adapter, write_adapter
from adaptsr_cli.stages.common.models import ModelSpec, open_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance, refuse_overwriting
from adaptsr_cli.stages.common.truncate import Limit, Truncation, truncate
from adaptsr_cli.stages.merge.blend import Tuned, open_soup, require_one_backbone
from adaptsr_cli.stages.merge.onnx import OnnxReport, write_onnx
from adaptsr_cli.stages.merge.tune import TuningJob, tune

Format = Literal["safetensors", "pth", "onnx"]

# Largest probe difference accepted, in parts of the image range. A half-precision file cannot hold the fp32 sum.
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class MergeOptions:
    """What to merge into what.

    Attributes:
        adapters: The adapters; empty for the run's.
        output: Where the merged model goes; None for ``merged.safetensors`` (or ``.pth``, ``.onnx``) in the run folder.
        weights: Share of each adapter's update; None for the average.
        strength: What all updates are multiplied with.
        tune: Folder of images on which weights and strength are chosen.
        limit: How small a single adapter shall become before it is folded in; None as it is.
        adapter_output: Where the smaller adapter is written too.
        device: What `tune` runs on.
    """

    run: RunFolder
    model: ModelSpec
    adapters: tuple[Path, ...] = ()
    output: Path | None = None
    format: Format = "safetensors"
    weights: tuple[float, ...] | None = None
    strength: float = 1.0
    tune: Path | None = None
    limit: Limit | None = None
    adapter_output: Path | None = None
    device: str = "auto"
    force: bool = False

    def __post_init__(self) -> None:
        count = max(1, len(self.adapters))
        if self.weights is not None and len(self.weights) != count:
            raise UsageError(
                f"--weights has {len(self.weights)} for {count} --adapter", "give one weight for each adapter"
            )
        if not all(map(math.isfinite, (*(self.weights or ()), self.strength))):
            raise UsageError("--weights and --strength must be numbers", "for example --weights 0.5,0.5")
        if self.tune is not None and (self.weights is not None or self.strength != 1):
            raise UsageError("--tune chooses weights and strength", "leave --weights and --strength out, or --tune")
        if self.limit is not None and count > 1:
            raise UsageError("--to-rank and --budget truncate one adapter", "truncate each one by itself, then mix")
        if self.adapter_output is not None and self.limit is None:
            raise UsageError("--adapter-output is for truncated adapters", "give --to-rank or --budget too")
        if self.adapter_output is not None and self.adapter_output.suffix != ".safetensors":
            raise UsageError(f"--adapter-output {self.adapter_output} does not end in .safetensors", "change the name")


@dataclass(frozen=True)
class MergeResult:
    """What merging did.

    Attributes:
        sites: How many sites the adapters have, together.
        updated_params: Parameters of the adapters, together.
        inference_params: Parameters that the merged file has more than the backbone's, counted.
        max_difference: Largest difference between adapters + backbone and the written file on the probe image, in
            parts of the image range.
        blend: Shares and strength; None where one adapter was folded in as it is.
        truncation: What was cut off; None where nothing was asked for.
        tuned: What the choice of weights and strength found; None where there was none.
        onnx: The ONNX file beside torch; None in the other formats.
    """

    output: Path
    sites: int
    updated_params: int
    inference_params: int
    max_difference: float
    blend: Blend | None = None
    truncation: Truncation | None = None
    tuned: Tuned | None = None
    onnx: OnnxReport | None = None


def merge(config: MergeOptions, progress: Progress) -> MergeResult:
    """Writes the backbone's file with the adapted values in their places.

    Keys, shapes, dtypes and order are those of the backbone's own file, so that whatever reads that reads this.

    Raises:
        ArtifactError: No adapter, an adapter of other weights, or a merged file that does not compute the same.
        UsageError: An adapter that comes twice.
        DataError: No image to tune on.
    """
    sources = config.adapters or (config.run.adapter,)
    output = config.output or config.run.merged.with_suffix(f".{config.format}")
    if output.suffix != f".{config.format}":
        raise ArtifactError(
            f"--output {output} does not end in .{config.format}",
            "change the name or give --format safetensors|pth|onnx",
        )
    for source in sources:
        if not source.exists():
            raise ArtifactError(f"there is no {source}", "train one with `adaptsr train --data DIR`")
    wanted = {"merged model": output} | ({"adapter": config.adapter_output} if config.adapter_output else {})
    refuse_overwriting(wanted, force=config.force)
    adapters = [open_adapter(source) for source in sources]
    require_one_backbone(adapters)
    backbone = open_backbone(config.run, config.model, progress, record=False)
    _refuse_merging_twice(backbone, adapters)
    truncation = None if config.limit is None else truncate(backbone, adapters[0], config.limit)
    if truncation is not None:
        adapters = [truncation.adapter]
        if all(cut.rank == cut.rank_before for cut in truncation.cuts):
            progress.note("the adapter is no larger than that: nothing is cut off")
    probe = _probe(backbone)
    if config.tune is None and len(adapters) == 1 and config.strength == 1 and config.weights in (None, (1.0,)):
        mixed = _fold_one(backbone, adapters[0], probe)
    else:
        mixed = _fold_several(config, backbone, adapters, probe, progress)
    blend = _describe_blend(config.limit, adapters, mixed)
    made = _header(backbone, adapters, blend)
    tensors = _merged_tensors(backbone, mixed.changed)
    onnx = None
    if config.format == "onnx":
        onnx = write_onnx(output, backbone, made, (probe, mixed.expected), progress)
        difference = onnx.probe_difference
    else:
        difference = _write_checked(output, config.format, tensors, made, (probe, mixed.expected))
    if truncation is not None and config.adapter_output is not None:
        write_adapter(config.adapter_output, truncation.adapter.header, dict(truncation.adapter.tensors))
    sites = sum(len(adapter.header.sites) for adapter in adapters)
    added = sum(tensor.numel() for tensor in tensors.values())
    added -= sum(tensor.numel() for tensor in backbone.checkpoint.tensors.values())
    return MergeResult(output, sites, mixed.params, added, difference, blend, truncation, mixed.tuned, onnx)


@dataclass(frozen=True)
class _Mixed:
    """What was folded into the network.

    Attributes:
        changed: Names of the tensors that are other ones now.
        expected: What backbone and adapters make of the probe image.
        params: Of the adapters, together.
    """

    changed: tuple[str, ...]
    expected: Tensor
    params: int
    weights: tuple[float, ...] = (1.0,)
    strength: float = 1.0
    tuned: Tuned | None = None
    tuning: Tuning | None = None


def _fold_one(backbone: Backbone, adapter: AdapterSource, probe: Tensor) -> _Mixed:
    """Folds one adapter in as it is."""
    attachment = put_adapter(backbone, adapter.header, adapter.tensors, adapter.path)
    params = attachment.params
    with torch.inference_mode():
        expected = super_resolve(backbone, probe)
        fold(attachment)
        super_resolve(backbone, probe)  # lets reparametrised layers recompute what they derive
    return _Mixed(attachment.changed, expected, params)


def _fold_several(
    config: MergeOptions, backbone: Backbone, adapters: Sequence[AdapterSource], probe: Tensor, progress: Progress
) -> _Mixed:
    """Puts the weighted sum of the updates into the network, the weights being chosen first where that is wanted."""
    soup = open_soup(backbone, adapters)
    weights, strength = config.weights or (1 / len(adapters),) * len(adapters), config.strength
    tuned, tuning = None, None
    if config.tune is not None:
        paths = tuple(adapter.path for adapter in adapters)
        tuned, tuning = tune(TuningJob(config.run, paths, config.tune, pick_device(config.device)), soup, progress)
        weights, strength = tuned.weights, tuned.strength
    soup.blend(tuple(strength * weight for weight in weights))
    with torch.inference_mode():
        expected = super_resolve(backbone, probe)
    return _Mixed(soup.changed, expected, soup.params, weights, strength, tuned, tuning)


def _describe_blend(limit: Limit | None, adapters: Sequence[AdapterSource], mixed: _Mixed) -> Blend | None:
    """What the header says of the mixture; None where one adapter was folded in as it is."""
    if (limit, mixed.weights, mixed.strength, mixed.tuning) == (None, (1.0,), 1.0, None):
        return None
    budget = None if limit is None else limit.budget
    return Blend(
        parts=tuple(
            BlendPart(name=adapter.path.name, sha256=adapter.sha256, weight=weight)
            for adapter, weight in zip(adapters, mixed.weights, strict=True)
        ),
        strength=mixed.strength,
        to_rank=None if limit is None else limit.to_rank,
        budget=None if budget is None else budget.text,
        tuning=mixed.tuning,
    )


def _header(backbone: Backbone, adapters: Sequence[AdapterSource], blend: Blend | None) -> MergedHeader:
    first = adapters[0]
    if len(adapters) == 1:
        sha256 = first.sha256
    else:
        sha256 = hashlib.sha256("".join(adapter.sha256 for adapter in adapters).encode()).hexdigest()
    made = first.header.provenance
    if blend is None:
        made = made.model_copy(update={"command": "merge"})
    else:
        made = provenance("merge", {}, made.seed, made.data_fingerprint)
    return MergedHeader(backbone=backbone.identity, provenance=made, adapter_sha256=sha256, blend=blend)


def _refuse_merging_twice(backbone: Backbone, adapters: Iterable[AdapterSource]) -> None:
    text = backbone.checkpoint.metadata.get(HEADER)
    if text is None:
        return
    made = parse_document(text, MergedHeader, str(backbone.checkpoint.path))
    inside = {made.adapter_sha256, *(part.sha256 for part in (made.blend.parts if made.blend else ()))}
    for adapter in adapters:
        if adapter.sha256 in inside:
            raise ArtifactError(
                f"{backbone.checkpoint.path} holds {adapter.path} already",
                "merge into the backbone that it was trained on",
            )


def _probe(backbone: Backbone) -> Tensor:
    """A fixed textured image, (1, 3, side, side) in [0, 1], at least 32 px a side."""
    side = max(32, backbone.minimum_px)
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def _merged_tensors(backbone: Backbone, adapted: Iterable[str]) -> dict[str, Tensor]:
    """The file's tensors with the adapted and the derived ones replaced, each cast once from fp32."""
    tensors = dict(backbone.checkpoint.tensors)
    current = backbone.model.state_dict()
    derived = [re.compile(pattern) for pattern in backbone.traits.derived]
    changed = set(adapted)
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
    tensors: dict[str, Tensor],
    made: MergedHeader,
    probe: tuple[Tensor, Tensor],
) -> float:
    """Writes the file under another name, loads it as anyone would, compares, and only then gives it its name."""
    unproven = output.with_name(f".unproven-{output.name}")
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
        write_tensors(path, tensors, {HEADER: _header_text(made)})
    with torch.inference_mode():
        return float((super_resolve(load_backbone(path), image) - expected).abs().max())


def _header_text(made: MergedHeader) -> str:
    """As JSON; without the blend where there is none, as older versions wrote it and can read it."""
    return made.model_dump_json(exclude={"blend"} if made.blend is None else None)
