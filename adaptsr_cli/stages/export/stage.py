"""Stage ``export``: the adapted network in a file format of other programs, proven against torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.onnx_model import OPSET
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, OutputExistsError, UsageError
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.runtime import pick_device
from adaptsr_cli.stages.common.adapter_file import open_adapter, read_guard
from adaptsr_cli.stages.common.auto_sharpness import settle_sharpness
from adaptsr_cli.stages.common.dial import open_run_dial
from adaptsr_cli.stages.common.merged_model import (
    Probe,
    fold_adapter,
    make_probe,
    merged_header,
    read_merged_header,
    refuse_merging_twice,
)
from adaptsr_cli.stages.common.models import ModelSpec, load_model, open_backbone
from adaptsr_cli.stages.common.places import require_suffix
from adaptsr_cli.stages.common.run_command import run_command
from adaptsr_cli.stages.common.run_folder import RunFolder, refuse_inputs, refuse_overwriting
from adaptsr_cli.stages.common.run_merged import load_merged
from adaptsr_cli.stages.export.card import card_path, model_card
from adaptsr_cli.stages.export.formats import FORMATS, ExportFormat, choose_format
from adaptsr_cli.stages.export.options import ExportOptions, FormatName
from adaptsr_cli.stages.export.request import ExportProof, ExportRequest
from adaptsr_cli.stages.export.upscayl import upscayl_model


@dataclass(frozen=True)
class ExportResult:
    """The exported model.

    Attributes:
        output: The file, or the folder of a format that is one.
        format: As `ExportOptions.to`.
        header: What the file says of the adapters in it.
        proof: How the file compares with the network in torch.
        card: The model card; None where none was wanted.
    """

    output: Path
    format: str
    header: MergedHeader
    proof: ExportProof
    card: Path | None

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        return {
            "output": str(self.output),
            "format": self.format,
            "probe_max_difference": self.proof.probe_difference,
            "blend": self.header.blend.model_dump(mode="json") if self.header.blend else None,
            "card": str(self.card) if self.card else None,
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
        OutputExistsError: A file exists and `force` is not set.
        UsageError: A package is missing, or an option that the format does not have.
    """
    to = choose_format(options)
    format_ = FORMATS[to]
    _refuse_options(options, to)
    run = RunFolder(options.run)
    network = _open_adapted(options, format_, run, progress)
    half = format_.half if options.half is None else options.half
    output = _output_path(options, to, run, network.backbone.scale, half=half)
    card = card_path(output) if options.card else None
    outputs = {"exported model": format_.files(output), "model card": (card,) if card else ()}
    inputs = [network.backbone.checkpoint.path, options.adapter or run.adapter]
    for what, files in outputs.items():
        for file in files:
            if options.output is None and file.exists() and file.samefile(inputs[0]):
                raise OutputExistsError(
                    f"{file} is of this format already", "use it as it is, or name a copy to make by `output`"
                )
            refuse_inputs({what: file}, inputs)
            refuse_overwriting({what: file}, force=options.force, elsewhere="another `output`")
    request = ExportRequest(
        output=output,
        backbone=network.backbone,
        before=network.before,
        changed=network.changed,
        header=network.header,
        probe=network.probe,
        half=half,
        tile_px=options.tile,
        licence=options.licence,
        progress=progress,
    )
    proof = format_.write(request)
    if card is not None:
        with replace_atomically(card) as temporary:
            temporary.write_text(model_card(request, to, run, proof), encoding="utf-8")
    return ExportResult(output, to, network.header, proof, card)


def _refuse_options(options: ExportOptions, to: FormatName) -> None:
    """Refuse what this format does not have, before the network is opened.

    Raises:
        UsageError: Naming the option and the formats that have it, or `output` does not end as this format's files do.
    """
    format_ = FORMATS[to]
    for name in ("half", "tile"):
        if getattr(options, name) is not None and name not in format_.takes:
            having = ", ".join(known for known, one in FORMATS.items() if name in one.takes)
            raise UsageError(f"`{name}` is not for `to` {to}", f"it is for {having}")
    if options.player is not None and to != "ncnn":
        raise UsageError(f"{options.player} takes ncnn models, not {to}", "use `to` ncnn")
    if options.name is not None and options.player is None:
        raise UsageError("`name` is for `player` alone", "name the file by `output`")
    if options.sharpness is not None and format_.of_adapter:
        raise UsageError(f"`sharpness` is not for `to` {to}, which holds one adapter", "write another format")
    if options.output is not None and options.player is None and format_.suffix:
        require_suffix(options.output, format_.suffix)


def _output_path(options: ExportOptions, to: FormatName, run: RunFolder, scale: int, *, half: bool) -> Path:
    """Where to write.

    Raises:
        UsageError: A name that the player would misread.
    """
    if options.player is not None:
        name = options.name or run.root.resolve().name
        return upscayl_model(options.output or run.root / options.player, name, scale)
    if options.output is not None:
        return options.output
    format_ = FORMATS[to]
    if not format_.suffix:
        return run.root / to
    if format_.companion:  # in a folder, since several formats have a second file of one name
        return run.root / to / run.merged.with_suffix(format_.suffix).name
    if options.tile is None:
        return run.merged.with_suffix(format_.suffix)
    # Programs that play ONNX files of one size tell them apart by their names.
    parts = (run.merged.stem, f"{scale}x", f"{options.tile}px", "fp16" if half else "fp32", f"opset{OPSET}")
    return run.root / f"{'_'.join(parts)}{format_.suffix}"


@dataclass(frozen=True)
class _Network:
    """The network to export; as `ExportRequest`."""

    backbone: Backbone
    header: MergedHeader
    probe: Probe
    before: dict[str, Tensor] | None = None
    changed: tuple[str, ...] = ()


def _open_adapted(options: ExportOptions, format_: ExportFormat, run: RunFolder, progress: Progress) -> _Network:
    """The network with its adapters folded in: a merged model as it is, else backbone and adapter."""
    choice = ModelSpec.of(options.model, options.weights_dir, offline=options.offline, options=options.model_options)
    if options.sharpness is not None:
        return _open_sharp(options, options.sharpness, run, choice, progress)
    if options.adapter is None and not format_.of_adapter:
        merged = load_merged(run, choice, progress) if choice.name is None else load_model(choice, progress)
        header = None if merged is None else read_merged_header(merged)
        if merged is not None and header is not None:
            return _Network(merged, header, make_probe(merged))
    adapter = open_adapter(options.adapter or run.adapter)
    guard = read_guard(run, adapter.sha256)
    if guard is not None and guard.strength != 1:
        told = f"the guard of the training chose strength {guard.strength:g} for {adapter.path}"
        if not format_.of_adapter:
            command = run_command(run, "merge")
            raise ArtifactError(told, f"fold it in first by `{command}`, at that strength or another by --strength")
        progress.note(f"{told}: scale the adapter by that where it is used")
    backbone = open_backbone(run, choice, progress, record=False)
    refuse_merging_twice(backbone, [adapter])
    header = merged_header(backbone, [adapter], "export")
    before = {name: tensor.detach().clone() for name, tensor in backbone.model.state_dict().items()}
    folded = fold_adapter(backbone, adapter)
    return _Network(backbone, header, folded.probe, before, folded.changed)


def _open_sharp(
    options: ExportOptions, wanted: float | str, run: RunFolder, choice: ModelSpec, progress: Progress
) -> _Network:
    """The backbone with the faithful adapter and some of the perceptual one."""
    adapters = () if options.adapter is None else (options.adapter,)
    dial = open_run_dial(run, choice, progress, adapters=adapters)
    refuse_merging_twice(dial.backbone, dial.adapters)
    sharpness = settle_sharpness(wanted, dial, pick_device("auto"), progress)
    folded = dial.fold(sharpness)
    header = merged_header(dial.backbone, dial.used(sharpness), "export", dial.describe(sharpness))
    return _Network(dial.backbone, header, folded.probe, changed=folded.changed)
