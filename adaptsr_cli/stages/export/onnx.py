"""The ONNX format: a file proven by running it in onnxruntime beside torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.onnx_model import OnnxModel, export_onnx
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.merged_model import Probe

TOLERANCE: Final = 1e-4  # of the image range, or of the largest value where a network goes beyond it
SPEED_PX: Final = 128
_TIMED_RUNS: Final = 5
_TIMED_S: Final = 5.0  # enough for one network; a slow one is timed less often


@dataclass(frozen=True)
class OnnxProof:
    """How the ONNX file compares with torch.

    Attributes:
        probe_difference: Largest difference from adapter + backbone in torch on the probe image.
        sizes: Inputs that both were run on, (batch, width, height) in px.
        max_difference: The largest difference between the two on any of them, in parts of the image range.
        file_bytes: Size of the file.
        onnx_ms: Time of onnxruntime for an LR image of 128x128 px, the median of up to five runs.
        torch_ms: Time of torch for the same.
        threads: Of both.
    """

    probe_difference: float
    sizes: tuple[tuple[int, int, int], ...]
    max_difference: float
    file_bytes: int
    onnx_ms: float
    torch_ms: float
    threads: int

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)

    def describe(self) -> tuple[str, str]:
        """Two lines: what was proven, and size and speed."""
        sizes = ", ".join(
            f"{width}x{height}" + (f" ({batch} at once)" if batch > 1 else "") for batch, width, height in self.sizes
        )
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"onnxruntime against torch on the CPU, LR of {sizes} px: largest difference {self.max_difference:.1e} "
            "of the range",
            f"{self.file_bytes / 1e6:.2f} MB; an LR image of {SPEED_PX}x{SPEED_PX} px takes {self.onnx_ms:.0f} ms in "
            f"onnxruntime and {self.torch_ms:.0f} ms in torch ({threads})",
        )


def write_onnx(output: Path, backbone: Backbone, header: MergedHeader, probe: Probe, progress: Progress) -> OnnxProof:
    """Write the network as ONNX under another name, proves the file on several sizes, and only then names it.

    Args:
        output: The file to write.
        backbone: The network with the adapter folded in, on the CPU.
        header: What it is, for the file's metadata.
        probe: An image, and what adapter + backbone made of it before folding.
        progress: Where to tell.

    Raises:
        ArtifactError: The file computes something else than torch.
        CheckpointError: The network cannot be written as ONNX.
        UsageError: A package is missing.
    """
    sizes = proof_sizes(backbone)
    unproven = output.with_name(f".unproven-{output.name}")
    try:
        with progress.task("onnx", 3 + len(sizes), unit="step") as task:
            export_onnx(backbone, unproven, _metadata(header))
            task.advance()
            model = OnnxModel(unproven)
            probe_difference = _compare(backbone, model.run(probe.image), probe.expected)
            task.advance()
            worst = 0.0
            for size in sizes:
                worst = max(worst, _compare_on(backbone, model, _image(size)))
                task.advance()
            image = _image((1, SPEED_PX, SPEED_PX))
            onnx_ms, torch_ms = _time_ms(lambda: model.run(image)), _time_ms(lambda: super_resolve(backbone, image))
            task.advance()
        proof = OnnxProof(
            probe_difference, sizes, worst, unproven.stat().st_size, onnx_ms, torch_ms, torch.get_num_threads()
        )
        unproven.replace(output)
    finally:
        unproven.unlink(missing_ok=True)
    return proof


def proof_sizes(backbone: Backbone) -> tuple[tuple[int, int, int], ...]:
    """Inputs, (batch, width, height), where a graph with a size that is not free would fail.

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


def _metadata(header: MergedHeader) -> dict[str, str]:
    """What a program without our code can read off the file, and for ours the header as in all other formats."""
    return {
        HEADER: header.model_dump_json(),
        "architecture": header.backbone.architecture,
        "scale": str(header.backbone.scale),
        "tool": f"adaptsr {header.provenance.tool_version}",
        "backbone_sha256": header.backbone.sha256,
        "adapter_sha256": header.adapter_sha256,
        "layout": "lr: (batch, 3, height, width) float32 RGB; sr: the same with scale times the height and width",
        "normalisation": "none outside of the graph: values in [0, 1] in and, not clamped, out",
        "padding": "none needed: any height and width from 1 px up",
    }


def _image(size: tuple[int, int, int]) -> Tensor:
    """Random pixels, (batch, 3, height, width) in [0, 1], the same every time."""
    batch, width, height = size
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def _compare_on(backbone: Backbone, model: OnnxModel, image: Tensor) -> float:
    """The largest difference between torch and onnxruntime on an image."""
    with torch.inference_mode():
        expected = super_resolve(backbone, image)
    return _compare(backbone, model.run(image), expected)


def _compare(backbone: Backbone, found: Tensor, expected: Tensor) -> float:
    """The largest difference of two outputs, (B, 3, H, W).

    Raises:
        ArtifactError: It is too large, or they are not of one size.
    """
    if found.shape != expected.shape:
        raise _not_proven(backbone, f"gives {tuple(found.shape)} where torch gives {tuple(expected.shape)}")
    difference = float((found - expected).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise _not_proven(
            backbone, f"differs from torch by {difference:.1e} of the range for an output of {tuple(expected.shape)}"
        )
    return difference


def _not_proven(backbone: Backbone, what: str) -> ArtifactError:
    return ArtifactError(
        f"the ONNX file of this {backbone.identity.architecture} {what}; not written",
        "use `adaptsr merge`, which writes safetensors or pth; please report this with the checkpoint's architecture",
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
