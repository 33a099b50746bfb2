"""Networks as OpenVINO files: conversion from ONNX, and inference on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from adaptsr_cli.backbones.onnx_model import first_line
from adaptsr_cli.errors import CheckpointError, UsageError

_INSTALL: Final = "pip install 'adaptsr[openvino]'"


class OpenVinoModel:
    """An OpenVINO network run on the CPU in float32, with as many threads as torch takes.

    Args:
        path: The ``.xml`` file; the ``.bin`` file lies beside it.

    Raises:
        UsageError: openvino is not installed.
        CheckpointError: It is no network that OpenVINO can run.
    """

    def __init__(self, path: Path) -> None:
        openvino = _import_openvino()
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        try:
            self._model = openvino.Core().compile_model(str(path), "CPU", settings)
        except Exception as error:  # openvino's errors have no common class but this one
            raise CheckpointError(f"{path} is no network that OpenVINO can run: {first_line(error)}") from error

    def run(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) float32 in [0, 1] -> (B, 3, scale * h, scale * w) float32.

        Raises:
            CheckpointError: The graph cannot be run on an image of this size.
        """
        try:
            return torch.from_numpy(np.array(self._model(lr.numpy())[0]))
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
    openvino = _import_openvino()
    try:
        model = openvino.convert_model(str(onnx))
        for name, text in metadata.items():
            model.set_rt_info(text, ["adaptsr", name])
        openvino.save_model(model, str(path), compress_to_fp16=half)
    except Exception as error:  # openvino's errors have no common class but this one
        raise CheckpointError(f"OpenVINO cannot read this network: {first_line(error)}") from error


def _import_openvino() -> Any:
    try:
        import openvino  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise UsageError("OpenVINO files need the package openvino", _INSTALL) from error
    return openvino
