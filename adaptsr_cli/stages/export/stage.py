"""Stage ``export``: the adapted network in a file format of other programs, proven against torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.common.adapter_file import open_adapter
from adaptsr_cli.stages.common.merged_model import (
    Probe,
    fold_adapter,
    make_probe,
    merged_header,
    read_merged_header,
    refuse_merging_twice,
)
from adaptsr_cli.stages.common.models import ModelSpec, load_model, open_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder, refuse_overwriting
from adaptsr_cli.stages.export.formats import FORMATS, ExportProof
from adaptsr_cli.stages.export.options import ExportOptions


@dataclass(frozen=True)
class ExportResult:
    """The exported file.

    Attributes:
        output: Where it is.
        format: As `ExportOptions.to`.
        header: What the file says of the adapters in it.
        proof: How the file compares with the network in torch.
    """

    output: Path
    format: str
    header: MergedHeader
    proof: ExportProof

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        return {
            "output": str(self.output),
            "format": self.format,
            "probe_max_difference": self.proof.probe_difference,
            "blend": self.header.blend.model_dump(mode="json") if self.header.blend else None,
            self.format: self.proof.to_json(),
        }


def run_export(options: ExportOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> ExportResult:
    """Write the adapted network in another format.

    Args:
        options: Which network, and which format.
        progress: Where to tell.
        world: Not used: exporting is work for one process.

    Raises:
        ArtifactError: There is nothing adapted, an adapter is of other weights, or the file computes something else.
        CheckpointError: The network cannot be written in this format.
        OutputExistsError: The file exists and `force` is not set.
        UsageError: A package is missing.
    """
    run = RunFolder(options.run)
    format_ = FORMATS[options.to]
    output = options.output or run.merged.with_suffix(format_.suffix)
    if output.suffix != format_.suffix:
        raise ArtifactError(f"`output` {output} does not end in {format_.suffix}", "change the name")
    refuse_overwriting({"exported model": output}, force=options.force)
    backbone, header, probe = _open_adapted(options, run, progress)
    proof = format_.write(output, backbone, header, probe, progress)
    return ExportResult(output, options.to, header, proof)


def _open_adapted(options: ExportOptions, run: RunFolder, progress: Progress) -> tuple[Backbone, MergedHeader, Probe]:
    """The network with its adapters folded in: a merged model as it is, else backbone and adapter."""
    choice = ModelSpec.of(options.model, options.weights_dir, offline=options.offline)
    if options.adapter is None:
        name = options.model or (str(run.merged) if run.merged.exists() else None)
        if name is not None:
            merged = load_model(ModelSpec(name, choice.weights_dir, choice.offline), progress)
            header = read_merged_header(merged)
            if header is not None:
                return merged, header, make_probe(merged)
    adapter = open_adapter(options.adapter or run.adapter)
    backbone = open_backbone(run, choice, progress, record=False)
    refuse_merging_twice(backbone, [adapter])
    header = merged_header(backbone, [adapter], "export")
    return backbone, header, fold_adapter(backbone, adapter).probe
