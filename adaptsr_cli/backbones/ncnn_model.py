"""Networks as ncnn files: conversion by pnnx, and inference on the CPU."""

from __future__ import annotations

import copy
import re
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.fast.forwards import published_forwards
from adaptsr_cli.errors import CheckpointError, UsageError

INPUT: Final = "data"
OUTPUT: Final = "output"
_INSTALL: Final = "pip install 'adaptsr[ncnn]'"
# "As large as the second input", in the way of ncnn from 2024 on; older versions do the same where nothing is said.
_CROP_TO_SECOND: Final = ' 19="0,0" 20="1h,1w" 21="1,2"'
_CELLS: Final = 8  # the example has so many cells of the network's in one direction, and half more in the other
_TIMEOUT_S: Final = 1800


@dataclass(frozen=True)
class NcnnFiles:
    """The two files of an ncnn network.

    Attributes:
        param: The graph as text.
        bin: The weights.
    """

    param: Path
    bin: Path


class NcnnModel:
    """An ncnn network run on the CPU, with as many threads as torch takes, in float32.

    Args:
        files: The network.

    Raises:
        UsageError: ncnn is not installed.
        CheckpointError: It has an operator that ncnn does not know, which is named.
    """

    def __init__(self, files: NcnnFiles) -> None:
        ncnn = _import_ncnn()
        _require_known_layers(files.param, ncnn)
        self._ncnn = ncnn
        self._net = ncnn.Net()
        options = self._net.opt
        options.use_vulkan_compute = False
        options.num_threads = torch.get_num_threads()
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        if self._net.load_param(str(files.param)) or self._net.load_model(str(files.bin)):
            raise CheckpointError(f"{files.param} is no network that ncnn can run", "make it again")

    def run(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) float32 in [0, 1] -> (B, 3, scale * h, scale * w) float32; one image after the other.

        Raises:
            CheckpointError: The graph cannot be run on an image of this size.
        """
        return torch.stack([self._run_one(image) for image in lr])

    def _run_one(self, image: Tensor) -> Tensor:
        extractor = self._net.create_extractor()
        pixels = np.ascontiguousarray(image.numpy())  # kept by name: ncnn's matrix does not own what it is made of
        extractor.input(INPUT, self._ncnn.Mat(pixels).clone())
        failed, sr = extractor.extract(OUTPUT)
        if failed:
            size = " x ".join(map(str, image.shape))
            raise CheckpointError(f"the ncnn graph fails on an input of {size}")
        return torch.from_numpy(np.array(sr))


class WholeCells(nn.Module):
    """A network whose pooling to a share of the image is pooling by a factor, as ncnn has it.

    Where the image is no whole number of cells, the last cell is a smaller one, and what is enlarged again is cropped.
    On whole numbers of cells it computes what the network does, elsewhere something else near the right and lower
    edge: the network itself is given a padded image there, which a graph with free sizes cannot do.

    Args:
        backbone: The network; left as it is.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.network = copy.deepcopy(backbone.model)
        self._mode = _PlainOperators()
        cell_px = max(backbone.tile_multiple_px, backbone.multiple_px)
        self.example = torch.rand(1, 3, _CELLS * cell_px, _CELLS * cell_px * 3 // 2)
        self.other_example = torch.rand(1, 3, _CELLS * cell_px * 2, _CELLS * cell_px)
        with torch.no_grad():
            self(self.example)  # finds the factors, which sizes of fewer cells would not show

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, scale * h, scale * w)."""
        with published_forwards(self.network), self._mode.again():
            sr: Tensor = self.network(lr)
        return sr


def export_ncnn(network: WholeCells, files: NcnnFiles, *, half: bool) -> None:
    """Write a network as ncnn files with one input, `INPUT`, and one output, `OUTPUT`, of any size.

    Whether they compute the same is for the caller to prove: `NcnnModel`.

    Args:
        network: The network, on the CPU.
        files: What to write.
        half: Store the weights in float16.

    Raises:
        UsageError: ncnn or pnnx is not installed.
        CheckpointError: The network cannot be converted.
    """
    try:
        import pnnx  # type: ignore[import-untyped]
    except ImportError as error:
        raise UsageError("ncnn files need the packages ncnn and pnnx", _INSTALL) from error
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch would rather be asked for another kind of graph
                torch.jit.trace(network.eval(), network.example, check_trace=False).save(work / "net.pt")
        except Exception as error:  # the tracer's errors have no common class but this one
            raise CheckpointError(f"the network cannot be traced for ncnn: {str(error).strip()[:200]}") from error
        shapes = (f"[{','.join(map(str, example.shape))}]f32" for example in (network.example, network.other_example))
        words = [pnnx.EXEC_PATH, "net.pt", *map("{}={}".format, ("inputshape", "inputshape2"), shapes)]
        done = subprocess.run(
            [*words, f"fp16={int(half)}"], cwd=work, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        graph, weights = work / "net.ncnn.param", work / "net.ncnn.bin"
        if done.returncode or not graph.exists() or not weights.exists():
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CheckpointError(f"pnnx cannot convert this network: {said[:200]}")
        files.param.write_text(_name_ends(graph.read_text(encoding="ascii")), encoding="ascii")
        files.bin.write_bytes(weights.read_bytes())


def _name_ends(graph: str) -> str:
    """The graph with the names that players expect, in words that older versions of ncnn read."""
    renamed = re.sub(r"\bin0\b", INPUT, re.sub(r"\bout0\b", OUTPUT, graph))
    return renamed.replace(_CROP_TO_SECOND, "")


def _require_known_layers(param: Path, ncnn: Any) -> None:
    """Refuse a graph with operators that pnnx had to leave as they are in torch.

    Raises:
        CheckpointError: Naming them.
    """
    lines = param.read_text(encoding="ascii").splitlines()[2:]  # after the version and the counts
    unknown = sorted({line.split()[0] for line in lines if line.strip() and ncnn.layer_to_index(line.split()[0]) < 0})
    if unknown:
        raise CheckpointError(
            f"ncnn has no operator for {', '.join(unknown)} of this network",
            "export it with `to` onnx, which transformers work with",
        )


def _import_ncnn() -> Any:
    try:
        import ncnn  # type: ignore[import-untyped]
    except ImportError as error:
        raise UsageError("ncnn files need the packages ncnn and pnnx", _INSTALL) from error
    return ncnn


class _PlainOperators(TorchFunctionMode):
    """Turns what ncnn lacks into what it has: pooling and enlarging to a size into the same by a factor, and the like.

    The factors are found in the first run and used in the order of the calls in the later ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self._factors: list[list[int]] = []
        self._calls: int | None = None
        self._pooled: Tensor | None = None

    def again(self) -> _PlainOperators:
        """This mode, for one more run of the network."""
        self._calls = 0 if self._factors else None
        return self

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called in place of every function of torch."""
        words = kwargs or {}
        if func in _POOLINGS and isinstance(args[1], tuple):
            image = args[0]
            self._pooled = image
            return _POOLINGS[func](image, self._factor(image.shape[-2:], args[1]))
        size = words.get("size")
        if func is functional.interpolate and words.get("mode") == "nearest" and size is not None:
            assert self._pooled is not None
            small = args[0]
            factor = [float(value) for value in self._factor(size, small.shape[-2:])]
            large = functional.interpolate(small, scale_factor=factor, mode="nearest")
            return large[:, :, : self._pooled.shape[2], : self._pooled.shape[3]]
        if func is torch.repeat_interleave and words.get("dim") == 1:
            return _repeat_channels(args[0], args[1] if len(args) > 1 else words["repeats"])
        return func(*args, **words)

    def _factor(self, large: Any, small: Any) -> list[int]:
        """How many times the one is the other, in both directions."""
        if self._calls is None:
            factor = [round(int(one) / int(other)) for one, other in zip(large, small, strict=True)]
            self._factors.append(factor)
            return factor
        self._calls += 1
        return self._factors[self._calls - 1]


def _repeat_channels(image: Tensor, times: int) -> Tensor:
    """Each channel several times in a row, (B, C, h, w) -> (B, times * C, h, w), as a convolution by ones."""
    ones = np.eye(int(image.shape[1]), dtype=np.float32).repeat(times, axis=0)  # numpy's, so a constant of the graph
    return functional.conv2d(image, torch.from_numpy(ones)[:, :, None, None])


def _max_pool(image: Tensor, factor: list[int]) -> Tensor:
    return functional.max_pool2d(image, factor, factor, ceil_mode=True)


def _average_pool(image: Tensor, factor: list[int]) -> Tensor:
    return functional.avg_pool2d(image, factor, factor, ceil_mode=True, count_include_pad=False)


_POOLINGS: Final[dict[Callable[..., Any], Callable[[Tensor, list[int]], Tensor]]] = {
    functional.adaptive_max_pool2d: _max_pool,
    functional.adaptive_avg_pool2d: _average_pool,
}
