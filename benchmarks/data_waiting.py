"""How much of a training step is spent waiting for data, with batches made when asked for and made ahead.

    python benchmarks/data_waiting.py --data iphone/ --output data_waiting_iphone
    python benchmarks/data_waiting.py --data photos/ --degrade realesrgan --output data_waiting_photos

Trains rank-4 adapters on every site. Writes ``benchmarks/results/NAME.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from adaptsr_cli.adapters.attach import Attachment, attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable, super_resolve
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.layouts import find_pairs, fit_scale
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.data.prefetch import Prefetcher
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.imaging.degradation_presets import find_degradation
from adaptsr_cli.runtime import autocast, describe_machine, pick_device, pick_precision

ROOT = Path(__file__).resolve().parents[1]


class WhenAsked:
    """Makes every batch while the training waits."""

    def __init__(self, source: BatchSampler) -> None:
        self._source = source
        self.waited_s = 0.0

    def sample(self, iteration: int) -> Batch:
        """The batch of an iteration."""
        begin = time.perf_counter()
        batch = self._source.sample(iteration)
        self.waited_s += time.perf_counter() - begin
        return batch


def main() -> None:
    """Train with either way of getting batches, twice: images not yet decoded, and decoded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--degrade", default="phone", help="for photographs without an LR side")
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="*", default=[1])
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    device = pick_device(options.device)
    backbone = load_backbone(options.model or default_model())
    backbone.to(device)
    sites = find_sites(backbone.model, backbone.traits).sites
    attachment = attach(backbone.model, [(site, min(4, site.max_rank)) for site in sites], alpha=8.0)
    scale = backbone.identity.scale
    pairs = find_pairs(options.data, role="train", scale=scale)
    degradation = None
    if pairs.ratio is None:
        degradation = find_degradation(options.degrade)
    else:
        pairs = fit_scale(pairs, scale)
    rows: list[dict[str, Any]] = []
    for workers in (0, *options.workers):
        reader = PairReader(pairs, scale=scale, degradation=degradation)
        sampler = BatchSampler(reader, batch=options.batch, patch_px=options.patch, seed=0)
        for decoded in (False, True):
            if decoded:
                for index in range(len(reader)):
                    reader.read_hr(index)
            rows.append({"workers": workers, "decoded": decoded})
            rows[-1] |= measure(backbone, attachment, sampler, device, workers=workers, iterations=options.iterations)
            print(json.dumps(rows[-1]), flush=True)
    report = {
        "data": options.data.name,
        "degrade": options.degrade if degradation else None,
        "batch": options.batch,
        "patch_px": options.patch,
        "iterations": options.iterations,
        "model": backbone.identity.source,
        "machine": describe_machine(device),
        "rows": rows,
    }
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / f"{options.output}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (results / f"{options.output}.md").write_text(to_markdown(report), encoding="utf-8")


def measure(
    backbone: Backbone,
    attachment: Attachment,
    sampler: BatchSampler,
    device: torch.device,
    *,
    workers: int,
    iterations: int,
) -> dict[str, float]:
    """Step time and waiting of one short training, the first step left out."""
    optimizer = torch.optim.Adam(attachment.parameters(), lr=1e-4)
    precision = pick_precision("auto", device, bf16=backbone.traits.bf16, fp16=False)
    set_differentiable(backbone, True)

    def train(batches: WhenAsked | Prefetcher) -> dict[str, float]:
        begin = waited_s = 0.0
        for iteration in range(iterations + 1):
            batch = batches.sample(iteration)
            optimizer.zero_grad(set_to_none=True)
            with autocast(device, precision):
                sr = super_resolve(backbone, batch.lr.to(device, non_blocking=True))
            loss = torch.nn.functional.l1_loss(sr.float(), batch.hr.to(device, non_blocking=True))
            torch.autograd.backward(loss)
            optimizer.step()
            loss.item()  # the device is done: what follows is waiting
            if iteration == 0:
                begin, waited_s = time.perf_counter(), batches.waited_s
        step_s = (time.perf_counter() - begin) / iterations
        waited_s = (batches.waited_s - waited_s) / iterations
        return {
            "step_ms": round(1000 * step_s, 1),
            "waited_ms": round(1000 * waited_s, 2),
            "waited_share": round(waited_s / step_s, 4),
        }

    if workers == 0:
        return train(WhenAsked(sampler))
    pin = pinned if device.type == "cuda" else None
    with Prefetcher(sampler, 0, iterations + 1, ahead=max(2, 2 * workers), prepare=pin, workers=workers) as batches:
        return train(batches)


def pinned(batch: Batch) -> Batch:
    """The batch in memory that the device reads by itself."""
    return Batch(batch.lr.pin_memory(), batch.hr.pin_memory())


def to_markdown(report: dict[str, Any]) -> str:
    """The rows as a table."""
    made = f", degraded by `{report['degrade']}`" if report["degrade"] else ""
    lines = [
        f"{report['model']} on {report['data']}{made}; batch {report['batch']}, patch {report['patch_px']} px, "
        f"{report['iterations']} steps; {report['machine']}.",
        "",
        "| batches | images | step | waited for data | share |",
        "|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        threads = row["workers"]
        way = "made when asked for" if threads == 0 else f"made ahead by {threads} thread{'s' * (threads > 1)}"
        images = "decoded before" if row["decoded"] else "decoded on the way"
        share = f"{row['waited_share']:.1%}".replace("%", " %")
        lines.append(f"| {way} | {images} | {row['step_ms']:.0f} ms | {row['waited_ms']:.1f} ms | {share} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
