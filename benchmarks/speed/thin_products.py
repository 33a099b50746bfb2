"""One adapted layer, forward and backward: by its parametrization, and by the thin products of `fast_lora`.

    python benchmarks/speed/thin_products.py

The two run in turns, one thread, fp32, on images whose channels lie together; medians of processor time. The
parametrization makes the gradient of the whole weight. *chosen* tells whether a training step takes the thin products
for that layer and rank. Writes ``benchmarks/results/speed_thin_products.md``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

import torch
from torch import nn

from adaptsr_cli.adapters import fast_lora
from adaptsr_cli.adapters.attach import Attachment, attach
from adaptsr_cli.adapters.fast_lora import LowRankStep
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import Traits
from adaptsr_cli.runtime import describe_machine, freed_memory_kept

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"
ROUNDS: Final = 15
SIDE_PX: Final = 48
RANKS: Final = (4, 8, 16)
# In, out, kernel (0: a Linear), images.
LAYERS: Final = (
    (180, 180, 0, 1),
    (180, 540, 0, 1),
    (180, 180, 3, 1),
    (64, 256, 3, 1),
    (64, 64, 3, 4),
    (48, 48, 3, 4),
    (36, 72, 3, 1),
    (36, 36, 1, 1),
)


def main() -> None:
    """Measure all layers, and write the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = [
        "Made by `python benchmarks/speed/thin_products.py`: milliseconds of one adapted layer, forward and backward, "
        f"{SIDE_PX} x {SIDE_PX} positions an image; by the gradient of the whole weight, and by thin products. "
        f"{describe_machine(torch.device('cpu'))}.",
        "",
        "| layer | images | rank | whole weight | thin | times faster | chosen |",
        "|---|---|---|---|---|---|---|",
    ]
    with freed_memory_kept(torch.device("cpu")):
        for inside, out, kernel, images in LAYERS:
            for rank in RANKS:
                if rank < min(inside, out):
                    lines.append(row(inside, out, kernel, images, rank))
                    print(lines[-1], flush=True)
    (RESULTS / "speed_thin_products.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def row(inside: int, out: int, kernel: int, images: int, rank: int) -> str:
    """One line of the table."""
    layer = nn.Conv2d(inside, out, kernel, padding=kernel // 2) if kernel else nn.Linear(inside, out)
    model = nn.ModuleDict({"layer": layer.requires_grad_(False)})
    attachment = attach(model, [(site, rank) for site in find_sites(model, Traits()).sites], alpha=1.0)
    x = torch.randn(images, SIDE_PX, SIDE_PX, inside)
    given = (x.permute(0, 3, 1, 2) if kernel else x).requires_grad_(True)
    is_chosen = len(LowRankStep(attachment)) == 1
    thin = all_thin(attachment)
    parameters = [given, *attachment.parameters()]

    def run() -> None:
        torch.autograd.grad(layer(given).sum(), parameters)

    def run_thin() -> None:
        with thin.weights():
            run()

    whole_ms, thin_ms = measure(run, run_thin)
    name = f"conv {kernel}x{kernel}, {inside} -> {out}" if kernel else f"Linear {inside} -> {out}"
    chosen = "yes" if is_chosen else "no"
    return f"| {name} | {images} | {rank} | {whole_ms:.2f} | {thin_ms:.2f} | {whole_ms / thin_ms:.2f} | {chosen} |"


def all_thin(attachment: Attachment) -> LowRankStep:
    """The step with thin products also where it would not choose them."""
    usual = fast_lora._is_thin
    try:
        fast_lora._is_thin = lambda *_: True
        return LowRankStep(attachment)
    finally:
        fast_lora._is_thin = usual


def measure(*sides: Callable[[], None]) -> tuple[float, ...]:
    """Median milliseconds of each, in turns."""
    found: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for times, side in zip(found, sides, strict=True):
            start = time.process_time()
            side()
            times.append((time.process_time() - start) * 1e3)
    return tuple(median(times) for times in found)


if __name__ == "__main__":
    main()
