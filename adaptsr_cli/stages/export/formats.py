"""Registry of the formats of ``adaptsr export``.

A new format is a module beside this one with a function such as `onnx.write_onnx`, a line in `FORMATS`, and its name
in `options.FormatName`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.merged_model import Probe
from adaptsr_cli.stages.export.onnx import write_onnx
from adaptsr_cli.stages.export.options import FormatName


class ExportProof(Protocol):
    """How the written file compares with the network in torch."""

    @property
    def probe_difference(self) -> float:
        """Largest difference on the probe image, in parts of the image range."""

    def describe(self) -> Sequence[str]:
        """Lines for people."""

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""


@dataclass(frozen=True)
class ExportFormat:
    """A file format.

    Attributes:
        suffix: Of its files, with the dot.
        write: Writes the network (on the CPU, adapters folded in) to a file, proves the file on the probe, and raises
            an `AdaptsrError` and leaves nothing where it computes something else.
    """

    suffix: str
    write: Callable[[Path, Backbone, MergedHeader, Probe, Progress], ExportProof]


FORMATS: Final[Mapping[FormatName, ExportFormat]] = {
    "onnx": ExportFormat(".onnx", write_onnx),
}
