"""Transparency by the network or by interpolation: four shapes, soft and hard edges, against the same drawn x4.

    python benchmarks/alpha_edges.py

Writes ``benchmarks/results/alpha_edges.md``: PSNR of the mask, mean over the shapes, the embedded network.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch

from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import resize_to, to_depth, upscale_alpha
from adaptsr_cli.metrics.fidelity import psnr_db

ROOT = Path(__file__).resolve().parents[1]

HEIGHT_PX: Final = 90
WIDTH_PX: Final = 120
SHAPES: Final[dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "disc": lambda y, x: np.hypot(y - 45.3, x - 60.2) < 40,
    "wedge": lambda y, x: (y > 0.3 * x + 5.2) & (y < 85 - 0.1 * x),
    "star": lambda y, x: np.hypot(y - 45, x - 60) < 25 + 12 * np.sin(7 * np.arctan2(y - 45, x - 60)),
    "bars": lambda y, x: (0.9 * x + 0.45 * y) % 9 < 3.6,
}


def main() -> None:
    """Measure all shapes and write the table."""
    torch.set_num_threads(1)
    upscaler = Upscaler(load_backbone(default_model()), device=torch.device("cpu"))
    scale = upscaler.backbone.scale
    scores: dict[tuple[str, str], list[float]] = {}
    for shape in SHAPES.values():
        ideal = draw(shape, scale, 4) * 255
        drawn = draw(shape, 1, 8)
        for edge, lr in (("soft", drawn), ("hard", (drawn >= 0.5).astype(np.float32))):
            mask = to_depth(lr, np.uint8)
            by = {
                "network": upscaler.run(mask[..., None].repeat(3, axis=2)).mean(axis=2),
                "bicubic": resize_to(lr[..., None], scale * WIDTH_PX, scale * HEIGHT_PX)[..., 0],
                "as upscale does": upscale_alpha(upscaler, mask)[..., 0],
            }
            for way, sr in by.items():
                scores.setdefault((edge, way), []).append(psnr_db(to_depth(sr, np.uint8), ideal))
    lines = [f"{', '.join(SHAPES)} of {WIDTH_PX} x {HEIGHT_PX} px, the embedded SAFMN x4.", ""]
    lines += ["| edges | by | PSNR of the mask |", "|---|---|---|"]
    lines += [f"| {edge} | {way} | {np.mean(values):.1f} dB |" for (edge, way), values in scores.items()]
    text = "\n".join(lines) + "\n"
    (ROOT / "benchmarks" / "results" / "alpha_edges.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def draw(shape: Callable[[np.ndarray, np.ndarray], np.ndarray], scale: int, samples: int) -> np.ndarray:
    """A shape at `scale` times the size, (scale * H, scale * W) float32, each pixel the mean of `samples` squared."""
    step = scale * samples
    rows, columns = (np.mgrid[: HEIGHT_PX * step, : WIDTH_PX * step] + 0.5) / step
    inside = shape(rows, columns).astype(np.float32)
    return inside.reshape(HEIGHT_PX * scale, samples, WIDTH_PX * scale, samples).mean(axis=(1, 3))  # (H, s, W, s)


if __name__ == "__main__":
    main()
