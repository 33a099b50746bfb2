"""Stage ``merge``: adapters folded into the backbone's own file, proven on a probe image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.merged import Blend, BlendPart, MergedHeader, Tuning
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.tensors import write_pth, write_tensors
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.runtime import pick_device
from adaptsr_cli.stages.common.adapter_file import AdapterSource, open_adapter
from adaptsr_cli.stages.common.merged_model import (
    FoldedAdapters,
    Probe,
    fold_adapter,
    make_probe,
    merged_header,
    refuse_merging_twice,
)
from adaptsr_cli.stages.common.models import ModelSpec, open_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder, refuse_overwriting
from adaptsr_cli.stages.merge.blend import Tuned, open_blend, require_one_backbone
from adaptsr_cli.stages.merge.options import FileFormat, MergeOptions
from adaptsr_cli.stages.merge.tune import TuningJob, tune

# Largest probe difference accepted, in parts of the image range. A half-precision file cannot hold the fp32 sum.
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class MergeResult:
    """What merging did.

    Attributes:
        output: The merged file.
        header: What the file says of the adapters in it.
        sites: How many sites the adapters have, together.
        updated_params: Parameters of the adapters, together.
        inference_params: Parameters that the merged file has more than the backbone's, counted.
        max_difference: Largest difference between adapters + backbone and the written file on the probe image, in
            parts of the image range.
        tuned: What the choice of weights and strength found; None where there was none.
    """

    output: Path
    header: MergedHeader
    sites: int
    updated_params: int
    inference_params: int
    max_difference: float
    tuned: Tuned | None = None

    @property
    def blend(self) -> Blend | None:
        """Weights and strength; None where one adapter was folded in as it is."""
        return self.header.blend

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        return {
            "output": str(self.output),
            "sites": self.sites,
            "updated_params": self.updated_params,
            "inference_params": self.inference_params,
            "probe_max_difference": self.max_difference,
            "blend": self.blend.model_dump(mode="json") if self.blend else None,
        }


def run_merge(options: MergeOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> MergeResult:
    """Write the backbone's file with the adapted values in their places.

    Keys, shapes, dtypes and order are those of the backbone's own file, so that whatever reads that reads this.

    Args:
        options: What to merge into what.
        progress: Where to tell.
        world: Not used: merging is work for one process.

    Raises:
        ArtifactError: No adapter, an adapter of other weights, or a merged file that does not compute the same.
        UsageError: An adapter that comes twice.
        DataError: No image to tune on.
    """
    run = RunFolder(options.run)
    output = _output_path(options, run)
    sources = options.adapters or (run.adapter,)
    for source in sources:
        if not source.exists():
            raise ArtifactError(f"there is no {source}", "train one with `adaptsr train --data DIR`")
    refuse_overwriting({"merged model": output}, force=options.force)
    adapters = [open_adapter(source) for source in sources]
    require_one_backbone(adapters)
    choice = ModelSpec.of(options.model, options.weights_dir, offline=options.offline)
    backbone = open_backbone(run, choice, progress, record=False)
    refuse_merging_twice(backbone, adapters)

    if options.tune is None and len(adapters) == 1 and options.strength == 1 and options.weights in (None, (1.0,)):
        folded, blend, tuned = fold_adapter(backbone, adapters[0]), None, None
    else:
        folded, blend, tuned = _fold_blend(options, run, backbone, adapters, progress)
    header = merged_header(backbone, adapters, "merge", blend)
    tensors = _merged_tensors(backbone, folded.changed)
    difference = _write_checked(output, options.format, tensors, header, folded.probe)
    added = sum(tensor.numel() for tensor in tensors.values())
    added -= sum(tensor.numel() for tensor in backbone.checkpoint.tensors.values())
    sites = sum(len(adapter.header.sites) for adapter in adapters)
    return MergeResult(output, header, sites, folded.params, added, difference, tuned)


def _output_path(options: MergeOptions, run: RunFolder) -> Path:
    """The file to write, which must be called by its format.

    Raises:
        ArtifactError: It is called otherwise.
    """
    suffix = f".{options.format}"
    output = options.output or run.merged.with_suffix(suffix)
    if output.suffix != suffix:
        raise ArtifactError(
            f"`output` {output} does not end in {suffix}", "change the name, or give the `format` safetensors or pth"
        )
    return output


def _fold_blend(
    options: MergeOptions, run: RunFolder, backbone: Backbone, adapters: Sequence[AdapterSource], progress: Progress
) -> tuple[FoldedAdapters, Blend, Tuned | None]:
    """Put the weighted sum of the updates into the network, the weights being chosen first where that is wanted."""
    blend = open_blend(backbone, adapters)
    weights, strength = options.weights or (1 / len(adapters),) * len(adapters), options.strength
    tuned, tuning = None, None
    if options.tune is not None:
        paths = tuple(adapter.path for adapter in adapters)
        tuned, tuning = tune(TuningJob(run, paths, options.tune, pick_device(options.device)), blend, progress)
        weights, strength = tuned.weights, tuned.strength
    blend.put(tuple(strength * weight for weight in weights))
    folded = FoldedAdapters(blend.changed, make_probe(backbone), blend.params)
    return folded, _describe_blend(adapters, weights, strength, tuning), tuned


def _describe_blend(
    adapters: Sequence[AdapterSource], weights: Sequence[float], strength: float, tuning: Tuning | None
) -> Blend:
    """What the header says of the blend."""
    return Blend(
        parts=tuple(
            BlendPart(name=adapter.path.name, sha256=adapter.sha256, weight=weight)
            for adapter, weight in zip(adapters, weights, strict=True)
        ),
        strength=strength,
        tuning=tuning,
    )


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
    output: Path, format: FileFormat, tensors: dict[str, Tensor], header: MergedHeader, probe: Probe
) -> float:
    """Write the file under another name, load it as anyone would, compare, and only then give it its name."""
    unproven = output.with_name(f".unproven-{output.name}")
    try:
        difference = _write_and_compare(unproven, format, tensors, header, probe)
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
    path: Path, format: FileFormat, tensors: dict[str, Tensor], header: MergedHeader, probe: Probe
) -> float:
    if format == "pth":
        write_pth(path, {"params": tensors})
    else:
        write_tensors(path, tensors, {HEADER: _header_text(header)})
    with torch.inference_mode():
        return float((super_resolve(load_backbone(path), probe.image) - probe.expected).abs().max())


def _header_text(header: MergedHeader) -> str:
    """As JSON; without the blend where there is none, as older versions wrote it and can read it."""
    return header.model_dump_json(exclude={"blend"} if header.blend is None else None)
