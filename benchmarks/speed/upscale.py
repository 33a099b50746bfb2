"""Upscaling against the peer: spandrel's own network, run eagerly in inference mode with a plain tile loop.

    python benchmarks/speed/upscale.py --model swinir --size 512 --threads 2 --rounds 1
    python benchmarks/speed/upscale.py --model safmn --size 512 --sizes 64 128 256 512 --tiles 64 128 256 512

The peer is what chaiNNer does: squares of ``--peer-tile`` pixels with ``--overlap`` more on each inner side, one after
the other, the overlap thrown away; and the whole image at once (``--peer-tile 0``). Both sides take the image as uint8
and give float32 on the host. Every figure is from a process of its own (so that neither finds the other's memory or
settings), the two sides in turn, warmed up by a small image; medians over ``--rounds`` processes. Beside the time by
the clock stands the ratio of processor time, which other work on the machine disturbs less. Writes
``benchmarks/results/speed_upscale_MODEL.{json,md}``, with ``--sizes`` or ``--tiles`` also ``.png``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from spandrel import MAIN_REGISTRY, ModelLoader
from spandrel.architectures.DRCT import DRCT
from spandrel.architectures.SAFMN import SAFMN
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adaptsr_cli.backbones.edsr import BasicsrEDSR
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.tensors import write_pth
from adaptsr_cli.runtime import (
    autocast,
    describe_machine,
    peak_memory_bytes,
    pick_device,
    reset_peak_memory,
)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"

SCALE = 4
TITLES = {
    "swinir": "SwinIR-M x4 (embed 180, depths 6x6, window 8)",
    "safmn": "SAFMN x4 (dim 36, 8 blocks)",
    "edsr": "EDSR-baseline x4 (64 channels, 16 blocks)",
    "drct": "DRCT x4 (embed 180, 6 groups, window 16)",
    "dctlsa": "DCTLSA x4",
}
_WARM_UP_PX = 64
_EDSR = (SCALE, 64, 16, 3, 1.0)


def build(name: str) -> nn.Module:
    """A network with seeded random weights; speed does not depend on the weights."""
    torch.manual_seed(0)
    windows: dict[str, Any] = {"upscale": SCALE, "upsampler": "pixelshuffle", "resi_connection": "1conv"}
    match name:
        case "swinir":
            depths = {"depths": (6,) * 6, "num_heads": (6,) * 6}
            return SwinIR(**windows, **depths, embed_dim=180, window_size=8, img_size=64, mlp_ratio=2)
        case "drct":
            return DRCT(**windows)
        case "safmn":
            return SAFMN(dim=36, n_blocks=8, upscaling_factor=SCALE)
        case "edsr":
            return BasicsrEDSR(*_EDSR)
    raise ValueError(f"--weights is needed for {name}")


def open_peer(name: str, weights: Path, device: torch.device) -> nn.Module:
    """The network as spandrel loads it; EDSR, which spandrel lacks, as its authors wrote it."""
    if name == "edsr":
        model: nn.Module = BasicsrEDSR(*_EDSR)
        model.load_state_dict(torch.load(weights, weights_only=True)["params"])
    else:
        model = ModelLoader(registry=MAIN_REGISTRY).load_from_file(weights).model
    return model.float().eval().requires_grad_(False).to(device)


@torch.inference_mode()
def run_peer(
    model: nn.Module, image: np.ndarray, tile_px: int, overlap_px: int, device: torch.device, precision: Any
) -> np.ndarray:
    """A plain tile loop: (H, W, 3) uint8 -> (4 H, 4 W, 3) float32 in [0, 1]."""
    height_px, width_px = image.shape[:2]
    result = np.empty((SCALE * height_px, SCALE * width_px, 3), np.float32)
    rows_px, columns_px = tile_px or height_px, tile_px or width_px
    for top in range(0, height_px, rows_px):
        for left in range(0, width_px, columns_px):
            bottom, right = min(top + rows_px, height_px), min(left + columns_px, width_px)
            above, before = min(overlap_px, top), min(overlap_px, left)
            piece = image[top - above : bottom + overlap_px, left - before : right + overlap_px]
            lr = torch.from_numpy(piece.astype(np.float32) / 255).permute(2, 0, 1)[None].to(device)
            with autocast(device, precision):
                sr = model(lr)[0].float()
            kept = sr[
                :,
                SCALE * above : SCALE * (above + bottom - top),
                SCALE * before : SCALE * (before + right - left),
            ]
            place = result[SCALE * top : SCALE * bottom, SCALE * left : SCALE * right]
            place[:] = kept.clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return result


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One side in this process: seconds, and the memory that it took on top of what it had after loading."""
    device = pick_device(options.device)
    torch.set_num_threads(options.threads)
    warm_up, image = (make_image(side) for side in (_WARM_UP_PX, options.size))
    if options.side == "peer":
        model = open_peer(options.model, options.weights, device)

        def run(lr: np.ndarray) -> np.ndarray:
            return run_peer(model, lr, options.tile, options.overlap, device, options.precision)
    else:
        tile_px = None if options.tile < 0 else options.tile
        backbone = load_backbone(options.weights)
        upscaler = Upscaler(backbone, device=device, precision=options.precision, tile_px=tile_px)
        run = upscaler.run
    run(warm_up)
    before_bytes = restart_host_peak()
    reset_peak_memory(device)
    seconds, cpu_s = [], []
    for _ in range(options.repeats):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        result = run(image)
        seconds.append(time.perf_counter() - begin)
        cpu_s.append(time.process_time() - cpu_begin)
    host_bytes = read_status("VmHWM") - before_bytes
    np.save(options.result, result)
    return {
        "seconds": median(seconds),
        "cpu_s": median(cpu_s),
        "host_bytes": host_bytes,
        "device_bytes": peak_memory_bytes(device),
    }


def restart_host_peak() -> int:
    """Let Linux count the most memory anew; return what is held now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return read_status("VmRSS")


def read_status(name: str) -> int:
    """A size that Linux keeps of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def make_image(side_px: int) -> np.ndarray:
    """Waves and noise, (side, side, 3) uint8."""
    rows, columns = np.mgrid[:side_px, :side_px]
    waves = np.stack([np.sin(rows / 3), np.cos(columns / 2.3), np.sin((rows + columns) / 4)], axis=2)
    noise = np.random.default_rng(0).normal(0, 15, waves.shape)
    return np.clip(128 + 60 * waves + noise, 0, 255).astype(np.uint8)


def count_flops_per_px(name: str, weights: Path) -> float:
    """Of matrix products and convolutions, for one LR pixel."""
    model = open_peer(name, weights, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, _WARM_UP_PX, _WARM_UP_PX))
    return counter.get_total_flops() / _WARM_UP_PX**2


def measure_peak(device: torch.device, precision: Any, threads: int) -> float:
    """What a large matrix product reaches, in FLOP/s."""
    torch.set_num_threads(threads)
    side = 2048 if device.type == "cpu" else 8192
    left, right = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        with autocast(device, precision):
            product: Tensor = left @ right
        product[0, 0].item()  # the device is done
        seconds.append(time.perf_counter() - begin)
    return float(2 * side**3 / min(seconds))


class Bench:
    """Starts the processes.

    Args:
        options: Of the command line.
        folder: For the weights and results.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.weights = options.weights or folder / "weights.pth"
        if not options.weights:
            write_pth(self.weights, {"params": dict(build(options.model).state_dict())})

    def one(self, side: str, size_px: int, tile_px: int) -> dict[str, Any]:
        """A figure from a process of its own, with the result as `image`."""
        options, result = self.options, self.folder / "result.npy"
        words: dict[str, Any] = {
            "side": side,
            "model": options.model,
            "weights": self.weights,
            "size": size_px,
            "tile": tile_px,
            "overlap": options.overlap,
            "threads": options.threads,
            "device": options.device,
            "precision": (options.peer_precision or options.precision) if side == "peer" else options.precision,
            "repeats": options.repeats,
            "result": result,
        }
        call = [word for name, value in words.items() for word in (f"--{name}", str(value))]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, *call], check=True, stdout=subprocess.PIPE, text=True
        )
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        print(side, size_px, tile_px, figures, file=sys.stderr, flush=True)
        return {**figures, "image": np.load(result)}

    def pair(self, size_px: int, peer_tile_px: int, tile_px: int, rounds: int) -> dict[str, Any]:
        """Both sides in turn."""
        peers, ours = [], []
        for _ in range(rounds):
            peers.append(self.one("peer", size_px, peer_tile_px))
            ours.append(self.one("ours", size_px, tile_px))
        apart = np.abs(peers[0]["image"] - ours[0]["image"]) * 255
        border = np.abs(np.rint(255 * peers[0]["image"]) - np.rint(255 * ours[0]["image"])).max()
        row: dict[str, Any] = {"size_px": size_px, "peer_tile_px": peer_tile_px, "tile_px": tile_px}
        for side, figures in (("peer", peers), ("ours", ours)):
            row[f"{side}_s"] = median(item["seconds"] for item in figures)
            for place in ("host", "device"):
                sizes = [item[f"{place}_bytes"] for item in figures]
                row[f"{side}_{place}_bytes"] = None if None in sizes else median(sizes)
        row["speed_up"] = row["peer_s"] / row["ours_s"]
        row["cpu_speed_up"] = median(item["cpu_s"] for item in peers) / median(item["cpu_s"] for item in ours)
        row["max_levels"], row["mean_levels"] = float(apart.max()), float(apart.mean())
        row["max_rounded_levels"] = int(border)
        return row


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=TITLES, default="swinir")
    parser.add_argument("--weights", type=Path, help="a checkpoint; random weights where left out")
    parser.add_argument("--size", type=int, default=512, help="side of the LR image")
    parser.add_argument("--peer-tile", type=int, nargs="+", default=[256, 0])
    parser.add_argument("--overlap", type=int, default=16)
    parser.add_argument("--tile", type=int, default=-1, help="ours; -1 for automatic, 0 for the whole image")
    parser.add_argument("--sizes", type=int, nargs="*", default=[], help="for the curve over sizes")
    parser.add_argument("--tiles", type=int, nargs="*", default=[], help="for the curve over our tiles")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--peer-precision", choices=("fp32", "bf16", "fp16"), help="the peer's; ours where left out")
    parser.add_argument("--name", help="of the results; speed_upscale_MODEL where left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="timed runs in a process")
    parser.add_argument("--side", choices=("peer", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    if options.side:
        print(json.dumps(measure(options)))
        return
    device = pick_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        flops_per_px = count_flops_per_px(options.model, bench.weights)
        peak_flops = measure_peak(device, options.precision, options.threads)
        report: dict[str, Any] = {
            "model": options.model,
            "machine": describe_machine(device),
            "threads": options.threads,
            "precision": options.precision,
            "peer_precision": options.peer_precision or options.precision,
            "overlap_px": options.overlap,
            "peak_flops": peak_flops,
            "flops_per_px": flops_per_px,
            "floor_s": flops_per_px * options.size**2 / peak_flops,
            "pairs": [bench.pair(options.size, tile, options.tile, options.rounds) for tile in options.peer_tile],
            "sizes": [bench.pair(size, options.peer_tile[0], options.tile, 1) for size in options.sizes],
            "tiles": [],
        }
        for tile_px in options.tiles:
            row = bench.one("ours", options.size, tile_px)
            report["tiles"].append({"tile_px": tile_px, "ours_s": row["seconds"], "host_bytes": row["host_bytes"]})
    write_report(report, RESULTS / (options.name or f"speed_upscale_{options.model}"))


def write_report(report: dict[str, Any], place: Path) -> None:
    """JSON, a table, and the curves where there are any."""
    place.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    size_px = report["pairs"][0]["size_px"]
    lines = [
        f"`upscale` of {size_px} x {size_px} px by {TITLES[report['model']]}, {report['precision']} (peer "
        f"{report['peer_precision']}); "
        f"{report['machine']}, {report['threads']} threads used. Floor: {report['flops_per_px'] / 1e6:.2f} MFLOP a "
        f"pixel at the {report['peak_flops'] / 1e9:.0f} GFLOP/s of a large matrix product: {report['floor_s']:.2f} s.",
        "",
        "| peer's tiles | peer | ours | speed-up | by processor time | share of peak | memory, peer | ours | apart |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["pairs"]:
        tile = f"{row['peer_tile_px']} px + {report['overlap_px']}" if row["peer_tile_px"] else "whole image"
        place_of_peak = "host" if row["ours_device_bytes"] is None else "device"
        memory = [f"{row[f'{side}_{place_of_peak}_bytes'] / 1e9:.2f} GB" for side in ("peer", "ours")]
        lines.append(
            f"| {tile} | {row['peer_s']:.2f} s | {row['ours_s']:.2f} s | {row['speed_up']:.2f}x | "
            f"{row['cpu_speed_up']:.2f}x | "
            f"{report['floor_s'] / row['ours_s']:.0%} | {memory[0]} | {memory[1]} | "
            f"{row['mean_levels']:.4f}, at most {row['max_levels']:.2f} |"
        )
    lines += [
        "",
        "Share of peak: of ours. Memory: on top of the loaded network. Apart: mean and largest, in grey levels.",
    ]
    place.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    if report["sizes"] or report["tiles"]:
        draw(report, place.with_suffix(".png"))


def draw(report: dict[str, Any], path: Path) -> None:
    """Time of a pixel over the image's size, and over our tile's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    sizes = report["sizes"]
    for side, name in (("peer", "peer: eager, plain tiles"), ("ours", "adaptsr")):
        times = [1e6 * row[f"{side}_s"] / row["size_px"] ** 2 for row in sizes]
        left.plot([row["size_px"] for row in sizes], times, "o-", label=name)
    left.axhline(1e6 * report["flops_per_px"] / report["peak_flops"], color="grey", linestyle=":", label="floor")
    size_px = report["pairs"][0]["size_px"]
    times = [1e6 * row["ours_s"] / size_px**2 for row in report["tiles"]]
    right.plot(
        [row["tile_px"] for row in report["tiles"]], times, "o-", color="C1", label=f"adaptsr, {size_px} px image"
    )
    for axes, title in ((left, "side of the image, px"), (right, "--tile, px")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel(title)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_ylabel("microseconds a pixel of the input")
    figure.suptitle(f"{TITLES[report['model']]}, {report['machine']}, {report['threads']} threads", fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
