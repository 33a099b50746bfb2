"""Adapting the embedded network to a simulated camera from Python, and upscaling an array with the result.

    python examples/adapt_in_python.py out/

For your own camera leave out `write_demo_pairs` and give the folder of your pairs as `data`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import adaptsr_cli as adaptsr


def adapt_and_upscale(folder: Path, iterations: int) -> None:
    """Make pairs, adapt to them, print the gain, and upscale one photograph."""
    pairs, run = folder / "pairs", folder / "run"
    adaptsr.write_demo_pairs(pairs)

    result = adaptsr.adapt(
        data=pairs / "train", test=pairs / "test", run=run, iterations=iterations, metrics="psnr,ssim"
    )
    backbone, merged = result.evaluation.models
    print(f"PSNR-Y {backbone.metrics['psnr_y_db']:.2f} -> {merged.metrics['psnr_y_db']:.2f} dB")

    network = adaptsr.load_backbone(run / "merged.safetensors")  # once for many images
    lr = np.asarray(Image.open(pairs / "test" / "lr" / "coffee.png"))  # (H, W, 3) uint8
    sr = adaptsr.upscale_array(lr, network)  # (4H, 4W, 3) uint8
    Image.fromarray(sr).save(folder / "coffee_x4.png")
    print(f"{lr.shape[1]} x {lr.shape[0]} px -> {sr.shape[1]} x {sr.shape[0]} px: {folder / 'coffee_x4.png'}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Adapt the embedded network to a simulated camera.")
    parser.add_argument("folder", type=Path, help="folder to put everything in; it must be new")
    parser.add_argument("--iterations", type=int, default=300, help="optimiser steps (default: 300)")
    options = parser.parse_args()
    adapt_and_upscale(options.folder, options.iterations)


if __name__ == "__main__":
    main()
