"""Networks in OpenVINO: conversion from ONNX and from torch, files and cached forms of them, inference on the CPU."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.fast.forwards import published_forwards
from adaptsr_cli.backbones.onnx_model import first_line, quiet_exporters
from adaptsr_cli.errors import CheckpointError, UsageError

_INSTALL: Final = "pip install 'adaptsr[openvino]'"
_BLOB: Final = "compiled"
_TELEMETRY: Final = "openvino_telemetry"


class OpenVinoModel:
    """An OpenVINO network run on the CPU in float32, with as many threads as torch takes.

    Args:
        compiled: The network, compiled by `_settings`.
    """

    def __init__(self, compiled: Any) -> None:
        self._model = compiled

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open an ``.xml`` file; the ``.bin`` file lies beside it.

        Raises:
            UsageError: openvino is not installed.
            CheckpointError: It is no network that OpenVINO can run.
        """
        import_openvino()
        try:
            return cls(_core().compile_model(str(path), "CPU", _settings()))
        except Exception as error:  # openvino's errors have no common class but this one
            raise CheckpointError(f"{path} is no network that OpenVINO can run: {first_line(error)}") from error

    @classmethod
    def convert(cls, model: nn.Module, example: Tensor) -> Self:
        """Convert a network for inputs of one shape, which takes seconds: the published code is traced by torch.

        With free sizes OpenVINO was slower on window attention, and conversion took several times as long.

        Args:
            model: The network, on the CPU; it is left as it is.
            example: (B, 3, h, w), a shape that the network takes as it is.

        Raises:
            UsageError: openvino is not installed.
            CheckpointError: OpenVINO cannot convert it.
        """
        openvino = import_openvino()
        try:
            network = copy.deepcopy(model)
            with torch.no_grad(), quiet_exporters(), published_forwards(network):
                traced = torch.jit.trace(network, example.clone(), check_trace=False, strict=False)
                graph = openvino.convert_model(traced, example_input=example, input=list(example.shape))
            return cls(_core().compile_model(graph, "CPU", _settings()))
        except Exception as error:  # neither library has a class for it
            raise CheckpointError(f"OpenVINO cannot convert it: {first_line(error)}") from error

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes]) -> Self:
        """Open what `to_parts` gave, on the same kind of CPU and in the same version of OpenVINO.

        Raises:
            UsageError: openvino is not installed.
            CheckpointError: OpenVINO does not take it.
        """
        import_openvino()
        try:
            return cls(_core().import_model(parts[_BLOB], "CPU", _settings()))
        except Exception as error:  # openvino's errors have no common class but this one
            raise CheckpointError(f"OpenVINO cannot read what it compiled: {first_line(error)}") from error

    def to_parts(self) -> dict[str, bytes]:
        """The compiled network, which opens five to ten times as fast as it is compiled."""
        blob = self._model.export_model()
        return {_BLOB: blob if isinstance(blob, bytes) else blob.getvalue()}

    def run(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) float32 in [0, 1] -> (B, 3, scale * h, scale * w) float32, valid until the next call.

        Raises:
            CheckpointError: The graph cannot be run on an image of this size.
            RuntimeError: Out of memory.
        """
        try:
            # Neither side is copied: the result of a tile of 1 MP is 200 MB.
            results = self._model(lr.contiguous().numpy(), share_inputs=True, share_outputs=True)
            return torch.from_numpy(np.asarray(results[0]))
        except MemoryError as error:
            raise RuntimeError("out of memory in OpenVINO") from error
        except Exception as error:  # openvino's errors have no common class but this one
            size = " x ".join(map(str, lr.shape))
            raise CheckpointError(f"the OpenVINO graph fails on an input of {size}: {first_line(error)}") from error


def convert_to_openvino(onnx: Path, path: Path, metadata: Mapping[str, str], *, half: bool) -> None:
    """Write an ONNX file as OpenVINO's ``.xml`` and ``.bin``.

    Args:
        onnx: The file to convert.
        path: The ``.xml`` file to write.
        metadata: Texts that the file carries, under ``adaptsr`` of its runtime information.
        half: Store the weights in float16.

    Raises:
        UsageError: openvino is not installed.
        CheckpointError: OpenVINO cannot read it.
    """
    openvino = import_openvino()
    try:
        model = openvino.convert_model(str(onnx))
        for name, text in metadata.items():
            model.set_rt_info(text, ["adaptsr", name])
        openvino.save_model(model, str(path), compress_to_fp16=half)
    except Exception as error:  # openvino's errors have no common class but this one
        raise CheckpointError(f"OpenVINO cannot read this network: {first_line(error)}") from error


def import_openvino() -> Any:
    """Import openvino without its telemetry, which tells its makers of every import unless told not to.

    Raises:
        UsageError: It is not installed.
    """
    known = sys.modules.get(_TELEMETRY, False)
    if "openvino" not in sys.modules:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # openvino does without where it cannot be imported
    try:
        import openvino  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise UsageError("the package openvino is not installed", _INSTALL) from error
    finally:
        if known is False:
            sys.modules.pop(_TELEMETRY, None)
        else:
            sys.modules[_TELEMETRY] = known  # type: ignore[assignment]
    return openvino


@cache
def _core() -> Any:
    """OpenVINO, opened once and never closed.

    On CPUs with AMX it gives the process a stack for signals, and takes its memory away again with the last core but
    leaves its address with the system: Ctrl-C would then end the process by a segmentation fault.
    """
    return import_openvino().Core()


def _settings() -> dict[str, Any]:
    """How networks are compiled: float32 (bf16 is the default where the CPU has it), torch's threads, free to move."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # several processes would pin their threads to the same cores
    }
