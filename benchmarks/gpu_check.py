"""Checks a CUDA device in one command, at most nine minutes, nothing from the network.

    python benchmarks/gpu_check.py

Runs the tests marked ``gpu``, `adaptsr demo --device cuda`, compares CPU and CUDA for `upscale` and `train`, and times
both. Writes ``benchmarks/results/gpu_check.json`` and ``.md``. Without a CUDA device it says so, claims nothing, writes
nothing, and exits 0.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PARTS = ("tests", "demo", "upscale", "train", "pairs", "photos", "speed_train", "upscale_peer", "switches")
SWITCHES_END_SECONDS = 470  # when the last part begins nothing more
MAX_SECONDS = 420  # after which no further part begins, so that the whole ends inside nine minutes


def main() -> int:
    """Run all checks; 1 if one failed."""
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing checked, nothing claimed")
        return 0
    started = time.perf_counter()
    report: dict[str, Any] = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory() as folder:
        for part, check in list_checks(Path(folder), started).items():
            begin = time.perf_counter()
            if begin - started > MAX_SECONDS:
                report[part] = {"ok": False, "error": f"not run: {MAX_SECONDS} s were over"}
            else:
                try:
                    report[part] = check()
                except Exception as error:  # one part that breaks must not cost the report of the others
                    report[part] = {"ok": False, "error": f"{type(error).__name__}: {error}"[-2000:]}
            report[part]["part_s"] = round(time.perf_counter() - begin, 1)
            report["seconds"] = round(time.perf_counter() - started, 1)
            report["ok"] = all(report.get(name, {"ok": False})["ok"] for name in PARTS)
            write_report(report)
            print(part, json.dumps(report[part]), flush=True)
    print(to_markdown(report))
    return 0 if report["ok"] else 1


def list_checks(folder: Path, started_s: float) -> dict[str, Callable[[], dict[str, Any]]]:
    """All parts in the order in which they run; `photos` are made by the demo."""
    photos = folder / "demo" / "photos" / "train"
    return {
        "tests": run_gpu_tests,
        "demo": lambda: run_demo(folder / "demo"),
        "upscale": compare_upscale,
        "train": lambda: compare_training(photos),
        "pairs": lambda: read_card(folder / "pairs", photos),
        "photos": lambda: read_card(folder / "photos", photos / "hr", "--degrade", "realesrgan"),
        "speed_train": race_training,
        "upscale_peer": race_upscale,
        "switches": lambda: race_switches(started_s + SWITCHES_END_SECONDS - time.perf_counter()),
    }


def write_report(report: dict[str, Any]) -> None:
    """After every part, so that a machine that is taken away leaves what is known."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "gpu_check.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "gpu_check.md").write_text(to_markdown(report), encoding="utf-8")


def describe_machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "device": torch.cuda.get_device_name(0),
        "memory": f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB",
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "python": platform.python_version(),
    }


def run_gpu_tests() -> dict[str, Any]:
    """The tests marked ``gpu``."""
    # Only the files that have some: collecting all others takes 20 s and libraries that a bare machine lacks.
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    failed = [line[:200] for line in lines if line.startswith(("FAILED", "ERROR", "E       assert", "E       Assert"))]
    return {"ok": done.returncode == 0, "summary": lines[-1] if lines else done.stderr[-500:], "failed": failed}


def run_demo(folder: Path) -> dict[str, Any]:
    """`adaptsr demo --device cuda`, as a user runs it."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "adaptsr_cli", "demo", "--device", "cuda", "--run", str(folder), "--debug"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    seconds = round(time.perf_counter() - started, 1)
    if done.returncode:
        return {"ok": False, "seconds": seconds, "error": done.stderr[-2000:]}
    models = json.loads((folder / "eval.json").read_text(encoding="utf-8"))["models"]
    before, after = (model["metrics"]["psnr_y_db"] for model in models)
    gain_db = round(after - before, 3)
    return {"ok": gain_db >= 0.5, "seconds": seconds, "backbone_db": before, "merged_db": after, "gain_db": gain_db}


def compare_upscale() -> dict[str, Any]:
    """The embedded network on a photograph: CUDA fp32 and bf16 against CPU fp32, and the time of 1 MP."""
    from adaptsr_cli.backbones.catalogue import default_model
    from adaptsr_cli.backbones.loader import load_backbone
    from adaptsr_cli.inference.engine import Upscaler

    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    large = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    expected = Upscaler(load_backbone(default_model()).to(cpu), device=cpu, precision="fp32").run(image)
    result: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        upscaler = Upscaler(load_backbone(default_model()).to(cuda), device=cuda, precision=precision)
        grey_levels = np.abs(upscaler.run(image) - expected) * 255
        upscaler.run(large)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        upscaler.run(large)
        torch.cuda.synchronize()
        result[precision] = {
            "max_grey_levels": round(float(grey_levels.max()), 4),
            "mean_grey_levels": round(float(grey_levels.mean()), 5),
            "seconds_per_lr_megapixel": round(time.perf_counter() - started, 4),
            "peak_device_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1),
        }
    # One grey level in 255 is the rounding step of the file; fp32 on both sides must stay well inside it.
    result["ok"] = result["fp32"]["max_grey_levels"] < 0.5
    return result


def race_upscale() -> dict[str, Any]:
    """SwinIR-M x4 on 2 MP in bf16 against spandrel's network in a plain tile loop, in fp32 and in bf16.

    The targets are 3 and 1.5 times its speed; a missed one is told, and is no failure of the check.
    """
    result: dict[str, Any] = {"ok": True}
    for precision in ("fp32", "bf16"):
        name = f"speed_upscale_swinir_cuda_{precision}"
        command = [sys.executable, str(ROOT / "benchmarks" / "speed" / "upscale.py"), "--model", "swinir"]
        command += ["--device", "cuda", "--size", "1414", "--peer-tile", "512", "--precision", "bf16"]
        command += ["--peer-precision", precision, "--rounds", "1", "--repeats", "2", "--name", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            return {"ok": False, "error": done.stderr[-2000:]}
        found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        row = found["pairs"][0]
        result[f"peer_{precision}"] = {
            "speed_up": round(row["speed_up"], 2),
            "target": 3 if precision == "fp32" else 1.5,
            "seconds": round(row["ours_s"], 3),
            "peer_seconds": round(row["peer_s"], 3),
            "share_of_peak": round(found["floor_s"] / row["ours_s"], 3),
            "mean_grey_levels": round(row["mean_levels"], 4),
        }
    return result


def race_switches(seconds: float) -> dict[str, Any]:
    """What each switch is worth: see ``benchmarks/results/gpu_switches.md``, of which the medians stand here."""
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_switches.py"), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        return {"ok": False, "error": done.stderr[-2000:]}
    rows = json.loads((RESULTS / "gpu_switches.json").read_text(encoding="utf-8"))["rows"]
    return {"ok": True, "ms": {f"{row['what']}, {row['variant']}": row["ms"] for row in rows if "ms" in row}}


def compare_training(photos: Path, iterations: int = 30) -> dict[str, Any]:
    """The same training in fp32 on both devices, on CUDA with a recorded step, and the time of a step."""
    losses: dict[str, list[float]] = {}
    seconds = {}
    for name in ("cpu", "cuda"):
        started = time.perf_counter()
        losses[name] = train_on(torch.device(name), photos, iterations)
        seconds[name] = round((time.perf_counter() - started) / iterations, 4)
    difference = max(abs(a - b) / a for a, b in zip(losses["cpu"], losses["cuda"], strict=True))
    return {
        "ok": difference < 1e-2,
        "iterations": iterations,
        "largest_relative_loss_difference": float(f"{difference:.2e}"),
        "seconds_per_iteration": seconds,
    }


def train_on(device: torch.device, photos: Path, iterations: int) -> list[float]:
    """The losses of a short training, in the way of `adaptsr train`."""
    from adaptsr_cli.adapters.attach import attach
    from adaptsr_cli.adapters.sites import find_sites
    from adaptsr_cli.backbones.backbone import set_differentiable
    from adaptsr_cli.backbones.catalogue import default_model
    from adaptsr_cli.backbones.loader import load_backbone
    from adaptsr_cli.data.layouts import find_pairs, fit_scale
    from adaptsr_cli.data.pairs import PairReader
    from adaptsr_cli.data.sampler import BatchSampler
    from adaptsr_cli.training.cuda_graph import RecordedStep
    from adaptsr_cli.training.objective import make_objective
    from adaptsr_cli.training.optimizer import make_optimizer
    from adaptsr_cli.training.step import GradientStep

    backbone = load_backbone(default_model()).to(device)
    reader = PairReader(fit_scale(find_pairs(photos, role="train"), backbone.scale), scale=backbone.scale)
    sampler = BatchSampler(reader, batch=4, patch_px=128, seed=0)
    sites = find_sites(backbone.model, backbone.traits).sites
    attachment = attach(backbone.model, [(site, min(2, site.max_rank)) for site in sites], alpha=8.0)
    optimizer = make_optimizer("muon", attachment.parameter_groups(1), 1e-3, device)
    objective = make_objective("fidelity", weights_dir=Path(), device=device, seed=0, iterations=iterations, scale=4)
    gradients = GradientStep(backbone, attachment, objective, device=device, precision="fp32")
    set_differentiable(backbone, True)

    def step(lr: torch.Tensor, hr: torch.Tensor) -> dict[str, torch.Tensor]:
        means, _ = gradients.run(lr, hr, 0)
        means.put_back()
        optimizer.step()
        return means.losses

    recorded = RecordedStep(step, device, print)
    batches = (sampler.sample(iteration) for iteration in range(iterations))
    return [recorded.run(batch.lr, batch.hr)["loss"].item() for batch in batches]


def race_training() -> dict[str, Any]:
    """SwinIR-M, batch 8, LR 64x64: ours in bf16 against peft in fp32 and under bf16 autocast.

    The targets are 3 and 1.5 times the speed, half the memory of the fp32 peer, and 100,000 iterations in an hour; what
    is missed is said, and is no failure. Gradients that differ from the peers' are.
    """
    script = ROOT / "benchmarks" / "speed" / "train_step.py"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(script), "--model", "swinir", "--batch", "8", "--patch", "64"]
        command += ["--device", "cuda", "--precision", "bf16", "--peers", "peft:fp32", "peft:bf16"]
        command += ["--warm-up", "5", "--rounds", "20", "--output", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        made = Path(folder) / "speed_train_swinir_cuda.json"
        if not made.exists():
            return {"ok": False, "error": done.stderr[-2000:]}
        found = json.loads(made.read_text(encoding="utf-8"))
    fp32, bf16 = found["against"]["peft fp32"], found["against"]["peft bf16"]
    own = found["contenders"]["adaptsr bf16"]
    figures = {
        "times_peft_fp32": round(fp32["times_faster"], 2),
        "times_peft_bf16": round(bf16["times_faster"], 2),
        "share_of_fp32_memory": round(fp32["share_of_memory"], 2),
        "hours_for_100k_iterations": round(own["wall_s"] * 100_000 / 3600, 2),
        "share_of_matmul_rate": round(own["flops"] / own["wall_s"] / found["machine_flops_per_s"], 3),
        "largest_difference": max(found["agreement"].values()),
    }
    missed = [
        name
        for name, met in (
            ("3x fp32", fp32["times_faster"] >= 3),
            ("1.5x bf16", bf16["times_faster"] >= 1.5),
            ("half the memory", fp32["share_of_memory"] <= 0.5),
            ("an hour", figures["hours_for_100k_iterations"] < 1),
        )
        if not met
    ]
    return {"ok": found["agrees"], **figures, "targets_missed": missed}


def read_card(run: Path, data: Path, *words: str) -> dict[str, Any]:
    """What a training on the device says of itself: time, waiting for data, memory, energy."""
    command = [sys.executable, "-m", "adaptsr_cli", "train", "--device", "cuda", "--data", str(data), *words]
    command += ["--run", str(run), "--iterations", "300", "--method", "lora", "--lr", "2e-3", "--debug"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        return {"ok": False, "error": done.stderr[-2000:]}
    card = json.loads((run / "training" / "card.json").read_text(encoding="utf-8"))
    names = ("wall_s", "data_wait_share", "peak_device_bytes", "energy_j", "gain_db")
    # The target for the share of the time that the device waits for data.
    return {"ok": card["data_wait_share"] < 0.05, **{name: card[name] for name in names}}


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    machine = report["machine"]
    lines = [
        "# GPU check",
        "",
        f"Made by `python benchmarks/gpu_check.py` on {machine['device']} ({machine['memory']}), torch "
        f"{machine['torch']}, in {report['seconds']} s: **{'ok' if report['ok'] else 'FAILED'}**.",
        "",
        "| check | ok | figures |",
        "|---|---|---|",
    ]
    for part in PARTS:
        if part not in report:
            continue
        figures = {key: value for key, value in report[part].items() if key != "ok"}
        lines.append(f"| {part} | {'yes' if report[part]['ok'] else 'NO'} | `{json.dumps(figures)}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
