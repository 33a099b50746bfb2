"""The ONNX format: a file proven by running it in onnxruntime beside torch."""

from __future__ import annotations

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.backbones.onnx_model import OnnxModel, export_onnx
from adaptsr_cli.stages.export.proof import Examination, FileProof, any_sizes
from adaptsr_cli.stages.export.request import ExportRequest


def write_onnx(request: ExportRequest) -> FileProof:
    """Write the network as ONNX under another name, prove the file on several sizes, and only then name it.

    Raises:
        ArtifactError: The file computes something else than torch.
        CheckpointError: The network cannot be written as ONNX.
        UsageError: A package is missing, or the network does not take images of `tile_px`.
    """
    tile_px = request.tile_px
    sizes = any_sizes(request.backbone) if tile_px is None else ((1, tile_px, tile_px),)
    examination = Examination(request, "ONNX", "onnxruntime", sizes)
    unproven = request.output.with_name(f".unproven-{request.output.name}")
    try:
        with request.progress.task("onnx", 1 + examination.steps, unit="step") as task:
            metadata = {HEADER: request.header.model_dump_json(), **request.metadata()}
            export_onnx(request.backbone, unproven, metadata, tile_px=tile_px, half=request.half)
            task.advance()
            proof = examination.run(OnnxModel(unproven), (unproven,), task)
        unproven.replace(request.output)
    finally:
        unproven.unlink(missing_ok=True)
    return proof
