"""Peak memory of ``upscale`` against the image's size: the device's part is constant, the host's part is as stated.

    python benchmarks/upscale_memory.py [--megapixels 1 16 100] [--device cuda] [--model FILE] [--room 4e9]

Every image is upscaled in a process of its own, whole (8 and 16 bits; RGB, and with soft transparency), and by rows
(TIFF to TIFF). The results compress well; the bound also covers those that do not, such as noise in a 16-bit PNG.
Without ``--model`` the network repeats pixels, so that the time goes into what is measured here.
Writes ``benchmarks/results/upscale_memory.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptsr_cli.artifacts.base import BackboneIdentity
from adaptsr_cli.backbones.backbone import Backbone, Traits
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.memory import picture_bytes
from adaptsr_cli.inference.picture import upscale_picture
from adaptsr_cli.inference.streaming import stream_tiff
from adaptsr_cli.io.checkpoints import Checkpoint
from adaptsr_cli.io.decoding import read_outline
from adaptsr_cli.io.formats.kind import Outline
from adaptsr_cli.io.images import read_picture, write_picture
from adaptsr_cli.io.large_tiff import LargeTiff, write_large_tiff
from adaptsr_cli.runtime import (
    describe_device,
    free_memory_bytes,
    peak_host_memory_bytes,
    peak_memory_bytes,
    pick_device,
    reset_peak_memory,
)

RESULTS = Path(__file__).parent / "results"
SCALE = 4
TILE_PX = 256
MODES = (
    "8-bit PNG",
    "8-bit JPEG",
    "8-bit PNG, transparent",
    "16-bit PNG",
    "8-bit TIFF",
    "16-bit TIFF",
    "8-bit TIFF by rows",
)
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif"}


class Repeat(nn.Module):
    """Repeats every pixel."""

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, 4 h, 4 w)."""
        return functional.interpolate(lr, scale_factor=SCALE, mode="nearest")


def stand_in() -> Backbone:
    """A network that costs nothing."""
    return Backbone(
        model=Repeat(),
        identity=BackboneIdentity(architecture="Repeat", scale=SCALE, params=1, sha256="0" * 64, source="repeat"),
        checkpoint=Checkpoint(Path("repeat.pth"), "pth", {}, None, "", {}),
        keys={},
        traits=Traits(halo_px=32),
        multiple_px=1,
        minimum_px=1,
        square=False,
    )


def make_image(path: Path, megapixels: float, mode: str) -> None:
    """Write a smooth picture of 3:2, row by row."""
    height_px = round((megapixels * 1e6 / 1.5) ** 0.5)
    width_px = round(height_px * 1.5)
    dtype = np.dtype(np.uint16 if mode.startswith("16") else np.uint8)
    columns = np.arange(width_px)[None, :, None] // 7
    facts = LargeTiff(width_px, height_px, dtype, False, None, 0)
    steps = range(0, height_px, 256)
    bands = (
        (
            (np.arange(start, min(start + 256, height_px))[:, None, None] // 5 + columns + np.arange(3) * 40) % 251
        ).astype(dtype)
        for start in steps
    )
    tiff = path.with_suffix(".tif")
    write_large_tiff(tiff, bands, like=facts, width_px=width_px, height_px=height_px, note=lambda: None)
    if path != tiff:
        picture = read_picture(tiff)
        if "transparent" in mode:
            picture = replace(picture, alpha=picture.colour[..., 0].copy())
        write_picture(path, picture)
        tiff.unlink()


def measure(path: Path, mode: str, room_bytes: int, device_name: str, model: str | None) -> dict[str, Any]:
    """Upscale one image in this process and tell the peaks."""
    device = pick_device(device_name)
    backbone = load_backbone(Path(model)) if model else stand_in()
    upscaler = Upscaler(backbone, device=device, tile_px=None if model else TILE_PX)
    upscaler.run(np.zeros((300, 300, 3), np.uint8))  # what is loaded once is no part of it
    before_bytes = peak_host_memory_bytes() or 0
    reset_peak_memory(device)
    target = path.with_name(f"out{path.suffix}")
    if mode.endswith("by rows"):
        stream_tiff(upscaler, path, target, room_bytes=room_bytes, note=lambda: None)
        stated = room_bytes
    else:
        picture = read_picture(path)
        height_px, width_px = picture.colour.shape[:2]
        result = upscale_picture(upscaler, picture)
        write_picture(target, result)
        stated = picture_bytes(
            read_outline(path),
            target,
            scale=backbone.scale,
            outscale=backbone.scale,
            band_px=upscaler.most_band_px(height_px, width_px),
        )
    return {
        "host_bytes": (peak_host_memory_bytes() or 0) - before_bytes,
        "stated_bytes": stated,
        "device_bytes": peak_memory_bytes(device),
        "output_bytes": target.stat().st_size,
    }


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 16, 100])
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model")
    parser.add_argument("--room", type=float, default=2e9, help="Memory for going by rows.")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        what, path, mode = options.step
        if what == "make":
            make_image(Path(path), options.megapixels[0], mode)
        else:
            print(json.dumps(measure(Path(path), mode, int(options.room), options.device, options.model)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in options.megapixels:
            for mode in options.modes:
                suffix = SUFFIXES[mode.split()[1].strip(",")]
                side_px = round((megapixels * 1e6) ** 0.5)
                outline = Outline(side_px, side_px, deep=mode.startswith("16"), alpha="transparent" in mode)
                stated = picture_bytes(
                    outline, Path(f"out{suffix}"), scale=SCALE, outscale=SCALE, band_px=TILE_PX * side_px
                )
                if not mode.endswith("by rows") and stated > 0.8 * free_memory_bytes(torch.device("cpu")):
                    rows.append({"megapixels": megapixels, "mode": mode, "stated_bytes": stated})
                    continue
                path = Path(folder) / f"in{suffix}"
                call = [sys.executable, __file__, "--megapixels", str(megapixels), "--device", options.device]
                call += ["--room", str(options.room), *(["--model", options.model] if options.model else [])]
                subprocess.run([*call, "--step", "make", str(path), mode], check=True)
                done = subprocess.run(
                    [*call, "--step", "measure", str(path), mode], check=True, stdout=subprocess.PIPE, text=True
                )
                rows.append({"megapixels": megapixels, "mode": mode, **json.loads(done.stdout)})
                print(rows[-1], flush=True)
                for leftover in Path(folder).iterdir():
                    leftover.unlink()
    write_results(rows, options)


def write_results(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write the figures as JSON and as a table."""
    device = describe_device(pick_device(options.device))
    network = Path(options.model).name if options.model else "a network that repeats pixels"
    lines = [
        f"Peak memory of `upscale` x{SCALE}, {network}, {device}; by rows: {options.room / 1e9:.1f} GB allowed.",
        "",
        "| image | files | host, measured | host, stated | device |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        host = f"{row['host_bytes'] / 1e9:.2f} GB" if "host_bytes" in row else "not run: too little memory"
        device_bytes = row.get("device_bytes")
        on_device = f"{device_bytes / 1e9:.2f} GB" if device_bytes is not None else "(host)"
        stated = f"{row['stated_bytes'] / 1e9:.2f} GB"
        lines.append(f"| {row['megapixels']:g} MP | {row['mode']} | {host} | {stated} | {on_device} |")
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "upscale_memory.json").write_text(json.dumps({"device": device, "rows": rows}, indent=1) + "\n")
    (options.output / "upscale_memory.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
