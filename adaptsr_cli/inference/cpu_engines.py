"""Choice of what runs the network on the CPU: torch or another engine, one for all tiles of an image.

By name an engine runs every image. ``auto`` begins with torch. When the images of one tile shape were so much work
that a conversion can pay, both are timed on a real tile; from then on each image goes to whichever will be done first,
the time to open the converted network included. What was measured is kept, so that later calls know it at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, fit_to_network, padded_size_px, super_resolve
from adaptsr_cli.backbones.onnx_model import first_line
from adaptsr_cli.errors import AdaptsrError, EngineError
from adaptsr_cli.inference.conversions import (
    TOLERANCE,
    Conversions,
    EngineName,
    Pace,
    Runtime,
    has_conversions,
    is_installed,
    largest_difference,
    require_engine,
)
from adaptsr_cli.inference.tiles import TilePlan

# A conversion and its trial take 10 to 25 times as long as torch on the tile, and some seconds whatever the tile.
_WORTH_S: Final = 30.0
_WORTH_TILES: Final = 40
_LEAST_GAIN: Final = 0.05  # less than this is noise
_RUNS: Final = 2
_SAMPLE_PX: Final = 128  # side of the cut-out that torch's time for a large first image is estimated from
_LARGE_PX: Final = 1 << 19  # such an image: the sample is no more than a thirtieth of it


@dataclass
class _Work:
    """What is known of tiles of one shape.

    Attributes:
        pace: What was measured, here or in an earlier call.
        torch_s: Before that: seconds of torch for the images that have such tiles.
        saved_s: After that: seconds that the engine saves, or would have saved, on them.
    """

    pace: Pace | None
    torch_s: float = 0.0
    saved_s: float = 0.0


class CpuEngines:
    """Runs a network by torch or by another engine.

    Args:
        backbone: The network, on the CPU.
        wanted: The engine, or ``auto``.
        note: Is told once what was decided and why.

    Attributes:
        used: What ran the images since the caller last cleared it.
        remarks: All that was told to `note`.

    Raises:
        UsageError: An engine by name whose package is not installed.
    """

    def __init__(
        self, backbone: Backbone, wanted: Literal["auto", "openvino", "onnxruntime"], note: Callable[[str], None]
    ) -> None:
        self._backbone = backbone
        self._by_name = wanted != "auto"
        # Not onnxruntime too: its conversion, by way of ONNX, takes so long that a trial would rarely pay.
        self._engine: EngineName = "openvino" if wanted == "auto" else wanted
        if self._by_name:
            require_engine(self._engine)
        self._works = self._by_name or is_installed(self._engine)
        self._note = note
        self._open: dict[torch.Size, Runtime | None] = {}  # None: it did not agree with torch
        self._work: dict[torch.Size, _Work] = {}
        self._torch_s = self._torch_px = 0.0
        self.used: set[str] = set()
        self.remarks: list[str] = []

    @cached_property
    def _converter(self) -> Conversions:
        return Conversions(self._backbone, self._engine)

    @torch.inference_mode()
    def choose(self, torch_plan: TilePlan, plan: TilePlan, first_tile: Callable[[], Tensor]) -> bool:
        """Choose what runs the next image: `run`, or else `run_torch`.

        Args:
            torch_plan: The tiles that torch would be given.
            plan: The tiles that the engine would be given.
            first_tile: The first tile of `plan`, (B, 3, h, w) float32 in [0, 1].

        Returns:
            Whether it is the engine.
        """
        return self._works and (self._by_name or self._pays(torch_plan, plan, first_tile))

    def run_torch(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, scale * h, scale * w) by torch, which is timed."""
        self.used.add("torch")
        return self._time_torch(lr)

    def _time_torch(self, lr: Tensor) -> Tensor:
        start = time.perf_counter()
        sr = super_resolve(self._backbone, lr)
        self._torch_s += time.perf_counter() - start
        self._torch_px += lr.shape[0] * lr.shape[2] * lr.shape[3]
        return sr

    def run(self, lr: Tensor) -> Tensor:
        """The same by the engine; the result is valid until the next call.

        Raises:
            EngineError: The engine that was asked for by name cannot run the network.
        """
        fitted = fit_to_network(self._backbone, lr[:1] if self._backbone.traits.one_image_at_a_time else lr)
        if fitted.shape not in self._open:
            try:
                self._open[fitted.shape] = self._open_proven(fitted)
            except EngineError as error:
                if self._by_name:
                    raise
                self._open[fitted.shape] = None
                self._say(f"{error.message}: torch goes on")
        runtime = self._open[fitted.shape]
        if runtime is None:
            return self.run_torch(lr)
        self.used.add(self._engine)
        traits = replace(self._backbone.traits, channels_last=False)
        return super_resolve(replace(self._backbone, model=_Converted(runtime), traits=traits), lr)

    def _open_proven(self, fitted: Tensor) -> Runtime | None:
        """Open the network for inputs of this shape, once proven against torch; None where they differ.

        Raises:
            EngineError: It cannot be converted.
        """
        if (known := self._converter.recall(fitted.shape)) is not None:
            return known
        expected = super_resolve(self._backbone, fitted)
        try:
            runtime = self._converter.convert(fitted)
            difference = largest_difference(runtime.run(fitted), expected)
        except AdaptsrError as error:
            raise EngineError(
                f"{self._engine} cannot run this {self._backbone.identity.architecture}: {error.message}",
                error.hint or "use `engine` torch, or auto",
            ) from error
        if difference <= TOLERANCE:
            self._converter.keep(fitted.shape, runtime)
            return runtime
        height_px, width_px = fitted.shape[-2:]
        self._say(
            f"{self._engine} differs from torch by {difference:.0e} of the range on a tile of {width_px}x{height_px} "
            f"px, more than {TOLERANCE:.0e}: torch runs these"
        )
        return None

    def _pays(self, torch_plan: TilePlan, plan: TilePlan, first_tile: Callable[[], Tensor]) -> bool:
        """Whether the engine will have the image done first, as far as is known; may find it out."""
        width_px, height_px = padded_size_px(self._backbone, plan.width_px, plan.height_px)
        shape = torch.Size((1, 3, height_px, width_px))
        if shape not in self._work:
            pace = self._converter.recall_pace(shape) if has_conversions() else None
            self._work[shape] = _Work(pace)
        work = self._work[shape]
        if work.pace is None:
            lr = None
            if not self._torch_px and _pixels(torch_plan) > _LARGE_PX:
                lr = first_tile()
                self._time_torch(lr[:, :, :_SAMPLE_PX, :_SAMPLE_PX])
            px_s = self._torch_s / max(1.0, self._torch_px)
            work.torch_s += px_s * _pixels(torch_plan)
            if work.torch_s < max(_WORTH_S, _WORTH_TILES * px_s * height_px * width_px):
                return False
            work.pace = self._try(first_tile() if lr is None else lr)
            if work.pace is None:
                return False
        pace = work.pace
        saved_s = pace.torch_s * _pixels(torch_plan) / (height_px * width_px) - pace.engine_s * len(plan.tiles)
        if saved_s < _LEAST_GAIN * pace.engine_s * len(plan.tiles):
            return False
        work.saved_s += saved_s
        return shape in self._open or work.saved_s > pace.open_s

    def _try(self, lr: Tensor) -> Pace | None:
        """Time torch and the engine on a tile; None where memory does not allow it, which is told."""
        fitted = fit_to_network(self._backbone, lr)
        height_px, width_px = fitted.shape[-2:]
        torch_s = min(_seconds(lambda: super_resolve(self._backbone, fitted)) for _ in range(_RUNS))
        pace = Pace(torch_s, float("inf"), 0.0)
        try:
            self._open[fitted.shape] = runtime = self._open_proven(fitted)
            if runtime is not None:
                engine_s = min(_seconds(lambda: runtime.run(fitted)) for _ in range(_RUNS))
                pace = Pace(torch_s, engine_s, _seconds(lambda: self._open_proven(fitted)))
                self._say(
                    f"a tile of {width_px}x{height_px} px takes {1000 * torch_s:.0f} ms in torch and "
                    f"{1000 * engine_s:.0f} ms in {self._engine}: each image goes to what will be done first"
                )
        except EngineError as error:
            self._say(f"{error.message}: torch goes on")
        except (RuntimeError, MemoryError) as error:  # torch, which needs less, had no trouble
            self._works = False
            self._say(
                f"{self._engine} fails on a tile of {width_px}x{height_px} px ({first_line(error)}): torch goes on"
            )
            return None
        self._converter.keep_pace(fitted.shape, pace)
        return pace

    def _say(self, text: str) -> None:
        self.remarks.append(text)
        self._note(text)


class _Converted(nn.Module):
    """Stands where the network stands."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w), of the one shape -> (B, 3, scale * h, scale * w)."""
        return self._runtime.run(lr)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _pixels(plan: TilePlan) -> int:
    """Of the inputs of all tiles."""
    return len(plan.tiles) * plan.height_px * plan.width_px
