"""Stage ``merge``: adapters folded into the backbone's own file, proven on a probe image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.merged import Blend, BlendPart, MergedHeader, Tuning
from adaptsr_cli.artifacts.train_state import LoopState
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.headers import read_metadata
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.runtime import pick_device
from adaptsr_cli.stages.common.adapter_file import AdapterSource, open_adapter, require_adapter
from adaptsr_cli.stages.common.auto_sharpness import settle_sharpness
from adaptsr_cli.stages.common.blend import open_blend, require_one_backbone
from adaptsr_cli.stages.common.dial import faithful_strength, open_dial
from adaptsr_cli.stages.common.fields import FileFormat
from adaptsr_cli.stages.common.file_names import name_files
from adaptsr_cli.stages.common.merged_file import merged_tensors, write_merged
from adaptsr_cli.stages.common.merged_model import (
    FoldedAdapters,
    fold_adapter,
    make_probe,
    merged_header,
    refuse_merging_twice,
)
from adaptsr_cli.stages.common.models import ModelSpec, open_backbone
from adaptsr_cli.stages.common.places import require_suffix
from adaptsr_cli.stages.common.run_folder import RunFolder, refuse_inputs, refuse_overwriting
from adaptsr_cli.stages.merge.blend import Tuned
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.tune import TuningJob, tune


@dataclass(frozen=True)
class MergeResult:
    """What merging did.

    Attributes:
        output: The merged file.
        header: What the file says of the adapters in it.
        sites: How many sites one of the adapters has, or several of them.
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
    output, format = _choose_file(options, run)
    sources = options.adapters or (run.adapter,)
    for source in sources:
        require_adapter(source)
    refuse_inputs({"merged model": output}, sources)
    refuse_overwriting({"merged model": output}, force=options.force, elsewhere="another `output`")
    if not options.adapters:
        _warn_of_unfinished(run, progress)
    adapters = [open_adapter(source) for source in sources]
    require_one_backbone(adapters)
    choice = ModelSpec.of(options.model, options.weights_dir, offline=options.offline, options=options.model_options)
    choice = choice.with_options_of(adapters[0].header.backbone)
    backbone = open_backbone(run, choice, progress, record=False)
    refuse_inputs({"merged model": output}, [backbone.checkpoint.path])
    refuse_merging_twice(backbone, adapters)

    tuned = None
    if options.sharpness is not None:
        dial = open_dial(run, backbone, adapters[0], progress, strength=options.strength)
        sharpness = settle_sharpness(options.sharpness, dial, pick_device(options.device), progress)
        adapters = list(dial.used(sharpness))
        refuse_merging_twice(backbone, adapters)
        folded, blend = dial.fold(sharpness), dial.describe(sharpness)
    else:
        strength = _choose_strength(options, run, adapters, progress)
        if options.tune is None and len(adapters) == 1 and strength == 1 and options.weights in (None, (1.0,)):
            folded, blend = fold_adapter(backbone, adapters[0]), None
        else:
            folded, blend, tuned = _fold_blend(options, run, backbone, adapters, strength, progress)
    header = merged_header(backbone, adapters, "merge", blend)
    tensors = merged_tensors(backbone, folded.changed)
    difference = write_merged(output, format, tensors, header, folded.probe)
    if options.output is None and output != run.find_merged():
        progress.warn(f"other commands use {run.find_merged()}, which is there too: remove it, or name the new one")
    added = sum(tensor.numel() for tensor in tensors.values())
    added -= sum(tensor.numel() for tensor in backbone.checkpoint.tensors.values())
    sites = len({site.name for adapter in adapters for site in adapter.header.sites})
    return MergeResult(output, header, sites, folded.params, added, difference, tuned)


def _warn_of_unfinished(run: RunFolder, progress: Progress) -> None:
    """Warn where the run's adapter is that of a training which was stopped, or is still at work."""
    path = run.training.state
    if not path.exists():
        return
    try:
        state = parse_document(read_metadata(path).get(HEADER, "{}"), LoopState, str(path))
    except ArtifactError:  # it is damaged, and not needed here
        return
    if not state.finished:
        planned = state.plan.config.iterations
        progress.warn(
            f"the training is not finished (iteration {state.iteration} of {planned}): merging its best so far"
        )


def _choose_file(options: MergeOptions, run: RunFolder) -> tuple[Path, FileFormat]:
    """The file to write, and its format, after which it must be called.

    Raises:
        UsageError: It is called otherwise.
    """
    named: FileFormat | None = None
    if options.output is not None:
        named = next((name for name in get_args(FileFormat) if options.output.suffix == f".{name}"), None)
    format = options.format or named or "safetensors"
    output = options.output or run.merged.with_suffix(f".{format}")
    hint = f"give the `format` {named}" if named else "`adaptsr export` writes other formats"
    require_suffix(output, f".{format}", hint)
    return output, format


def _choose_strength(
    options: MergeOptions, run: RunFolder, adapters: Sequence[AdapterSource], progress: Progress
) -> float:
    """As asked, else what the guard found for the run's own adapter, else 1."""
    if options.strength is not None:
        return options.strength
    return faithful_strength(run, adapters[0], progress) if len(adapters) == 1 and options.tune is None else 1.0


def _fold_blend(
    options: MergeOptions,
    run: RunFolder,
    backbone: Backbone,
    adapters: Sequence[AdapterSource],
    strength: float,
    progress: Progress,
) -> tuple[FoldedAdapters, Blend, Tuned | None]:
    """Put the weighted sum of the updates into the network, the weights being chosen first where that is wanted."""
    blend = open_blend(backbone, adapters)
    weights = options.weights or (1 / len(adapters),) * len(adapters)
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
    paths = [adapter.path for adapter in adapters]
    names = name_files(paths) if len(paths) > 1 else [path.name for path in paths]
    return Blend(
        parts=tuple(
            BlendPart(name=name, sha256=adapter.sha256, weight=weight)
            for name, adapter, weight in zip(names, adapters, weights, strict=True)
        ),
        strength=strength,
        tuning=tuning,
    )
