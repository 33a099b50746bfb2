"""The backbone's own file layout, as `adaptsr merge` writes it: safetensors and pth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from adaptsr_cli.stages.common.fields import FileFormat
from adaptsr_cli.stages.common.merged_file import merged_tensors, write_merged
from adaptsr_cli.stages.export.request import ExportRequest


@dataclass(frozen=True)
class CheckpointProof:
    """How the file compares with the network, loaded as anyone would.

    Attributes:
        probe_difference: Largest difference on the probe image, in parts of the image range.
        file_bytes: Size of the file.
    """

    probe_difference: float
    file_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)

    def describe(self) -> tuple[str, ...]:
        """One line."""
        return (f"{self.file_bytes / 1e6:.2f} MB, with the names, shapes and types of the backbone's own file",)


def checkpoint_writer(format: FileFormat) -> Callable[[ExportRequest], CheckpointProof]:
    """The function that writes one of the two formats."""

    def write(request: ExportRequest) -> CheckpointProof:
        tensors = merged_tensors(request.backbone, request.changed)
        difference = write_merged(request.output, format, tensors, request.header, request.probe)
        return CheckpointProof(difference, request.output.stat().st_size)

    return write
