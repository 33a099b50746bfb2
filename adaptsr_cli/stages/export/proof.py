"""The proof of an exported file: run by the program that it is for, beside torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.progress import Task
from adaptsr_cli.stages.common.merged_model import textured_image
from adaptsr_cli.stages.export.request import ExportRequest

# Of the image range, or of the largest value where a network goes beyond it.
TOLERANCE: Final = 1e-4
HALF_TOLERANCE: Final = 2 / 255  # two grey levels: half precision has 11 bits, and errors add up over the layers
SPEED_PX: Final = 128
_TIMED_RUNS: Final = 5
_TIMED_S: Final = 5.0  # enough for one network; a slow one is timed less often

Size = tuple[int, int, int]
"""(batch, width, height) in px."""


class Runtime(Protocol):
    """A file in the program that it is for."""

    def run(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) float32 in [0, 1] -> (B, 3, scale * h, scale * w) float32."""


@dataclass(frozen=True)
class FileProof:
    """How a file compares with torch.

    Attributes:
        runtime: The program that ran it.
        probe_difference: Largest difference from adapter + backbone in torch on the probe image.
        sizes: Inputs that both were run on, (batch, width, height) in px.
        max_difference: The largest difference between the two on any of them, in parts of the image range.
        file_bytes: Size of what was written.
        speed_px: Width and height of the LR image that the times are for.
        runtime_ms: Time of the program for it, the median of up to five runs.
        torch_ms: Time of torch for the same.
        threads: Of both.
        remarks: What else was found, in lines for people.
    """

    runtime: str
    probe_difference: float
    sizes: tuple[Size, ...]
    max_difference: float
    file_bytes: int
    speed_px: int
    runtime_ms: float
    torch_ms: float
    threads: int
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)

    def describe(self) -> tuple[str, ...]:
        """What was proven, size and speed, and the remarks."""
        sizes = ", ".join(
            f"{width}x{height}" + (f" ({batch} at once)" if batch > 1 else "") for batch, width, height in self.sizes
        )
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{self.runtime} against torch on the CPU, LR of {sizes} px: largest difference {self.max_difference:.1e} "
            "of the range",
            f"{self.file_bytes / 1e6:.2f} MB; an LR image of {self.speed_px}x{self.speed_px} px takes "
            f"{self.runtime_ms:.0f} ms in {self.runtime} and {self.torch_ms:.0f} ms in torch ({threads})",
            *self.remarks,
        )


def any_sizes(backbone: Backbone) -> tuple[Size, ...]:
    """Inputs where a graph with a size that is not free would fail.

    One pixel, smaller than a window, odd, several whole windows at once, and the size that speed is told for.
    """
    cell_px = max(backbone.tile_multiple_px, 8)
    return (
        (1, 1, 1),
        (1, 5, 3),
        (1, 2 * cell_px + 5, cell_px + 1),
        (2, 2 * cell_px, 3 * cell_px),
        (3, 31, 47),
        (1, SPEED_PX, SPEED_PX),
    )


@dataclass(frozen=True)
class Examination:
    """The comparison of a file with torch.

    Attributes:
        request: What was written.
        kind: Of the file, for messages: "ONNX".
        name: Of the program that runs it.
        sizes: Inputs to compare on.
        reference: What the file must compute, (B, 3, h, w) in and out; None: the network.
    """

    request: ExportRequest
    kind: str
    name: str
    sizes: tuple[Size, ...]
    reference: Callable[[Tensor], Tensor] | None = None

    @property
    def steps(self) -> int:
        """How many steps `run` advances a task by."""
        return 2 + len(self.sizes)

    def run(self, runtime: Runtime, files: Sequence[Path], task: Task, remarks: tuple[str, ...] = ()) -> FileProof:
        """Compare and time.

        Args:
            runtime: The file, opened.
            files: All of it.
            task: Advanced by `steps`.
            remarks: For the proof.

        Raises:
            ArtifactError: The file computes something else.
        """
        backbone, probe = self.request.backbone, self.request.probe
        tile_px = self.request.tile_px
        with torch.inference_mode():  # a file for one size cannot take the probe; the network that it is made of can
            found = runtime.run(probe.image) if tile_px is None else super_resolve(backbone, probe.image)
        probe_difference = self._compare(found, probe.expected)
        task.advance()
        worst = 0.0
        for size in self.sizes:
            worst = max(worst, self._compare_on(runtime, size))
            task.advance()
        side_px = tile_px or SPEED_PX
        image = textured_image(1, side_px, side_px)
        times_ms = (_time_ms(lambda: runtime.run(image)), _time_ms(lambda: super_resolve(backbone, image)))
        task.advance()
        total_bytes = sum(file.stat().st_size for file in files)
        threads = torch.get_num_threads()
        return FileProof(
            self.name, probe_difference, self.sizes, worst, total_bytes, side_px, *times_ms, threads, remarks
        )

    def _compare_on(self, runtime: Runtime, size: Size) -> float:
        """The largest difference between torch and the program on an image."""
        image = textured_image(*size)
        with torch.inference_mode():
            expected = super_resolve(self.request.backbone, image) if self.reference is None else self.reference(image)
        return self._compare(runtime.run(image), expected)

    def _compare(self, found: Tensor, expected: Tensor) -> float:
        """The largest difference of two outputs, (B, 3, H, W).

        Raises:
            ArtifactError: It is too large, or they are not of one size.
        """
        if found.shape != expected.shape:
            raise self._not_proven(f"gives {tuple(found.shape)} where torch gives {tuple(expected.shape)}")
        difference = float((found - expected).abs().max())
        tolerance = HALF_TOLERANCE if self.request.half else TOLERANCE
        if not difference <= tolerance * max(1.0, float(expected.abs().max())):
            raise self._not_proven(
                f"differs from torch by {difference:.1e} of the range for an output of {tuple(expected.shape)}"
            )
        return difference

    def _not_proven(self, what: str) -> ArtifactError:
        return ArtifactError(
            f"the {self.kind} file of this {self.request.backbone.identity.architecture} {what}; not written",
            "try it without `half`"
            if self.request.half
            else "use `adaptsr merge`, which writes safetensors or pth; please report this with the checkpoint's "
            "architecture",
        )


def _time_ms(run: Callable[[], Tensor]) -> float:
    """Measure the median time of a few runs, after one that does not count."""
    times: list[float] = []
    with torch.inference_mode():
        run()
        while len(times) < _TIMED_RUNS and sum(times) < _TIMED_S:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[len(times) // 2]
