"""What each switch is worth on a CUDA device: every one turned the other way while all others stay as they are.

    python benchmarks/gpu_switches.py [--quick]

Training: a step of SwinIR-M (batch 8, LR 64x64) and of SAFMN (batch 16, LR 48x48). Upscaling: SwinIR-M x4 on 2 MP,
SAFMN and EDSR on 1 MP, from uint8 on the host to float32 on the host. Random weights; medians; memory is the most that
was allocated. Writes ``benchmarks/results/gpu_switches.{json,md}``. Without a CUDA device it says so and writes
nothing; ``--quick`` runs everything on tiny sizes, on the CPU too, and writes nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "speed")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from contenders import build, make_backbone, make_ours  # noqa: E402

from adaptsr_cli.adapters import fast_lora  # noqa: E402
from adaptsr_cli.backbones.backbone import Backbone  # noqa: E402
from adaptsr_cli.backbones.fast import on_cuda  # noqa: E402
from adaptsr_cli.inference import device_canvas  # noqa: E402
from adaptsr_cli.inference.engine import Upscaler  # noqa: E402
from adaptsr_cli.runtime import describe_machine, peak_memory_bytes, reset_peak_memory  # noqa: E402
from adaptsr_cli.training import step as training_step  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


class Race:
    """Figures of all variants on one device."""

    def __init__(self, device: torch.device, *, quick: bool, seconds: float) -> None:
        self.device = device
        self.quick = quick
        self.stop_s = time.perf_counter() + seconds
        self.rows: list[dict[str, Any]] = []

    def train(self, model: str, precision: Any, variant: str, *, graph: bool = True, last: bool | None = None) -> None:
        """Times a training step."""
        if self._is_over(f"train {model} {precision}", variant):
            return
        batch, side = (1, 16) if self.quick else (8, 64) if model == "swinir" else (16, 48)
        with changed_layout(last):
            contender = make_ours(model, self.device, precision, graph=graph)
            lr = torch.rand(batch, 3, side, side, device=self.device)
            hr = torch.rand(batch, 3, 4 * side, 4 * side, device=self.device)
            self._time(f"train {model} {precision}", variant, lambda: contender.step(lr, hr), 5, 10)

    def upscale(
        self,
        model: str,
        precision: Any,
        variant: str,
        *,
        last: bool | None = None,
        on_device: bool = True,
        tile_px: int | None = None,
    ) -> np.ndarray | None:
        """Times upscaling; returns a part of the result, scaled to grey levels."""
        if self._is_over(f"upscale {model} {precision}", variant):
            return None
        side = 64 if self.quick else 1414 if model == "swinir" else 1000
        backbone = with_layout(make_backbone(model, build(model)), last)
        if model == "swinir":
            backbone = replace(backbone, traits=replace(backbone.traits, tile_multiple_px=8))
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        upscaler = Upscaler(backbone, device=self.device, precision=precision, tile_px=tile_px)
        if not on_device:
            upscaler._copies = None
        result = np.empty(0)

        def run() -> None:
            nonlocal result
            result = upscaler.run(image)

        self._time(f"upscale {model} {precision}", variant, run, 1, 2)
        return result[:512, :512] * 255

    def _is_over(self, what: str, variant: str) -> bool:
        """Whether no time is left for a variant, which is told then."""
        over = time.perf_counter() > self.stop_s
        if over:
            self.rows.append({"what": what, "variant": variant, "skipped": "no time was left"})
        return over

    def _time(self, what: str, variant: str, run: Callable[[], object], warm_up: int, repeats: int) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        reset_peak_memory(self.device)
        seconds = []
        for _ in range(1 if self.quick else warm_up + repeats):
            self._wait()
            begin = time.perf_counter()
            run()
            self._wait()
            seconds.append(time.perf_counter() - begin)
        row = {
            "what": what,
            "variant": variant,
            "ms": round(1e3 * statistics.median(seconds[-repeats:]), 2),
            "first_ms": round(1e3 * seconds[0], 1),
            "peak_mb": round((peak_memory_bytes(self.device) or 0) / 1e6),
        }
        self.rows.append(row)
        print(json.dumps(row), flush=True)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def with_layout(backbone: Backbone, last: bool | None) -> Backbone:
    """The network on channels-last images or not; None for its own choice."""
    if last is None:
        return backbone
    return replace(backbone, traits=replace(backbone.traits, channels_last=last, channels_last_on_cuda=last))


@contextmanager
def changed_layout(last: bool | None) -> Iterator[None]:
    """Within this block training takes this layout."""
    if last is None:
        yield
        return
    plain = training_step.super_resolve

    def resolve(backbone: Backbone, lr: torch.Tensor) -> torch.Tensor:
        return plain(with_layout(backbone, last), lr)

    with mock.patch.object(training_step, "super_resolve", resolve):
        yield


def without_kernels() -> Any:
    """No kernels of our own."""
    return mock.patch.object(on_cuda, "has_kernels", return_value=False)


def without_pinned_memory() -> Any:
    """Copies to the host go into pageable memory."""

    def take(self: device_canvas.HostCopies, count: int) -> device_canvas._Buffer:
        return device_canvas._Buffer(torch.empty(count, dtype=torch.uint8), torch.cuda.Event())

    return mock.patch.object(device_canvas.HostCopies, "_take", take)


@contextmanager
def with_tf32() -> Iterator[None]:
    """Products of fp32 numbers in TF32 all over the network, in place of IEEE's."""
    backends: Any = torch.backends
    switches = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "tf32"
        with (
            mock.patch("adaptsr_cli.runtime.exact_products", return_value=nullcontext()),
            mock.patch.object(training_step, "exact_products", return_value=nullcontext()),
        ):
            yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


def race_training(race: Race) -> None:
    """All that concerns training."""
    race.train("swinir", "bf16", "as it is")
    race.train("swinir", "bf16", "no CUDA graph", graph=False)
    with without_kernels():
        race.train("swinir", "bf16", "no kernels of our own")
    with mock.patch.object(fast_lora, "_layer_of", return_value=None):
        race.train("swinir", "bf16", "gradients of whole weights")
    race.train("swinir", "fp32", "as it is")
    with with_tf32():
        race.train("swinir", "fp32", "TF32")
    for precision in ("bf16", "fp32"):
        race.train("safmn", precision, "as it is")
        race.train("safmn", precision, "no CUDA graph", graph=False)
        race.train("safmn", precision, "channels last", last=True)
        race.train("safmn", precision, "channels first", last=False)


def race_upscaling(race: Race) -> None:
    """All that concerns upscaling."""
    race.upscale("swinir", "bf16", "tiles of 512 px", tile_px=512)
    race.upscale("swinir", "bf16", "blended on the host", on_device=False)
    with without_kernels():
        race.upscale("swinir", "bf16", "no kernels of our own")
    if race.device.type == "cuda":
        with without_pinned_memory():
            race.upscale("swinir", "bf16", "pageable memory")
    for model in ("safmn", "edsr"):
        for precision in ("bf16", "fp32"):
            race.upscale(model, precision, "channels last", last=True)
            race.upscale(model, precision, "channels first", last=False)
    race.upscale("safmn", "bf16", "blended on the host", on_device=False)
    for model in ("swinir", "safmn", "edsr"):
        exact = race.upscale(model, "fp32", "as it is")
        bf16 = race.upscale(model, "bf16", "as it is")
        with with_tf32():
            tf32 = race.upscale(model, "fp32", "TF32")
        for name, result in (("TF32", tf32), ("bf16", bf16)):
            if result is None or exact is None:
                continue
            apart = np.abs(result - exact)
            row = {"what": f"upscale {model}", "variant": f"{name} from fp32, grey levels"}
            race.rows.append({**row, "mean": round(float(apart.mean()), 4), "most": round(float(apart.max()), 3)})


def to_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"Made by `python benchmarks/gpu_switches.py` on {report['machine']}; each switch alone turned the other way.",
        "",
        "| | variant | median | first | peak memory |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['what']} | {row['variant']} | {row['ms']:.1f} ms | {row['first_ms']:.0f} ms | {row['peak_mb']:,} MB |"
        for row in report["rows"]
        if "ms" in row
    ]
    skipped = [f"{row['what']}, {row['variant']}" for row in report["rows"] if "skipped" in row]
    if skipped:
        lines += ["", f"No time was left for: {'; '.join(skipped)}."]
    lines += ["", "| | | mean | most |", "|---|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['variant']} | {row['mean']} | {row['most']} |"
        for row in report["rows"]
        if "mean" in row
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Races and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, once, nothing written")
    parser.add_argument("--seconds", type=float, default=600, help="after which no further variant begins")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    if not torch.cuda.is_available() and not options.quick:
        print("no CUDA device here: nothing measured, nothing claimed")
        return 0
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    race = Race(device, quick=options.quick, seconds=options.seconds)
    race_training(race)
    race_upscaling(race)
    report = {"machine": describe_machine(device), "rows": race.rows}
    if not options.quick:
        (RESULTS / "gpu_switches.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "gpu_switches.md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
