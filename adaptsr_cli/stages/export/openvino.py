"""The OpenVINO format, for CPUs: files proven by running them in OpenVINO beside torch."""

from __future__ import annotations

import tempfile
from pathlib import Path

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.backbones.onnx_model import export_onnx
from adaptsr_cli.backbones.openvino_model import OpenVinoModel, convert_to_openvino
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.stages.export.proof import Examination, FileProof, any_sizes
from adaptsr_cli.stages.export.request import ExportRequest


def write_openvino(request: ExportRequest) -> FileProof:
    """Write ``NAME.xml`` and ``NAME.bin`` by way of ONNX, proven on several sizes before they get their names.

    Raises:
        ArtifactError: The files compute something else than torch.
        CheckpointError: The network cannot be converted.
        UsageError: A package is missing.
    """
    examination = Examination(request, "OpenVINO", "OpenVINO", any_sizes(request.backbone))
    with (
        tempfile.TemporaryDirectory() as folder,
        request.progress.task("openvino", 2 + examination.steps, unit="step") as task,
    ):
        onnx, xml = Path(folder) / "net.onnx", Path(folder) / "net.xml"
        metadata = {HEADER: request.header.model_dump_json(), **request.metadata()}
        export_onnx(request.backbone, onnx, metadata)
        task.advance()
        convert_to_openvino(onnx, xml, metadata, half=request.half)
        weights = xml.with_suffix(".bin")
        task.advance()
        proof = examination.run(OpenVinoModel.read(xml), (xml, weights), task)
        for file, place in ((weights, request.output.with_suffix(".bin")), (xml, request.output)):
            with replace_atomically(place) as temporary:
                temporary.write_bytes(file.read_bytes())
    return proof
