"""How well do parts of an image, of as many pixels in all, tell what an adapter gains on the whole of it?

    python benchmarks/validation_pieces.py --adapter adaptsr-run/adapter.safetensors --pairs FOLDER [--model FILE]

Validation cannot score whole photographs after every few steps. For every pair in FOLDER (LR_samesize/ and HR/, as
large) the gain in PSNR-Y of the whole image is compared with that of one piece in the middle and of pieces at even
distances, all of 64 x 64 LR pixels in sum; for comparison with four times as many. Whole images are upscaled, so that
only the choice of the pixels differs. Writes ``benchmarks/results/validation_pieces.md``.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_rgb
from adaptsr_cli.io.images import read_rgb, resize_bicubic
from adaptsr_cli.metrics.fidelity import luma
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.common.adapter_file import open_adapter
from adaptsr_cli.stages.common.blend import open_blend

Array = np.ndarray[Any, Any]

RESULTS: Final = Path(__file__).parent / "results"
CHOICES: Final = ((1, 64), (2, 32), (4, 16), (8, 8), (1, 128), (2, 64), (4, 32), (8, 16))
"""Pieces a side, and their side in LR px."""


def main() -> None:
    """Compare and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=None, help="left out: the embedded network")
    options = parser.parse_args()
    device = pick_device("cpu")
    backbone = load_backbone(options.model or default_model())
    blend = open_blend(backbone, [open_adapter(options.adapter)])
    upscale = partial(upscale_rgb, Upscaler(backbone, device=device, tile_px=0))
    names = sorted(path.name for path in (options.pairs / "HR").glob("*.png"))
    taken = []
    for name in names:
        hr = read_rgb(options.pairs / "HR" / name)
        height, width = (length // backbone.scale for length in hr.shape[:2])
        lr = resize_bicubic(read_rgb(options.pairs / "LR_samesize" / name), width, height)
        taken.append((lr, hr[: height * backbone.scale, : width * backbone.scale]))
    errors = []  # before, after
    for strength in (0.0, 1.0):
        blend.put((strength,))
        errors.append([np.square(luma(upscale(lr)) - luma(hr)) for lr, hr in taken])
    whole, *parts = (
        np.array([gain_db(*pair, pieces, side_px * backbone.scale) for pair in zip(*errors, strict=True)])
        for pieces, side_px in ((1, 10**6), *CHOICES)
    )
    lines = [
        f"Gain of one adapter on {len(names)} whole images ({Path(options.model or 'embedded').name}; from "
        f"{whole.min():+.2f} to {whole.max():+.2f} dB, {whole.mean():+.2f} in the mean) as parts of them tell it.",
        "",
        "| pieces | LR pixels in all | error, rms (dB) | error of the mean (dB) |",
        "|---|---|---|---|",
    ]
    for (pieces, side_px), part in zip(CHOICES, parts, strict=True):
        rms, mean = np.sqrt(np.mean((part - whole) ** 2)), np.mean(part - whole)
        pixels = (pieces * side_px) ** 2
        lines.append(f"| {pieces} x {pieces} of {side_px} px | {pixels:,} | {rms:.2f} | {mean:+.2f} |")
    lines += ["", f"Made by `python benchmarks/validation_pieces.py` on {describe_machine(device)}."]
    print("\n".join(lines))
    (RESULTS / "validation_pieces.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def gain_db(before: Array, after: Array, pieces: int, side_px: int) -> float:
    """Gain in PSNR by pieces at even distances, of two pictures' squared errors (H, W)."""
    spans = [
        [
            slice(max(0, round(middle - side_px / 2)), round(middle + side_px / 2))
            for middle in (np.arange(pieces) + 0.5) * length / pieces
        ]
        for length in before.shape
    ]
    sums = [
        np.mean([error[rows, columns].mean() for rows in spans[0] for columns in spans[1]]) for error in (before, after)
    ]
    return float(10 * np.log10(sums[0] / sums[1]))


if __name__ == "__main__":
    main()
