"""How another factor than the network's own is best reached: filter, kind of light, one pass or two.

    python benchmarks/outscale.py Set5/HR Set14/HR

Each image is reduced by the antialiased bicubic filter, upscaled with the embedded x4 network in every way, and
compared with itself: PSNR of Y, a border of the factor cut off, mean over the images. Writes
``benchmarks/results/outscale.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Final

import numpy as np
import torch

from adaptsr_cli.artifacts.degradation import Filter
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import to_depth
from adaptsr_cli.io.images import list_images, read_rgb, resize
from adaptsr_cli.metrics.fidelity import luma, psnr_db

ROOT = Path(__file__).resolve().parents[1]

FACTORS: Final = (2, 2.5, 3, 6, 8)
FILTERS: Final[tuple[Filter, ...]] = ("bicubic", "lanczos")
STEP_PX: Final = 120  # sides are cut to a multiple, which all factors divide


def main() -> None:
    """Measure all ways and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of sharp images")
    images = [path for folder in parser.parse_args().folders for path in list_images(folder)]
    torch.set_num_threads(1)
    upscaler = Upscaler(load_backbone(default_model()), device=torch.device("cpu"))
    rows = []
    for factor in FACTORS:
        scores: dict[str, list[float]] = defaultdict(list)
        seconds: dict[str, float] = defaultdict(float)
        for path in images:
            hr = read_rgb(path)
            height_px, width_px = (side // STEP_PX * STEP_PX for side in hr.shape[:2])
            hr = hr[:height_px, :width_px]
            lr = resize(hr, round(width_px / factor), round(height_px / factor), "bicubic")
            for name, way in ways(upscaler, lr, factor, width_px, height_px):
                start = process_time()
                sr = to_depth(way(), np.uint8)
                seconds[name] += process_time() - start
                border = slice(int(factor), -int(factor))
                scores[name].append(psnr_db(luma(sr)[border, border], luma(hr)[border, border]))
        for name, values in scores.items():
            rows.append(
                {
                    "factor": factor,
                    "way": name,
                    "psnr_y_db": round(float(np.mean(values)), 3),
                    "cpu_s_per_image": round(seconds[name] / len(images), 3),
                }
            )
    setting = (
        f"{len(images)} images, the embedded SAFMN x4, 1 CPU thread, {platform.machine()}, torch {torch.__version__}"
    )
    results = ROOT / "benchmarks" / "results"
    text = json.dumps({"setting": setting, "rows": rows}, indent=1)
    (results / "outscale.json").write_text(text + "\n", encoding="utf-8")
    lines = [f"{setting}.", "", "| factor | way | PSNR-Y | time per image |", "|---|---|---|---|"]
    lines += [f"| {r['factor']} | {r['way']} | {r['psnr_y_db']:.2f} dB | {r['cpu_s_per_image']:.2f} s |" for r in rows]
    (results / "outscale.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines) + "\n")


def ways(
    upscaler: Upscaler, lr: np.ndarray, factor: float, width_px: int, height_px: int
) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Every way from (h, w, 3) uint8 to (height_px, width_px, 3) float32, each with its name."""
    scale = upscaler.backbone.scale
    for kind in FILTERS:
        yield f"network, {kind}", lambda kind=kind: resize(upscaler.run(lr), width_px, height_px, kind)
        yield (
            f"network, {kind} in linear light",
            lambda kind=kind: to_stored(resize(to_linear(upscaler.run(lr)), width_px, height_px, kind)),
        )
    if factor > scale:
        yield "network twice, bicubic", lambda: resize(upscaler.run(upscaler.run(lr)), width_px, height_px, "bicubic")

        def between() -> np.ndarray:
            half = resize(upscaler.run(lr), width_px // scale, height_px // scale, "bicubic")
            return upscaler.run(np.clip(half, 0, 1))

        yield "network, bicubic to what a second pass needs, network", between


def to_linear(stored: np.ndarray) -> np.ndarray:
    """Light of sRGB numbers in [0, 1] (IEC 61966-2-1)."""
    linear = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def to_stored(linear: np.ndarray) -> np.ndarray:
    """Numbers of sRGB for light; what the filter brought outside [0, 1] is cut off."""
    light = np.clip(linear, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


if __name__ == "__main__":
    main()
