"""How far bf16 and fp16 are from fp32, for each network: largest and mean difference in grey levels of 255.

    python benchmarks/precision.py [--models FILE ...] [--images FOLDER] [--device cuda] [--side 96]

For the embedded network, small seeded networks of the architectures that matter, and ``--models``; the weights of the
small ones are random, so only the published ones tell what a user will see. Without ``--images``: a textured image.
fp16 is measured on CUDA only; what the trait table rules out is measured and marked.
Writes ``benchmarks/results/precision_<device>.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tile_seams import backbones, images

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.images import list_images, read_rgb
from adaptsr_cli.runtime import Precision, describe_device, pick_device

ROOT = Path(__file__).resolve().parents[1]


def compare(
    backbone: Backbone, pictures: list[np.ndarray], precision: Precision, device: torch.device
) -> dict[str, Any]:
    """The differences over all pictures."""
    exact = Upscaler(backbone, device=device, precision="fp32")
    rough = Upscaler(backbone, device=device, precision=precision)
    largest, sums, count = 0.0, 0.0, 0
    for picture in pictures:
        apart = 255 * np.abs(exact.run(picture).astype(np.float64) - rough.run(picture))
        largest, sums, count = max(largest, float(apart.max())), sums + float(apart.sum()), count + apart.size
    return {"max_levels": largest, "mean_levels": sums / count}


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--side", type=int, default=96, help="largest side that is taken of an image")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    device = pick_device(options.device)
    if options.images:
        pictures = [read_rgb(path)[: options.side, : options.side] for path in list_images(options.images)]
    else:
        pictures = [picture for kind, picture in images(options.side) if kind == "textured"]
    rows: list[dict[str, Any]] = []
    precisions: tuple[Precision, ...] = ("bf16", "fp16") if device.type == "cuda" else ("bf16",)
    with tempfile.TemporaryDirectory() as folder:
        for name, backbone in backbones(options.models, Path(folder)):
            for precision in precisions:
                allowed = backbone.traits.bf16 if precision == "bf16" else backbone.traits.fp16
                row = {"network": name, "precision": precision, "allowed": allowed}
                try:
                    row |= compare(backbone, pictures, precision, device)
                except AdaptsrError as error:
                    row |= {"fault": error.message}
                rows.append(row)
                print(row, flush=True)
    where = describe_device(device)
    text = to_markdown(rows, len(pictures), where)
    options.output.mkdir(parents=True, exist_ok=True)
    stem = options.output / f"precision_{device.type}"
    stem.with_suffix(".json").write_text(json.dumps({"device": where, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def to_markdown(rows: list[dict[str, Any]], pictures: int, where: str) -> str:
    """The table."""
    lines = [
        f"Against fp32 on the same device ({where}), images: {pictures}, in grey levels of 255.",
        "",
        "| network | precision | max | mean | by the trait table |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        figures = row.get("fault") or f"{row['max_levels']:.2f} | {row['mean_levels']:.3f}"
        figures = figures if "|" in figures else f"{figures} | "
        allowed = "allowed" if row["allowed"] else "not allowed"
        lines.append(f"| {row['network']} | {row['precision']} | {figures} | {allowed} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
