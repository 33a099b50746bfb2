"""`upscale` against a plain loop in OpenVINO, whole processes: from the command line to the PNG files.

    python benchmarks/speed/engines.py --weights ../shared/weights/genuine/DAT_light_x4.pth --name dat
    python benchmarks/speed/engines.py --name safmn --images 4

The peer imports openvino, compiles an IR that was converted before (spandrel's own network, for inputs of one size,
fp32), reads each image by Pillow, runs the whole image at once or squares of ``--peer-tile`` pixels with ``--overlap``
more on each inner side, and writes PNG by Pillow. Ours is ``adaptsr upscale``, by torch and by openvino, the conversion
being in the cache folder as after any earlier call; what that first call takes stands beside. The sides run in turns;
medians over ``--rounds`` of processor time (which other work on the machine disturbs less) and of time by the clock.
Adds its rows to ``benchmarks/results/speed_engines.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed_engines"
SCALE = 4
TITLES = {"safmn": "SAFMN x4 (embedded)", "span": "SPAN x4", "dctlsa": "DCTLSA x4", "dat": "DAT-light x4"}


def convert(weights: Path, side_px: int, path: Path) -> None:
    """Convert spandrel's own network for images of one size."""
    import openvino  # type: ignore[import-not-found,import-untyped,unused-ignore]
    import torch
    from spandrel import ModelLoader

    model = ModelLoader().load_from_file(weights).model.float().eval().requires_grad_(False)
    image = torch.rand(1, 3, side_px, side_px)
    with torch.no_grad():
        model(image.clone())  # SPAN computes weights on its first run
        traced = torch.jit.trace(model, image, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
    graph = openvino.convert_model(traced, example_input=image, input=list(image.shape))
    openvino.save_model(graph, str(path), compress_to_fp16=False)


def run_peer(path: Path, images: list[Path], folder: Path, tile_px: int, overlap_px: int, threads: int) -> None:
    """The plain loop; ``tile_px`` 0 for the whole image."""
    import openvino
    from PIL import Image

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    for name in images:
        lr = np.asarray(Image.open(name).convert("RGB")).astype(np.float32).transpose(2, 0, 1)[None] / 255
        height_px, width_px = lr.shape[2:]
        sr = np.empty((3, SCALE * height_px, SCALE * width_px), np.float32)
        rows_px, columns_px = tile_px or height_px, tile_px or width_px
        for top in range(0, height_px, rows_px):
            for left in range(0, width_px, columns_px):
                above, before = min(overlap_px, top), min(overlap_px, left)
                tile = lr[
                    :, :, top - above : top + rows_px + overlap_px, left - before : left + columns_px + overlap_px
                ]
                found = model(np.ascontiguousarray(tile))[0][0]
                place = sr[:, SCALE * top : SCALE * (top + rows_px), SCALE * left : SCALE * (left + columns_px)]
                y, x = SCALE * above, SCALE * before
                place[:] = found[:, y : y + place.shape[1], x : x + place.shape[2]]
        pixels = np.rint(255 * sr.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels).save(folder / f"{name.stem}_x4.png")


def time_process(words: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Processor time and time by the clock of a whole process, in seconds."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
    wall_s, after = time.perf_counter() - begin, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {"cpu_s": cpu_s, "wall_s": wall_s}


def make_images(folder: Path, side_px: int, count: int) -> list[Path]:
    """Waves and noise as PNG files."""
    from PIL import Image

    rows, columns = np.mgrid[:side_px, :side_px]
    waves = np.stack([np.sin(rows / 7), np.cos(columns / 5), np.sin((rows + columns) / 9)], axis=2)
    paths = []
    for index in range(count):
        noise = np.random.default_rng(index).normal(0, 4, waves.shape)
        paths.append(folder / f"in{index}.png")
        Image.fromarray(np.clip(128 + 60 * waves + noise, 0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All sides in turns."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(ROOT)}
    environment["ADAPTSR_CACHE"] = str(folder / "cache")
    images = make_images(folder, options.size, options.images)
    weights = options.weights or next((ROOT / "weights").glob("safmn_x4*.safetensors"))
    tile_px = options.peer_tile + options.overlap
    for side_px in (options.size, tile_px):
        call = [__file__, "--convert", str(side_px), str(weights), str(folder / f"{side_px}.xml")]
        subprocess.run([sys.executable, "-W", "ignore", *call], check=True, env=environment, capture_output=True)
    peer = [__file__, "--threads", str(options.threads), "--overlap", str(options.overlap), "--peer"]
    ours = ["-m", "adaptsr_cli", "upscale", *map(str, images), "--model", str(weights), "--run", str(folder / "run")]
    sides = {
        "peer_whole": [*peer, str(folder / f"{options.size}.xml"), "0", str(folder), *map(str, images)],
        "peer_tiles": [*peer, str(folder / f"{tile_px}.xml"), str(options.peer_tile), str(folder), *map(str, images)],
        "openvino": [*ours, "--engine", "openvino", "--force", "--output", str(folder / "openvino")],
        "torch": [*ours, "--engine", "torch", "--force", "--output", str(folder / "torch")],
    }
    first = time_process(sides["openvino"], environment)
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, words in sides.items():
            runs[side].append(time_process(words, environment))
            print(options.name, side, runs[side][-1], flush=True)
    row: dict[str, Any] = {
        "network": options.name,
        "images": options.images,
        "size_px": options.size,
        "threads": options.threads,
        "rounds": options.rounds,
        "peer_tile_px": options.peer_tile,
        "overlap_px": options.overlap,
        "machine": f"{os.cpu_count()} CPU cores",
        "first_call": first,
        "max_levels": most_apart(folder / "torch", folder / "openvino"),
    }
    for side, figures in runs.items():
        row[side] = {name: median(item[name] for item in figures) for name in ("cpu_s", "wall_s")}
    return row


def most_apart(one: Path, other: Path) -> int:
    """The largest difference between the files of two folders, in grey levels."""
    from PIL import Image

    most = 0
    for path in sorted(one.glob("*.png")):
        first, second = (np.asarray(Image.open(folder / path.name)).astype(int) for folder in (one, other))
        most = max(most, int(np.abs(first - second).max()))
    return most


def write_table(rows: list[dict[str, Any]]) -> None:
    """The rows as JSON and as a table."""
    RESULTS.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    lines = [
        "Whole processes, PNG to PNG, processor seconds (by the clock): `adaptsr upscale` and a loop in OpenVINO. "
        "Ratios are of processor time, above 1 where ours is faster.",
        "",
        "| network | images | threads | loop, whole image | loop, tiles | ours, openvino | ours, torch | whole / ours "
        "| tiles / ours | torch / openvino | first call | apart, grey levels |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = [row[side]["cpu_s"] for side in ("peer_whole", "peer_tiles", "openvino", "torch")]
        cells = [f"{row[side]['cpu_s']:.1f} ({row[side]['wall_s']:.1f})" for side in ("peer_whole", "peer_tiles")]
        cells += [f"{row[side]['cpu_s']:.1f} ({row[side]['wall_s']:.1f})" for side in ("openvino", "torch")]
        whole, tiles, ours, torch = times
        ratios = f"{whole / ours:.2f} | {tiles / ours:.2f} | {torch / ours:.2f}"
        lines.append(
            f"| {TITLES[row['network']]} | {row['images']} of {row['size_px']} px | {row['threads']} | "
            f"{' | '.join(cells)} | {ratios} | {row['first_call']['cpu_s']:.1f} | {row['max_levels']} |"
        )
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Measure one network and add its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", choices=TITLES, default="safmn")
    parser.add_argument("--weights", type=Path, help="a checkpoint; the embedded SAFMN where left out")
    parser.add_argument("--size", type=int, default=512, help="side of the LR images")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--peer-tile", type=int, default=256)
    parser.add_argument("--overlap", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--convert", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--peer", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.convert:
        side_px, weights, path = options.convert
        convert(Path(weights), int(side_px), Path(path))
    elif options.peer:
        path, tile_px, folder, *images = options.peer
        images = [Path(name) for name in images]
        run_peer(
            Path(path), images, Path(folder), int(tile_px), options.overlap if int(tile_px) else 0, options.threads
        )
    elif options.size != 2 * options.peer_tile:
        parser.error("the peer's converted network takes tiles of one shape: give --peer-tile half of --size")
    else:
        with tempfile.TemporaryDirectory() as folder:
            row = compare(options, Path(folder))
        place = RESULTS.with_suffix(".json")
        rows = json.loads(place.read_text(encoding="utf-8")) if place.exists() else []
        key = ("network", "images", "size_px", "threads")
        rows = [other for other in rows if any(other[name] != row[name] for name in key)]
        write_table([*rows, row])


if __name__ == "__main__":
    main()
