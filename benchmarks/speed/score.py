"""What `score` costs beside its forward and backward passes, and what `allocate` takes for 14 M parameters.

    python benchmarks/speed/score.py --models safmn edsr swinir --threads 1

The peer of `score` is the same batches through the same network with gradients for the same weights, and nothing else.
Both are timed by processor time, which other work on the machine disturbs less, in turn in one process. `allocate` gets
a made-up saliency of the real sites of DRCT (embed 180, 6 groups). Writes ``benchmarks/results/speed_score.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from upscale import SCALE, TITLES, build

from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.artifacts.base import Provenance, Strategy
from adaptsr_cli.artifacts.saliency import Saliency, SiteSaliency
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.io.tensors import write_pth
from adaptsr_cli.progress import Silent
from adaptsr_cli.ranking.saliency import measure_gradients
from adaptsr_cli.runtime import describe_machine
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import plan_ranks, run_allocate
from adaptsr_cli.stages.common.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"

CPU = torch.device("cpu")
STRATEGIES: tuple[Strategy, ...] = ("greedy", "uniform", "proportional", "spectral")


def open_network(name: str, folder: Path) -> Backbone:
    """The network as a command opens it."""
    return load_backbone(write_pth_of(name, folder))


def write_pth_of(name: str, folder: Path) -> Path:
    """A checkpoint with random weights."""
    path = folder / f"{name}.pth"
    write_pth(path, {"params": dict(build(name).state_dict())})
    return path


def run_plain(backbone: Backbone, sites: list[Site], batches: list[Batch]) -> None:
    """Forward and backward passes with gradients for the weights of the sites."""
    backbone.model.requires_grad_(False)
    for site in sites:
        backbone.model.get_parameter(f"{site.module}.weight").requires_grad_(True)
    set_differentiable(backbone, True)
    for batch in batches:
        backbone.model.zero_grad(set_to_none=True)
        loss = nn.functional.l1_loss(super_resolve(backbone, batch.lr), batch.hr)
        torch.autograd.backward(loss)
    backbone.model.zero_grad(set_to_none=True)


def time_score(name: str, folder: Path, batches: int, batch: int, patch_px: int, rounds: int) -> dict[str, Any]:
    """Seconds of both, medians."""
    backbone = open_network(name, folder)
    sites = list(find_sites(backbone.model, backbone.traits).sites)
    made = [
        Batch(torch.rand(batch, 3, patch_px // SCALE, patch_px // SCALE), torch.rand(batch, 3, patch_px, patch_px))
        for _ in range(batches)
    ]
    run_plain(backbone, sites, made[:1])
    plain, ours = [], []
    for _ in range(rounds):
        begin = time.process_time()
        run_plain(backbone, sites, made)
        middle = time.process_time()
        with Silent().task("score", batches, unit="batch") as task:
            measure_gradients(backbone, sites, made, device=CPU, precision="fp32", task=task)
        plain.append(middle - begin)
        ours.append(time.process_time() - middle)
    row = {"model": name, "sites": len(sites), "batches": batches, "plain_s": median(plain), "score_s": median(ours)}
    row["extra"] = row["score_s"] / row["plain_s"] - 1
    print(row, file=sys.stderr, flush=True)
    return row


def made_up_saliency(backbone: Backbone) -> Saliency:
    """Random scores and falling gains for the sites of a network."""
    rng = np.random.default_rng(0)
    sites = []
    for site in find_sites(backbone.model, backbone.traits).sites:
        gains = np.sort(rng.exponential(rng.exponential(), min(64, site.max_rank)))[::-1]
        sites.append(
            SiteSaliency(
                name=site.name,
                block=site.block,
                kind=site.kind,
                shape=site.shape,
                params=site.params,
                rank_cost=site.rank_cost,
                max_rank=site.max_rank,
                score=float(gains.sum() ** 0.5),
                score_std=0.0,
                spectrum=tuple(float(gain**0.5) for gain in gains),
                gains=tuple(map(float, gains)),
            )
        )
    return Saliency(
        backbone=backbone.identity,
        provenance=Provenance(tool_version="0", command="score", options={}, seed=0, data_fingerprint="0" * 64),
        criterion="gradient",
        batches=20,
        batch=8,
        patch_px=128,
        mean_loss=0.05,
        mean_spearman=0.9,
        sites=tuple(sites),
        skipped=(),
    )


def time_allocate(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Seconds for every strategy: the plan alone, and the whole stage with its files and its picture."""
    backbone = open_network("drct", folder)
    saliency = made_up_saliency(backbone)
    run = RunFolder(folder / "run")
    run.root.mkdir()
    write_document(run.saliency, saliency)
    rows = []
    for strategy in STRATEGIES:
        config = AllocateOptions(run=run.root, budget="8%", strategy=strategy, force=True)
        plans, stages = [], []
        for _ in range(rounds):
            begin = time.process_time()
            plan_ranks(config, saliency, Silent())
            middle = time.process_time()
            run_allocate(config)
            plans.append(middle - begin)
            stages.append(time.process_time() - middle)
        rows.append(
            {
                "strategy": strategy,
                "params": backbone.identity.params,
                "sites": len(saliency.sites),
                "plan_s": median(plans),
                "stage_s": median(stages),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=("safmn", "edsr", "swinir", "drct"), default=["safmn", "edsr"])
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = {
            "machine": describe_machine(CPU),
            "batch": options.batch,
            "patch_px": options.patch,
            "allocate": time_allocate(folder, options.rounds),
            "score": [
                time_score(model, folder, options.batches, options.batch, options.patch, options.rounds)
                for model in options.models
            ],
        }
    (RESULTS / "speed_score.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = to_markdown(report)
    (RESULTS / "speed_score.md").write_text(text, encoding="utf-8")
    print(text)


def to_markdown(report: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        f"Processor time, {report['machine']}; batches of {report['batch']} patches of {report['patch_px']} px.",
        "",
        "| `score` of | sites | batches | forward and backward passes alone | `score` | extra |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {TITLES[row['model']]} | {row['sites']} | {row['batches']} | {row['plain_s']:.2f} s | "
        f"{row['score_s']:.2f} s | {row['extra']:.1%} |"
        for row in report["score"]
    ]
    first = report["allocate"][0]
    lines += [
        "",
        f"| `allocate`, {first['params'] / 1e6:.1f} M parameters, {first['sites']} sites | plan | whole stage |",
        "|---|---|---|",
    ]
    lines += [f"| {row['strategy']} | {row['plan_s']:.3f} s | {row['stage_s']:.2f} s |" for row in report["allocate"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
