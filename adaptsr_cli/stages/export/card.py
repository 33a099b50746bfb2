"""The model card: a Markdown page beside an exported model, for whoever gets the file without the run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.artifacts.metrics import METRICS
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.tensors import weights_sha256
from adaptsr_cli.stages.common.adapted_model import model_sha256
from adaptsr_cli.stages.common.merged_file import merged_tensors
from adaptsr_cli.stages.common.models import network_sha256
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.run_merged import holds_adapter
from adaptsr_cli.stages.export.options import FormatName
from adaptsr_cli.stages.export.request import ExportProof, ExportRequest
from adaptsr_cli.units import format_params, plural

_AS_CHECKPOINT: Final = (
    "chaiNNer, ComfyUI, spandrel and `adaptsr upscale --model FILE` read it as any checkpoint of its kind."
)
_USE: Final[dict[FormatName, str]] = {
    "onnx": "Any ONNX runtime: input `lr`, output `sr`, RGB in [0, 1], batch first, channels before height and width. "
    "chaiNNer: load it under ONNX.",
    "ncnn": "chaiNNer: load the `.param` and `.bin` under NCNN. upscayl: put both into the folder that is chosen under "
    "Settings, Custom models. Input `data`, output `output`, RGB in [0, 1].",
    "openvino": '`openvino.Core().compile_model("NAME.xml", "CPU")`: input `lr`, output `sr`, RGB in [0, 1].',
    "peft": "`peft.PeftModel.from_pretrained(spandrel_model.model, FOLDER)` on the backbone named above.",
    "safetensors": _AS_CHECKPOINT,
    "pth": _AS_CHECKPOINT,
}


def model_card(request: ExportRequest, format: FormatName, run: RunFolder, proof: ExportProof) -> str:
    """The page as Markdown: what the model is made from, its scores, and how to use it.

    Data is told by counts, never by names or folders. What the run folder does not know is left out.

    Args:
        request: What was written.
        format: As which.
        run: Its run folder.
        proof: How the file compares with torch.
    """
    identity = request.header.backbone
    made = request.header.provenance
    parts = [
        "---",
        f"license: {request.licence or 'unknown'}",
        "tags: [super-resolution, adaptsr]",
        "---",
        "",
        f"# {identity.architecture} x{identity.scale}, adapted to a camera",
        "",
        f"{identity.architecture} x{identity.scale}, {format_params(identity.params)} parameters, by adaptsr "
        f"{made.tool_version}.",
        "",
        "## Made from",
        "",
        f"* backbone: {identity.source}, SHA-256 of the weights {identity.sha256}",
        f"* adapter: SHA-256 {request.header.adapter_sha256}",
        *_sharpness_line(request.header),
        f"* licence of the backbone: {request.licence or 'not stated'}",
        *_training_lines(request.header, run),
        "",
        *_score_lines(request, run),
        "## Use",
        "",
        _USE[format],
        "",
        "## Checked",
        "",
        f"* largest difference from the adapted network in PyTorch: {proof.probe_difference:.1e} of the range",
        *(f"* {line}" for line in proof.describe()),
        "",
    ]
    return "\n".join(parts)


def card_path(output: Path) -> Path:
    """``merged.md`` for ``merged.onnx``; ``README.md`` in a folder."""
    return output.with_suffix(".md") if output.suffix else output / "README.md"


def _sharpness_line(header: MergedHeader) -> Iterator[str]:
    if header.blend is not None and header.blend.perceptual is not None:
        yield f"* sharpness: {header.blend.perceptual.sharpness:g}"


def _training_lines(header: MergedHeader, run: RunFolder) -> Iterator[str]:
    """What the run's training was, if its adapter is in the model."""
    if not holds_adapter(header, run):
        return
    if run.split.exists():
        split = read_document(run.split, SplitRecord)
        yield f"* data: {plural(len(split.train), 'image')} to train on, {len(split.held_out)} held out"
    if run.card.exists():
        for line in read_document(run.card, RunCard).describe():
            yield f"* {line}"


def _score_lines(request: ExportRequest, run: RunFolder) -> Iterator[str]:
    """A table of the mean scores, with what they are of, if the model was scored."""
    if not run.evaluation.exists():
        return
    evaluation = read_document(run.evaluation, Evaluation)
    if not _sha256s(request) & {model.sha256 for model in evaluation.models}:
        request.progress.warn(
            f"the model card goes without scores: {run.evaluation} is of other models; `adaptsr eval` scores this one"
        )
        return
    names = {key: name for spec in METRICS.values() for key, name in spec.keys.items()}
    keys = [key for key in evaluation.models[0].metrics if key in names]
    yield f"## Scores: {plural(len(evaluation.images), 'image')}"
    yield ""
    yield f"| model | {' | '.join(f'{names[key].label} {names[key].arrow}'.strip() for key in keys)} |"
    yield f"|---|{'---|' * len(keys)}"
    for model in evaluation.models:
        values = (f"{model.metrics[key]:.{names[key].digits}f} {names[key].unit}".strip() for key in keys)
        yield f"| {model.name} | {' | '.join(values)} |"
    yield ""
    yield f"Protocol: {evaluation.protocol_text}"
    yield ""


def _sha256s(request: ExportRequest) -> set[str]:
    """By which an evaluation may know the model: as a network in memory, and as the merged file."""
    backbone = request.backbone
    found = {model_sha256(backbone)}
    with suppress(ArtifactError):  # a network that cannot be written as a file like its backbone's
        merged = weights_sha256(merged_tensors(backbone, request.changed))
        found.add(network_sha256(backbone.identity.model_copy(update={"sha256": merged})))
    return found
