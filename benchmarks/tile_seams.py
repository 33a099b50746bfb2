"""What tiles change: the tiled result against the whole image's, and the gradient across tile borders and beside.

    python benchmarks/tile_seams.py [--models FILE ...] [--size 233] [--tile 48] [--pictures FOLDER]

For the embedded network, small seeded networks of the architectures that matter (those of the tests), and ``--models``
(``--only-models``: those alone), on a flat and on a textured image, and on a ``--photograph``. Writes
``benchmarks/results/NAME.{json,md}`` (``--name``), and with ``--pictures`` the results and their differences, 32 times
as strong, to look at.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from networks import save_tiny

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.tiles import RAMP_PX, TilePlan
from adaptsr_cli.io.images import read_rgb, write_rgb

ROOT = Path(__file__).resolve().parents[1]

SMALL = ("edsr_basicsr", "rrdb", "span", "safmn", "realplksr", "rcan", "swinir", "drct", "hat", "dat")


def images(size_px: int) -> Iterator[tuple[str, np.ndarray]]:
    """A flat image with a faint slope, where any step would be seen, and a textured one."""
    rows, columns = np.mgrid[:size_px, :size_px]
    slope = 120 + 6 * (rows + columns) / size_px
    yield "flat", np.repeat(np.rint(slope)[..., None], 3, axis=2).astype(np.uint8)
    rng = np.random.default_rng(0)
    waves = np.stack([np.sin(rows / 3), np.cos(columns / 2.3), np.sin((rows + columns) / 4)], axis=2)
    texture = 128 + 60 * waves + rng.normal(0, 25, (size_px, size_px, 3))
    yield "textured", np.clip(texture, 0, 255).astype(np.uint8)


def measure(backbone: Backbone, lr: np.ndarray, tile_px: int, pad_px: int | None) -> tuple[dict[str, Any], Any, Any]:
    """Differences in grey levels of 255, with the whole and the tiled result."""
    whole = 255 * Upscaler(backbone, device=torch.device("cpu"), tile_px=0).run(lr)
    upscaler = Upscaler(backbone, device=torch.device("cpu"), tile_px=tile_px, pad_px=pad_px)
    plan = upscaler.plan(*lr.shape[:2])
    tiled = 255 * upscaler.run(lr)
    apart = np.abs(tiled - whole)
    across, beside = gradients(tiled - whole, plan, backbone.scale)
    figures = {
        "tiles": len(plan.tiles),
        "pad_px": upscaler.pad_px,
        "max_levels": float(apart.max()),
        "mean_levels": float(apart.mean()),
        "max_rounded_levels": int(np.abs(np.rint(tiled) - np.rint(whole)).max()),
        "gradient_across": across,
        "gradient_beside": beside,
        "gradient_of_image": float(np.abs(np.diff(whole, axis=0)).mean()),
    }
    return figures, whole, tiled


def gradients(difference: np.ndarray, plan: TilePlan, scale: int) -> tuple[float, float]:
    """Mean step between neighbouring pixels that tiling adds, within the ramps of tile borders and elsewhere."""
    across, beside = [], []
    for axis, strips in ((0, plan.vertical.strips), (1, plan.horizontal.strips)):
        steps = np.abs(np.diff(difference, axis=axis)).mean(axis=(1 - axis, 2))
        seam = np.zeros(len(steps), bool)
        for strip in strips[1:]:
            start = scale * strip.keep_start
            seam[max(0, start - 1) : start + scale * RAMP_PX] = True
        across.append(steps[seam])
        beside.append(steps[~seam])
    return float(np.concatenate(across).mean()), float(np.concatenate(beside).mean())


def backbones(models: list[Path], folder: Path, *, only_models: bool) -> Iterator[tuple[str, Backbone]]:
    """The networks by name."""
    yield from ((model.name, load_backbone(model)) for model in models)
    if only_models:
        return
    yield "embedded SAFMN x4", load_backbone(default_model())
    for name in SMALL:
        yield f"small {name}", load_backbone(save_tiny(name, folder / f"{name}.safetensors"))


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("--size", type=int, default=233, help="side of the LR image")
    parser.add_argument("--tile", type=int, default=48)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--only-models", action="store_true", help="no other networks")
    parser.add_argument("--photograph", type=Path, help="its upper left corner is taken too")
    parser.add_argument("--name", default="tile_seams")
    options = parser.parse_args()
    pictures = dict(images(options.size))
    if options.photograph:
        pictures["photograph"] = read_rgb(options.photograph)[: options.size, : options.size]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, backbone in backbones(options.models, Path(folder), only_models=options.only_models):
            for kind, lr in pictures.items():
                for pad_px in (None, 0):
                    figures, whole, tiled = measure(backbone, lr, options.tile, pad_px)
                    rows.append(
                        {"network": name, "image": kind, "pad": "default" if pad_px is None else "0", **figures}
                    )
                    print(rows[-1], flush=True)
                    if options.pictures and pad_px is None:
                        strong = 128 + 32 * (tiled - whole)
                        for what, picture in (("tiled", tiled), ("whole", whole), ("difference", strong)):
                            target = options.pictures / f"{name.replace(' ', '_')}_{kind}_{what}.png"
                            write_rgb(target, np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    text = to_markdown(rows, options.size, options.tile)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{options.name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (options.output / f"{options.name}.md").write_text(text, encoding="utf-8")
    print(text)


def to_markdown(rows: list[dict[str, Any]], size_px: int, tile_px: int) -> str:
    """The table."""
    lines = [
        f"Tiles of {tile_px} px against the whole image of {size_px} x {size_px} px, fp32, CPU, in grey levels of 255.",
        "The gradient is that of the difference: what tiling adds from one pixel to the next, on average, within the",
        f"{RAMP_PX} LR px in which a tile fades into the next, and elsewhere; last the gradient of the image itself.",
        "",
        "| network | image | tiles | pad | max | mean | max, rounded | gradient across | beside | of the image |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['network']} | {row['image']} | {row['tiles']} | {row['pad_px']} px | {row['max_levels']:.3f} | "
        f"{row['mean_levels']:.5f} | {row['max_rounded_levels']} | {row['gradient_across']:.5f} | "
        f"{row['gradient_beside']:.5f} | {row['gradient_of_image']:.3f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
