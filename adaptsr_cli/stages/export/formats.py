"""Registry of the formats of ``adaptsr export``.

A new format is a module beside this one with a function such as `onnx.write_onnx`, a line in `FORMATS`, and its name
in `options.FormatName`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adaptsr_cli.errors import UsageError
from adaptsr_cli.stages.export.checkpoints import checkpoint_writer
from adaptsr_cli.stages.export.ncnn import write_ncnn
from adaptsr_cli.stages.export.onnx import write_onnx
from adaptsr_cli.stages.export.openvino import write_openvino
from adaptsr_cli.stages.export.options import ExportOptions, FormatName
from adaptsr_cli.stages.export.peft import write_peft
from adaptsr_cli.stages.export.request import ExportProof, ExportRequest


@dataclass(frozen=True)
class ExportFormat:
    """A file format.

    Attributes:
        write: Writes the network, proves what it has written on the probe, and raises an `AdaptsrError` and leaves
            nothing where that computes something else.
        suffix: Of its file, with the dot; empty where it is a folder.
        companion: Suffix of a second file beside it.
        folder_files: The files of the folder.
        takes: Which of the options `half` and `tile` it has.
        half: Whether its weights are in half precision where the user says nothing.
        of_adapter: It holds the adapter alone, so that a merged file cannot be exported.
    """

    write: Callable[[ExportRequest], ExportProof]
    suffix: str = ""
    companion: str | None = None
    folder_files: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    half: bool = False
    of_adapter: bool = False

    def files(self, output: Path) -> tuple[Path, ...]:
        """All files that are written."""
        if self.folder_files:
            return tuple(output / name for name in self.folder_files)
        return (output, output.with_suffix(self.companion)) if self.companion else (output,)


FORMATS: Final[Mapping[FormatName, ExportFormat]] = {
    "onnx": ExportFormat(write_onnx, ".onnx", takes=("half", "tile")),
    "ncnn": ExportFormat(write_ncnn, ".param", companion=".bin", takes=("half",), half=True),
    "openvino": ExportFormat(write_openvino, ".xml", companion=".bin", takes=("half",), half=True),
    "peft": ExportFormat(
        write_peft, folder_files=("adapter_config.json", "adapter_model.safetensors"), of_adapter=True
    ),
    "safetensors": ExportFormat(checkpoint_writer("safetensors"), ".safetensors"),
    "pth": ExportFormat(checkpoint_writer("pth"), ".pth"),
}


def choose_format(options: ExportOptions) -> FormatName:
    """The format that was asked for: by name, by the player that takes no other, or by the end of the file's name.

    Raises:
        UsageError: By none of these.
    """
    if options.to is not None:
        return options.to
    if options.player is not None:
        return "ncnn"
    suffix = "" if options.output is None else options.output.suffix
    named: FormatName | None = next((name for name, one in FORMATS.items() if suffix and one.suffix == suffix), None)
    if named is None:
        raise UsageError("`to` is required", "for example `to` onnx, or `output` model.onnx")
    return named
