"""What one pair of raw photographs of a phone gives: `adaptsr pair`, then `adaptsr adapt` on its blocks.

    python benchmarks/phone_pair.py --data FOLDER [--x2-model SAFMN_x2.safetensors] [--iterations 60]

FOLDER holds ``wide.jpg`` and ``tele.jpg``. Pairs are made at x4 (the embedded network) and at x2 (the network named)
by one thread and by two. Blocks are held out by place: none adjoins a block that is trained on. Gains are means over
the held-out blocks with bootstrap intervals over them; each seed may hold out another side, and trains anew. The pairs
of two threads are made while the trainings run. Writes ``benchmarks/results/phone_pair.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from adaptsr_cli.artifacts.pairs import PairsRecord
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.runtime import describe_machine
from adaptsr_cli.units import plural

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Make the pairs, adapts, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with wide.jpg and tele.jpg")
    parser.add_argument("--x2-model", type=Path, help="a x2 network; left out: x4 alone")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--iterations", type=int, help="of each training; left out: the preset's")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time, of one thread each")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    networks: dict[int, Path | None] = {4: None} | ({2: options.x2_model} if options.x2_model else {})
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.jobs) as pool:
        work = Path(temporary)
        made = [make_pairs(options.data, work / f"x{scale}_1", scale, 1) for scale in networks]
        trainings = [
            pool.submit(
                adapt, work / f"x{scale}_1", work / f"run{scale}_{seed}", scale, model, seed, options.iterations
            )
            for scale, model in networks.items()
            for seed in range(options.seeds)
        ]
        made += [make_pairs(options.data, work / f"x{scale}_2", scale, 2) for scale in networks]
        report = {
            "machine": describe_machine(torch.device("cpu")),
            "iterations": options.iterations,
            "pair": sorted(made, key=lambda row: (-row["scale"], row["threads"])),
            "adapt": [training.result() for training in trainings],
        }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "phone_pair.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (options.output / "phone_pair.md").write_text(to_markdown(report), encoding="utf-8")


def make_pairs(data: Path, output: Path, scale: int, threads: int) -> dict[str, Any]:
    """`adaptsr pair` as a user starts it: what it made and what it took."""
    words = ["pair", data / "wide.jpg", data / "tele.jpg", "--scale", scale, "--output", output]
    cost = call(words, threads)
    record = read_document(output / "pairs.json", PairsRecord)
    (shot,) = record.shots
    assert shot.mapping is not None
    assert shot.residual is not None
    return {
        "scale": scale,
        "threads": threads,
        **cost,
        "pairs": shot.kept,
        "blocks": len(shot.blocks),
        "block_px": record.block_px,
        "zoom": shot.mapping.zoom,
        "reduction": shot.mapping.reduction,
        "residual_before_px": shot.residual.before_px,
        "residual_after_px": shot.residual.after_px,
        "residual_kept_px": shot.residual.kept_px,
        "megapixels": [round(source.width_px * source.height_px / 1e6, 1) for source in (shot.wide, shot.tele)],
        "verdict": shot.verdict,
    }


def adapt(pairs: Path, run: Path, scale: int, model: Path | None, seed: int, iterations: int | None) -> dict[str, Any]:
    """`adaptsr adapt` as a user starts it, and what its evaluation of the held-out blocks says."""
    words: list[object] = [
        "adapt",
        "--data",
        pairs,
        "--run",
        run,
        "--metrics",
        "psnr,ssim",
        "--seed",
        seed,
        "--device",
        "cpu",
    ]
    words += ["--model", model] if model else []
    words += ["--iterations", iterations] if iterations else []
    words += ["--method", "lora", "--lr", 2e-3]
    cost = call([*words, "--offline"], 1)
    evaluation = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    split = read_document(run / "training" / "split.json", SplitRecord)
    before, after = (entry["metrics"] for entry in evaluation["models"])
    (test,) = (test for test in evaluation["comparisons"] if test["metric"] == "psnr_y_db")
    return {
        "scale": scale,
        "model": model.stem if model else "embedded SAFMN x4",
        "seed": seed,
        "train": len(split.train),
        "held_out": len(split.held_out),
        "unused": len(split.unused),
        "psnr_y_db": [before["psnr_y_db"], after["psnr_y_db"]],
        "ssim_y": [before["ssim_y"], after["ssim_y"]],
        "gain_db": test["mean_difference"],
        "ci95_db": [test["ci95_low"], test["ci95_high"]],
        "better": test["larger"],
        **cost,
    }


def call(words: list[object], threads: int) -> dict[str, float]:
    """Run a command of adaptsr; wall and CPU seconds, and the most memory it held."""
    count = str(threads)
    environment = {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
    environment["OPENCV_FOR_THREADS_NUM"] = count
    command = [sys.executable, "-m", "adaptsr_cli", *map(str, words)]
    load, start = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        _, status, used = os.wait4(child.pid, 0)  # tells the memory of this child alone
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed with {child.returncode}: {errors.read()[-1000:]}")
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 2),
        "load": round(load, 1),
    }


def to_markdown(report: dict[str, Any]) -> str:
    """Both tables."""
    most = max(row["load"] for row in (*report["pair"], *report["adapt"]))
    least = min(row["load"] for row in (*report["pair"], *report["adapt"]))
    sizes = report["pair"][0]["megapixels"]
    length = f"{report['iterations']} iterations" if report["iterations"] else "the preset's iterations"
    lines = [
        f"Made by `python benchmarks/phone_pair.py` on {report['machine']} beside other work (load {least:.1f} to "
        f"{most:.1f} on {plural(os.cpu_count() or 1, 'core')}), so CPU seconds say more than wall seconds. One shot of "
        f"an iPhone 11 Pro at two focal lengths, {sizes[0]:g} and {sizes[1]:g} MP JPEG. Lengths in LR px: median and "
        "90th percentile. Pairs by two threads were made while the networks trained.",
        "",
        "| `pair` | threads | pairs kept | off, all | off, all, corrected | off, kept | wall | CPU | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["pair"]:
        spreads = (row[f"residual_{name}_px"] for name in ("before", "after", "kept"))
        lines.append(
            f"| x{row['scale']} | {row['threads']} | {row['pairs']} of {row['blocks']} | "
            + " | ".join(f"{median:.3f}, {p90:.3f}" for median, p90 in spreads)
            + f" | {row['wall_s']:.1f} s | {row['cpu_s']:.1f} s | {row['peak_gb']:.2f} GB |"
        )
    lines += [
        "",
        f"`adapt` on these pairs, {length}, one thread. Blocks are held out by place, with a gap to those trained on. "
        "The held-out blocks also chose which state of the training was kept. Intervals: 95 %, bootstrap over the "
        "held-out blocks; they say nothing of other scenes.",
        "",
        "| network | seed | trained on / held out / gap | PSNR-Y | gain | interval | better on | SSIM-Y | CPU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["adapt"]:
        (psnr, psnr_after), (ssim, ssim_after) = row["psnr_y_db"], row["ssim_y"]
        low, high = row["ci95_db"]
        lines.append(
            f"| {row['model']} | {row['seed']} | {row['train']} / {row['held_out']} / {row['unused']} "
            f"| {psnr:.2f} -> {psnr_after:.2f} dB | **{row['gain_db']:+.2f} dB** | {low:+.2f} to {high:+.2f} "
            f"| {row['better']} of {row['held_out']} | {ssim:.4f} -> {ssim_after:.4f} | {row['cpu_s']:.0f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
