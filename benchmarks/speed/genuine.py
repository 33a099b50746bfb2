"""`adaptsr upscale` against a plain tile loop, whole processes, for every genuine checkpoint of a folder.

    OMP_NUM_THREADS=1 python benchmarks/speed/genuine.py --weights FOLDER --sizes 256 512 --rounds 3

The peer is a script as its users write it: spandrel loads the file, and squares of 256 pixels with 16 more on each
inner side go through the network one after the other, in inference mode. Both sides read a PNG and write one, from the
start of Python to its end. The two take turns; medians of the time by the clock and of processor time, which other work
on the machine disturbs less. Beside that stands what both spend on an image of 16 pixels: start, imports, loading.
Writes ``benchmarks/results/speed_genuine.{json,md}``, after every network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from upscale import make_image

from adaptsr_cli.runtime import describe_machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"

_SMALLEST_PX = 16
_PEER = """
import sys
import numpy as np, torch
from PIL import Image
from spandrel import ModelLoader
model = ModelLoader().load_from_file(sys.argv[1]).eval()
scale, tile, pad = model.scale, 256, 16
image = np.asarray(Image.open(sys.argv[2]).convert("RGB"))
height, width = image.shape[:2]
result = np.empty((scale * height, scale * width, 3), np.uint8)
with torch.inference_mode():
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            above, before = min(pad, top), min(pad, left)
            piece = image[top - above : bottom + pad, left - before : right + pad].astype(np.float32) / 255
            sr = model(torch.from_numpy(piece).permute(2, 0, 1)[None])[0]
            sr = sr[:, scale * above : scale * (above + bottom - top), scale * before : scale * (before + right - left)]
            place = result[scale * top : scale * bottom, scale * left : scale * right]
            place[:] = (sr.clamp(0, 1).permute(1, 2, 0).numpy() * 255).round()
Image.fromarray(result).save(sys.argv[3])
"""


def time_process(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor that a call takes from start to end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before, begin = os.times(), perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True, env=environment)
    wall_s, after = perf_counter() - begin, os.times()
    return wall_s, after.children_user + after.children_system - before.children_user - before.children_system


def compare(weights: Path, size_px: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Both sides in turn on one image."""
    lr = folder / f"{size_px}.png"
    Image.fromarray(make_image(size_px)).save(lr)
    results = {side: folder / f"{side}.png" for side in ("peer", "ours")}
    ours = ["upscale", str(lr), "--output", str(results["ours"]), "--model", str(weights), "--run", str(folder / "run")]
    calls = {
        "peer": ["-W", "ignore", "-c", _PEER, str(weights), str(lr), str(results["peer"])],
        "ours": ["-m", "adaptsr_cli", *ours, "--force"],
    }
    seconds: dict[str, list[tuple[float, float]]] = {"peer": [], "ours": []}
    for _ in range(rounds):
        for side, words in calls.items():
            seconds[side].append(time_process(words, folder))
    row: dict[str, Any] = {"size_px": size_px}
    for side, figures in seconds.items():
        row[f"{side}_s"], row[f"{side}_cpu_s"] = (median(column) for column in zip(*figures, strict=True))
    row["speed_up"] = row["peer_s"] / row["ours_s"]
    row["cpu_speed_up"] = row["peer_cpu_s"] / row["ours_cpu_s"]
    pictures = [np.asarray(Image.open(path)).astype(int) for path in results.values()]
    apart = np.abs(pictures[0] - pictures[1])
    row["mean_levels"], row["max_levels"] = float(apart.mean()), int(apart.max())
    return row


def write_report(report: dict[str, Any], place: Path) -> str:
    """JSON and a table; returns the table."""
    place.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    lines = [
        f"`upscale` against a plain tile loop of 256 px, whole processes, fp32; {report['machine']}, "
        f"{report['threads']} threads used. {report['rounds']} rounds in turns.",
        "",
        "| weights | image | peer | ours | speed-up | by processor time | apart, grey levels |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in report["weights"].items():
        for row in rows:
            lines.append(
                f"| {name} | {row['size_px']} px | {row['peer_s']:.2f} s | {row['ours_s']:.2f} s | "
                f"{row['speed_up']:.2f}x | {row['cpu_speed_up']:.2f}x | "
                f"{row['mean_levels']:.4f}, at most {row['max_levels']} |"
            )
    lines += ["", f"{_SMALLEST_PX} px: hardly more than start, imports and loading. Above 256 px the peer has seams."]
    text = "\n".join(lines) + "\n"
    place.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="a folder of checkpoints")
    parser.add_argument("--names", nargs="*", help="of files in it; all where left out")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="speed_genuine", help="of the results")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "machine": describe_machine(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "weights": {},
    }
    for name in options.names or sorted(path.name for path in options.weights.iterdir()):
        with tempfile.TemporaryDirectory() as folder:
            report["weights"][name] = [
                compare(options.weights.resolve() / name, size_px, options.rounds, Path(folder))
                for size_px in (_SMALLEST_PX, *options.sizes)
            ]
        text = write_report(report, RESULTS / options.name)
    print(text)


if __name__ == "__main__":
    main()
