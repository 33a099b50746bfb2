"""Adapted networks exported for upscayl and run by ncnn on a photograph: difference, seam, size and speed beside torch.

    python benchmarks/export_players.py --shared FOLDER [--iterations 60]

`FOLDER/data/real_pairs/iphone` is adapted to. Networks: the embedded SAFMN x4, the published SPAN x4, and EDSR-baseline
x4 with random weights, since no checkpoint of it was at hand. The photograph is a real LR image of NTIRE 2019 that was
not trained on. Differences are in grey levels of 255, of the rounded pictures. The seam is the largest difference
between the picture in one piece and in tiles of 100 px with the 10 px around them that upscayl takes, within 10 LR px
of an inner edge of a tile and not of the picture's own edge. Writes ``benchmarks/results/export_players.md``; one
thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from adaptsr_cli.backbones.backbone import super_resolve  # noqa: E402
from adaptsr_cli.backbones.edsr import EDSR  # noqa: E402
from adaptsr_cli.backbones.loader import load_backbone  # noqa: E402
from adaptsr_cli.backbones.ncnn_model import NcnnFiles, NcnnModel  # noqa: E402
from adaptsr_cli.io.images import list_images, read_rgb, resize_bicubic  # noqa: E402
from adaptsr_cli.io.tensors import write_tensors  # noqa: E402
from adaptsr_cli.runtime import describe_machine  # noqa: E402
from adaptsr_cli.stages.export.ncnn import PLAYER_PADDING_PX  # noqa: E402

TILE_PX: Final = 100
SCALE: Final = 4


def main() -> None:
    """Adapt, export, run and compare; write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("ADAPTSR_SHARED"), required=False)
    parser.add_argument("--iterations", type=int, default=60)
    options = parser.parse_args()
    if options.shared is None:
        parser.error("name the folder by --shared or ADAPTSR_SHARED")
    torch.set_num_threads(1)
    photo = list_images(Path(options.shared) / "data/real_pairs/ntire2019/LR_samesize")[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, model in networks(Path(options.shared), work).items():
            rows.append({"network": name, **examine(name, model, photo, work, options)})
            print(json.dumps(rows[-1]), flush=True)
    report = ROOT / "benchmarks/results/export_players.md"
    report.write_text(to_markdown(rows, options.iterations), encoding="utf-8")
    print(report.read_text(encoding="utf-8"))


def networks(shared: Path, work: Path) -> dict[str, Path | None]:
    """Checkpoints by name; None for the embedded one."""
    torch.manual_seed(0)
    edsr = EDSR(SCALE, width=64, blocks=16, kernel_size=3, residual_scale=1.0, pixel_range=255.0)
    write_tensors(work / "edsr.safetensors", dict(edsr.state_dict()), {})
    span = shared / "weights/genuine/SPAN_x4_ch48_from_ncnn_fp16.pth"
    return {"SAFMN x4 (embedded)": None, "SPAN x4": span, "EDSR-baseline x4 (random)": work / "edsr.safetensors"}


def examine(name: str, model: Path | None, photo: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train a little, export for upscayl, and run both."""
    run = work / name.split()[0]
    pairs = Path(options.shared) / "data/real_pairs/iphone"
    chosen = ["--model", model] if model else []
    train = ["train", "--data", pairs, *chosen, "--run", run, "--iterations", options.iterations]
    train += ["--method", "lora", "--lr", "5e-4"]
    call(*train, "--val-freq", options.iterations)
    call("merge", "--run", run)
    exported = json.loads(
        call("export", "--to", "ncnn", "--for", "upscayl", "--name", "camera", "--run", run, "--json")
    )
    param = Path(exported["output"])
    player = NcnnModel(NcnnFiles(param, param.with_suffix(".bin")))
    backbone = load_backbone(run / "merged.safetensors")
    large = read_rgb(photo)
    lr = resize_bicubic(large, large.shape[1] // SCALE, large.shape[0] // SCALE)
    image = torch.from_numpy(lr.copy()).permute(2, 0, 1)[None].float() / 255  # (1, 3, h, w)
    with torch.inference_mode():
        expected, torch_ms = timed(lambda: super_resolve(backbone, image))
    found, ncnn_ms = timed(lambda: player.run(image))
    difference = levels(found) - levels(expected)
    return {
        "lr_px": f"{lr.shape[1]}x{lr.shape[0]}",
        "largest": int(np.abs(difference).max()),
        "mean": float(np.abs(difference).mean()),
        "seam": seam(player, image, found),
        "megabytes": (param.stat().st_size + param.with_suffix(".bin").stat().st_size) / 1e6,
        "ncnn_ms": ncnn_ms,
        "torch_ms": torch_ms,
    }


def seam(player: NcnnModel, image: Tensor, whole: Tensor) -> int:
    """The largest difference in grey levels near the inner edges of tiles."""
    pad_px = PLAYER_PADDING_PX
    around = functional.pad(image, (pad_px,) * 4, mode="replicate")
    height, width = image.shape[-2:]
    tiled = torch.zeros_like(whole)
    near = np.zeros(whole.shape[-2:], dtype=bool)
    for top in range(0, height, TILE_PX):
        for left in range(0, width, TILE_PX):
            tall, wide = min(TILE_PX, height - top), min(TILE_PX, width - left)
            part = player.run(around[..., top : top + tall + 2 * pad_px, left : left + wide + 2 * pad_px])
            inside = part[..., pad_px * SCALE : (pad_px + tall) * SCALE, pad_px * SCALE : (pad_px + wide) * SCALE]
            tiled[..., top * SCALE : (top + tall) * SCALE, left * SCALE : (left + wide) * SCALE] = inside
            if top:
                near[(top - pad_px) * SCALE : (top + pad_px) * SCALE] = True
            if left:
                near[:, (left - pad_px) * SCALE : (left + pad_px) * SCALE] = True
    edge = pad_px * SCALE  # at the picture's own edge players repeat pixels where the network sees nothing
    near[:edge] = near[-edge:] = near[:, :edge] = near[:, -edge:] = False
    difference = np.abs(levels(tiled) - levels(whole)).max(axis=(0, 1))
    return int(difference[near].max())


def levels(sr: Tensor) -> np.ndarray[Any, Any]:
    """Rounded grey levels."""
    return (sr.clamp(0, 1) * 255).round().numpy().astype(int)


def timed(run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """The result, and the median time of three runs after one."""
    run()
    times, out = [], run()
    for _ in range(3):
        begin = time.perf_counter()
        out = run()
        times.append(time.perf_counter() - begin)
    return out, 1000 * sorted(times)[1]


def call(*words: object) -> str:
    """Call the command line and give what it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "adaptsr_cli", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-1500:])
    return done.stdout


def to_markdown(rows: list[dict[str, Any]], iterations: int) -> str:
    """The table."""
    lines = [
        "| network | LR | largest difference | mean | seam | size | ncnn | torch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['network']} | {row['lr_px']} px | {row['largest']} | {row['mean']:.3f} | {row['seam']} | "
            f"{row['megabytes']:.2f} MB | {row['ncnn_ms']:.0f} ms | {row['torch_ms']:.0f} ms |"
        )
    machine = describe_machine(torch.device("cpu"))
    return "\n".join(
        [
            *lines,
            "",
            f"Made by `python benchmarks/export_players.py` on {machine}; each network adapted for {iterations} "
            "iterations, written for upscayl in half precision, run by ncnn. Differences from torch and seams in grey "
            "levels of 255.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
