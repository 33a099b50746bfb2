"""Time and memory of a training step: ours, peft's LoRA on spandrel's network, and full fine-tuning.

    python benchmarks/speed/train_step.py [--model swinir] [--batch 1] [--patch 64] [--threads 1] [--device cpu]
        [--precision fp32] [--peers peft full] [--rounds 5] [--curve 1 2 4]

Every contender is a process of its own, warmed up; the steps are taken in turns, so that whatever else the machine
does falls on all alike. Medians; memory is the most that the process held less what it held before its first step
(CUDA: the most that was allocated). Before that, gradients and outputs are compared: ours with the same factors in
peft's LoRA on spandrel's own code in float64, and ours with the published code under plain autograd. Beside the
figures stand what a step costs in FLOPs, what it saves for the backward pass, and the machine's rate in a large matrix
product. Writes ``benchmarks/results/speed_train_<model>_<device>.{json,md}``, with ``--curve`` also ``.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from agreement import compare_with_peft, compare_with_published
from contenders import ARCHITECTURES, CONTENDERS, ROOT, TITLES
from torch.utils.flop_counter import FlopCounterMode

from adaptsr_cli.runtime import (
    describe_machine,
    freed_memory_kept,
    peak_host_memory_bytes,
    peak_memory_bytes,
    pick_device,
    reset_peak_memory,
)

RESULTS = ROOT / "benchmarks" / "results"
SCALE = 4
AGREE = 1e-4


def work(name: str, options: argparse.Namespace) -> None:
    """A contender in its own process: a step for every line that comes in, a JSON line for every answer."""
    torch.manual_seed(0)
    device = pick_device(options.device)
    contender = CONTENDERS[name](options.model, device, options.precision)
    lr = torch.rand(options.batch, 3, options.patch, options.patch, device=device)
    hr = torch.rand(options.batch, 3, SCALE * options.patch, SCALE * options.patch, device=device)
    before = own_peak_bytes()
    reset_peak_memory(device)
    # What `adaptsr train` does; the peers run as their users run them.
    with freed_memory_kept(device) if name == "adaptsr" else nullcontext():
        for line in sys.stdin:
            order = line.strip()
            if order == "step":
                wall, cpu = time.perf_counter(), time.process_time()
                loss = contender.step(lr, hr)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                answer: dict[str, Any] = {
                    "wall_s": time.perf_counter() - wall,
                    "cpu_s": time.process_time() - cpu,
                    "loss": loss.item(),
                }
            elif order == "memory":
                held = peak_memory_bytes(device)
                answer = {"peak_bytes": held if held is not None else own_peak_bytes() - before}
            else:
                answer = count(contender, lr, hr)
            print(json.dumps(answer), flush=True)


def own_peak_bytes() -> int:
    """Most memory that this process has held; on Linux without what its parent held, which `getrusage` counts in."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return peak_host_memory_bytes() or 0


def count(contender: Any, lr: torch.Tensor, hr: torch.Tensor) -> dict[str, int]:
    """FLOPs of a step, and bytes that autograd saves for the backward pass (parameters left out)."""
    known = {tensor.untyped_storage().data_ptr() for tensor in contender.model.state_dict().values()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        contender.plain_step(lr, hr)
    params = sum(parameter.numel() for parameter in contender.parameters)
    return {"flops": counter.get_total_flops(), "saved_bytes": sum(saved.values()), "trained_params": params}


def machine_flops(device: torch.device, precision: str) -> float:
    """FLOP/s of a matrix product of 2048 (CUDA: 8192) rows and columns: the rate that a step is compared with."""
    side = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


class Worker:
    """A contender's process."""

    def __init__(self, name: str, options: argparse.Namespace, batch: int, precision: str) -> None:
        threads = str(options.threads)
        command = [sys.executable, __file__, "--work", name, "--model", options.model, "--batch", str(batch)]
        command += ["--patch", str(options.patch), "--threads", threads, "--device", options.device]
        command += ["--precision", precision]
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, order: str) -> dict[str, Any]:
        """Send one order and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def race(names: list[tuple[str, str]], options: argparse.Namespace, batch: int) -> dict[str, dict[str, Any]]:
    """Times contenders in turns.

    Args:
        names: (contender, precision).
        options: Of the command line.
        batch: Patches a step.

    Returns:
        Figures by ``contender precision``.
    """
    workers = {f"{name} {precision}": Worker(name, options, batch, precision) for name, precision in names}
    taken: dict[str, list[dict[str, Any]]] = {title: [] for title in workers}
    try:
        for turn in range(options.warm_up + options.rounds):
            for title, worker in workers.items():
                answer = worker.ask("step")
                if turn >= options.warm_up:
                    taken[title].append(answer)
        figures = {}
        for title, worker in workers.items():
            figures[title] = {
                "wall_s": statistics.median(answer["wall_s"] for answer in taken[title]),
                "cpu_s": statistics.median(answer["cpu_s"] for answer in taken[title]),
                "wall_min_s": min(answer["wall_s"] for answer in taken[title]),
                **worker.ask("memory"),
                **worker.ask("count"),
            }
    finally:
        for worker in workers.values():
            worker.close()
    return figures


def compare(figures: dict[str, dict[str, Any]], ours: str) -> dict[str, dict[str, float]]:
    """Each peer's figures over ours."""
    own = figures[ours]
    return {
        title: {
            "times_faster": peer["wall_s"] / own["wall_s"],
            "times_faster_cpu_time": peer["cpu_s"] / own["cpu_s"],
            "share_of_memory": own["peak_bytes"] / peer["peak_bytes"],
        }
        for title, peer in figures.items()
        if title != ours
    }


def main() -> int:
    """Compares, times and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=ARCHITECTURES, default="swinir")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--patch", type=int, default=64, help="LR pixels.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--peers", nargs="*", default=["peft", "full"], help="peft, full, peft:bf16 ...")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--curve", type=int, nargs="*", default=[], help="Batch sizes of a scaling curve.")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--name", help="of the results; speed_train_MODEL_DEVICE where left out")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.work:
        work(options.work, options)
        return 0
    device = pick_device(options.device)
    torch.backends.cudnn.allow_tf32 = False  # for the comparison only: the contenders are processes of their own
    report: dict[str, Any] = {
        "model": TITLES[options.model],
        "machine": describe_machine(device),
        "precision": options.precision,
        "batch": options.batch,
        "lr_px": options.patch,
        "threads": options.threads,
        "agreement": {
            "largest relative difference from peft in float64": compare_with_peft(options.model, device),
            "largest relative difference from the published code": compare_with_published(options.model, device),
        },
        "machine_flops_per_s": machine_flops(device, options.precision),
    }
    ours = ("adaptsr", options.precision)
    peers = [tuple(f"{peer}:fp32".split(":")[:2]) for peer in options.peers]
    report["contenders"] = race([ours, *peers], options, options.batch)
    report["against"] = compare(report["contenders"], " ".join(ours))
    report["curve"] = {
        batch: race([ours, *[peer for peer in peers if peer[0] == "peft"]], options, batch) for batch in options.curve
    }
    report["agrees"] = all(value < AGREE for value in report["agreement"].values())
    write(report, options, device)
    return 0 if report["agrees"] else 1


def write(report: dict[str, Any], options: argparse.Namespace, device: torch.device) -> None:
    """JSON, a table, and the curve as a picture."""
    stem = options.name or f"speed_train_{options.model}_{device.type}"
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{stem}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = to_markdown(report)
    (options.output / f"{stem}.md").write_text(text, encoding="utf-8")
    if report["curve"]:
        draw_curve(report, options.output / f"{stem}.png")
    print(text)


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    rate = report["machine_flops_per_s"]
    lines = [
        f"One training step of {report['model']}, LR {report['lr_px']}x{report['lr_px']}, batch {report['batch']}, "
        f"{report['precision']}, {report['threads']} thread(s); {report['machine']}; a large matrix product runs at "
        f"{rate / 1e9:.0f} GFLOP/s there. Medians of steps taken in turns.",
        "",
        "| | wall | CPU time | peak memory | saved for backward | FLOPs | share of the machine's rate | trained |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, row in report["contenders"].items():
        lines.append(
            f"| {title} | {row['wall_s']:.3f} s | {row['cpu_s']:.3f} s | {row['peak_bytes'] / 1e6:,.0f} MB | "
            f"{row['saved_bytes'] / 1e6:,.0f} MB | {row['flops'] / 1e9:.1f} G | "
            f"{row['flops'] / row['wall_s'] / rate:.0%} | {row['trained_params']:,} |"
        )
    lines += [
        "",
        "| against | times faster (wall) | times faster (CPU time) | share of its memory |",
        "|---|---|---|---|",
    ]
    for title, row in report["against"].items():
        lines.append(
            f"| {title} | {row['times_faster']:.2f} | {row['times_faster_cpu_time']:.2f} | "
            f"{row['share_of_memory']:.2f} |"
        )
    agreement = "; ".join(f"{name}: {value:.1e}" for name, value in report["agreement"].items())
    lines += ["", f"Outputs and gradients, {agreement}."]
    if report["curve"]:
        lines += ["", "| batch | contender | s a patch | peak memory |", "|---|---|---|---|"]
        for batch, figures in report["curve"].items():
            for title, row in figures.items():
                lines.append(
                    f"| {batch} | {title} | {row['wall_s'] / int(batch):.3f} | {row['peak_bytes'] / 1e6:,.0f} MB |"
                )
    return "\n".join(lines) + "\n"


def draw_curve(report: dict[str, Any], path: Path) -> None:
    """Seconds a patch and peak memory against the batch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    batches = list(report["curve"])
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for title in report["curve"][batches[0]]:
        rows = [report["curve"][batch][title] for batch in batches]
        left.plot(batches, [row["wall_s"] / batch for row, batch in zip(rows, batches, strict=True)], "o-", label=title)
        right.plot(batches, [row["peak_bytes"] / 1e9 for row in rows], "o-", label=title)
    for axes, label in ((left, "seconds a patch"), (right, "peak memory, GB")):
        axes.set(xlabel="batch", ylabel=label, xticks=batches)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(f"Training step, {report['model']}, LR {report['lr_px']}x{report['lr_px']}", fontsize=10)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
