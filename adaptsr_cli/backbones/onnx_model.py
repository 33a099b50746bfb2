"""Networks as ONNX files: export, and inference on the CPU."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as size_config

from adaptsr_cli import __version__
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.onnx_tracing import Crop, Pad, free_sizes
from adaptsr_cli.errors import CheckpointError, UsageError
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.io.headers import utf8_name

INPUT: Final = "lr"
OUTPUT: Final = "sr"
OPSET: Final = 18  # from December 2022: old enough for today's runtimes, new enough for LayerNormalization
_GRAPH: Final = "onnx"
_INSTALL: Final = "pip install 'adaptsr[onnx]'"
_TALKATIVE: Final = (
    "onnxscript",
    "onnx_ir",
    "torch.onnx",
    "torch.export",
    "torch._dynamo",
    "torch.fx",
    "torch.__trace",
)
# Odd and even, and larger than anything is padded to, so that no size of the example is mistaken for a constant.
_EXAMPLE_PX: Final = (45, 54)
Sizes: TypeAlias = dict[int, Any]  # axis -> torch.export.Dim


class OnnxModel:
    """An ONNX file run on the CPU, with as many threads as torch takes.

    Args:
        source: The file, or what it holds.

    Attributes:
        metadata: Its text entries.

    Raises:
        UsageError: onnxruntime is not installed.
        CheckpointError: It is no network that onnxruntime can run.
    """

    def __init__(self, source: Path | bytes) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors: remarks on the optimiser are nothing a user can act on
        self._source = source
        try:
            with utf8_name(source) if isinstance(source, Path) else nullcontext(source) as file:
                self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class but this one
            name = source if isinstance(source, Path) else "this network"
            raise CheckpointError(
                f"{name} is no ONNX file that can be run: {first_line(error)}", "make it again"
            ) from error
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    @classmethod
    def convert(cls, model: nn.Module, example: Tensor) -> Self:
        """Convert a network for inputs of one shape.

        Args:
            model: The network, on the CPU; it is left as it is.
            example: (B, 3, h, w), a shape that the network takes as it is.

        Raises:
            UsageError: A package is missing.
            CheckpointError: The network cannot be written as ONNX.
        """
        _require_exporter()
        try:
            with torch.no_grad(), quiet_exporters():
                graph = _of_one_size(model, example)
        except Exception as error:  # the exporter's errors have no common class but this one
            raise CheckpointError(f"it cannot be written as ONNX: {first_line(error)}") from error
        return cls(graph.SerializeToString())

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes]) -> Self:
        """Open what `to_parts` gave; the errors are those of the class."""
        return cls(parts[_GRAPH])

    def to_parts(self) -> dict[str, bytes]:
        """What to keep of it."""
        return {_GRAPH: self._source.read_bytes() if isinstance(self._source, Path) else self._source}

    def describe_shapes(self) -> str:
        """Names and shapes of what goes in and comes out, ``lr (batch, 3, height, width)``."""
        ends = [*self._session.get_inputs(), *self._session.get_outputs()]
        return ", ".join(f"{end.name} ({', '.join(map(str, end.shape))})" for end in ends)

    def run(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) float32 in [0, 1] -> (B, 3, scale * h, scale * w) float32.

        Raises:
            CheckpointError: The graph cannot be run on an image of this size.
        """
        try:
            (sr,) = self._session.run([OUTPUT], {INPUT: lr.contiguous().numpy()})
        except Exception as error:  # onnxruntime's errors have no common class but this one
            size = " x ".join(map(str, lr.shape))
            raise CheckpointError(f"the ONNX graph fails on an input of {size}: {first_line(error)}") from error
        return torch.from_numpy(np.asarray(sr))


def export_onnx(
    backbone: Backbone, path: Path, metadata: Mapping[str, str], *, tile_px: int | None = None, half: bool = False
) -> None:
    """Write a network as ONNX: batch, height and width free, padding and crop part of the graph.

    Whether the file computes the same is for the caller to prove: `OnnxModel`.

    Args:
        backbone: The network, on the CPU; it is left as it is.
        path: The file to write.
        metadata: Text entries of the file.
        tile_px: The graph takes one image of this width and height; None: any number of any size.
        half: Weights and arithmetic in float16; what goes in and comes out stays float32.

    Raises:
        UsageError: onnx or onnxscript is not installed, or the network does not take images of `tile_px`.
        CheckpointError: The network cannot be written as such a graph.
    """
    if tile_px is not None:
        _require_tile(backbone, tile_px)
    onnx = _require_exporter()
    try:
        with torch.no_grad(), quiet_exporters():
            model = _assemble(backbone) if tile_px is None else _of_one_size(backbone.model, _example(tile_px))
            model = _to_half(model) if half else model
    except Exception as error:  # the exporter's errors have no common class but this one
        sizes = "free sizes" if tile_px is None else f"images of {tile_px} px"
        raise CheckpointError(
            f"{backbone.identity.architecture} cannot be written as ONNX with {sizes}: {first_line(error)}",
            "try one size (`tile`); safetensors and pth files work for every network"
            if tile_px is None
            else "safetensors and pth files work for every network",
        ) from error
    onnx.helper.set_model_props(model, dict(metadata))
    with replace_atomically(path) as temporary:
        onnx.save_model(model, temporary)


def import_onnxruntime() -> Any:
    """Import onnxruntime.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        raise UsageError("the package onnxruntime is not installed", _INSTALL) from error
    return onnxruntime


def _require_exporter() -> Any:
    """Import what torch.onnx needs, and imports only when it has done half the work; return onnx.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError("ONNX files need the packages onnx, onnxscript and onnxruntime", _INSTALL) from error
    return onnx


def _require_tile(backbone: Backbone, tile_px: int) -> None:
    """Refuse a size that the network would have to be padded for.

    Raises:
        UsageError: Naming the next size that fits.
    """
    multiple_px = math.lcm(backbone.multiple_px, backbone.tile_multiple_px)
    fitting_px = -(-max(tile_px, backbone.minimum_px) // multiple_px) * multiple_px
    if fitting_px != tile_px:
        raise UsageError(
            f"`tile` {tile_px} does not fit this {backbone.identity.architecture}", f"use `tile` {fitting_px}"
        )


def _example(side_px: int) -> Tensor:
    """An image to trace a network with, (1, 3, side_px, side_px)."""
    return torch.rand(1, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))


def _of_one_size(model: nn.Module, image: Tensor) -> Any:
    """The network for images of one size, as ``onnx.ModelProto``: no padding, every size a number."""
    network = copy.deepcopy(model)
    with free_sizes(network, math.gcd(*image.shape[-2:])):
        graph = _trace(network, (image,), ({},), (INPUT,), (OUTPUT,))
    return _tidy(graph)


def _to_half(model: Any) -> Any:
    """The model in float16 between an input and an output of float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # type: ignore[import-untyped]

    return convert_float_to_float16(model, keep_io_types=True)


def _assemble(backbone: Backbone) -> Any:
    """The padding, the network and the crop as one ``onnx.ModelProto``.

    The three are traced apart: sizes that are simple multiples keep the exporter's algebra simple. In one piece a
    SwinIR of 36 blocks took more than five minutes.
    """
    from onnx import compose

    free = torch.export.Dim.DYNAMIC
    multiple_px = backbone.multiple_px
    if backbone.traits.window_attribute is not None:  # these extend the image to whole windows themselves
        multiple_px = backbone.tile_multiple_px
    image = torch.rand(2, 3, *_EXAMPLE_PX, generator=torch.Generator().manual_seed(0))
    padded, *kept = Pad(backbone, multiple_px)(image)
    network = copy.deepcopy(backbone.model)  # tracing leaves symbols in attributes that networks set while they run
    height = torch.export.Dim("height") * multiple_px if multiple_px > 1 else free
    width = torch.export.Dim("width") * multiple_px if multiple_px > 1 else free
    sides = {2: height, 3: height if backbone.square else width}
    ends: Sizes = {0: free, 2: free, 3: free}
    before = _trace(Pad(backbone, multiple_px), (image,), (ends,), (INPUT,), ("padded", "rows", "columns"))
    with free_sizes(network, multiple_px):
        middle = _trace(network, (padded,), ({0: free, **sides},), ("padded",), ("full",))
    full = backbone.model(padded.clone())
    after = _trace(Crop(), (full, *kept), (ends, {0: free}, {0: free}), ("full", "rows", "columns"), (OUTPUT,))
    parts = [
        compose.add_prefix(part, prefix, rename_inputs=False, rename_outputs=False)
        for part, prefix in ((before, "pad/"), (middle, "net/"), (after, "crop/"))
    ]
    front = compose.merge_models(parts[0], parts[1], [("padded", "padded")])
    whole = compose.merge_models(front, parts[2], [(name, name) for name in ("full", "rows", "columns")])
    return _clean(whole, backbone.scale)


def _trace(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    sizes: tuple[Sizes, ...],
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
) -> Any:
    """A module as ``onnx.ModelProto``; a size that turns out not to be free is an error."""
    # Nothing is concluded from sizes being 0 or 1, as torch.onnx does when it is given a module; without it the algebra
    # of networks that pad in every layer (DCTLSA) takes longer than anybody waits.
    with size_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]  # made when it is imported
        graph = torch.export.export(module.eval(), inputs, dynamic_shapes=sizes)
        program = torch.onnx.export(
            graph,
            inputs,
            input_names=input_names,
            output_names=output_names,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,
        )
    assert program is not None
    _fold(program.model)
    program.optimize()
    return program.model_proto


def _fold(graph: Any) -> None:
    """Compute what depends on no input, and drop what that leaves over.

    The optimiser begins with the former as well, but then tries each of its rules on the leftovers too: on the 4,137
    nodes that torch makes of a DCTLSA, of which 1,486 are needed.
    """
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants

    fold_constants(graph)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
    )(graph)


def _clean(model: Any, scale: int) -> Any:
    """The model with free sizes called by what they are, and without the exporter's notes."""
    graph = model.graph
    for end, factor in ((graph.input[0], ""), (graph.output[0], f"{scale}*")):
        names = ("batch", None, f"{factor}height", f"{factor}width")
        for size, name in zip(end.type.tensor_type.shape.dim, names, strict=True):
            if name is not None:
                size.dim_param = name
    return _tidy(model)


def _tidy(model: Any) -> Any:
    """The model without the exporter's notes.

    Those are numbered symbols, and the path of every line of code on this machine: half of a small file.
    """
    graph = model.graph
    del graph.value_info[:]
    del model.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for part in (*graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    model.producer_name, model.producer_version = "adaptsr", __version__
    return model


def first_line(error: object) -> str:
    """The first line of a message, which in these libraries says most."""
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Keep what exporters say of their own progress from the user's terminal."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
