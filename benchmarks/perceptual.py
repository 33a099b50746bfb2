"""How sharp, how true and how free of a grid the perceptual objective is, in minutes of one CPU thread.

    python benchmarks/perceptual.py --weights FOLDER --pairs iphone=FOLDER ntire2019=FOLDER --networks safmn= span=FILE
    python benchmarks/perceptual.py --weights FOLDER --cost

Every fifth pair is a test pair and looked at once, at the end; of the others every fifth is held out. Each trial trains
three adapters with the same ranks, steps and seed: by L1 alone, faithful (with the loss against a grid) and perceptual.
It takes as much of the perceptual one as keeps the PSNR-Y of the held-out pairs at the backbone's (`share`: 1, 0.75,
0.5 or 0.25; the rest is of the faithful one). Trials are appended to ``benchmarks/results/perceptual.jsonl`` as they
end, and those that are there are not run again; ``perceptual.md`` is made of what is there. LPIPS (squeeze) is what the
objective trains on where no other network is at hand, so judge by NIQE, blur and noise too. ``--cost`` prints what a
step of each objective takes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import numpy as np
import torch

from adaptsr_cli.artifacts.train_config import ObjectiveName
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable, super_resolve
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_rgb
from adaptsr_cli.io.images import read_rgb, resize_bicubic, write_rgb
from adaptsr_cli.metrics.grid import measure_grid
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.protocol import PAPER, score_images
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import run_allocate
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.stage import run_merge
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import run_score
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import run_train
from adaptsr_cli.training.objective import make_objective

RESULTS: Final = Path(__file__).parent / "results"
METRICS: Final = ("delta_e", "lpips_squeeze", "ms_ssim", "niqe", "sharpness", "noise")
SHOWN: Final = ("psnr_y_db", "lpips_squeeze", "ms_ssim_y", "niqe", "delta_e_2000", "blur_px", "noise_levels")
SHOWN_GRID: Final = ("grid_flat", "grid_textured", "grid_flat_levels", "grid_textured_levels")
EVERY: Final = 5
SHARES: Final = (1.0, 0.75, 0.5, 0.25)
RATE: Final = 2e-3
CPU: Final = torch.device("cpu")


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder with the network of the distance")
    parser.add_argument("--pairs", nargs="*", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--networks", nargs="*", default=["safmn="], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--pictures", type=Path, default=None, help="keep outputs of the test images here")
    parser.add_argument("--cost", action="store_true", help="only print what a step takes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.cost:
        print_cost(options)
        return
    kept = RESULTS / "perceptual.jsonl"
    for seed in options.seeds:
        for network, file in (text.split("=", 1) for text in options.networks):
            for data, folder in (text.split("=", 1) for text in options.pairs):
                key = {"data": data, "network": network, "seed": seed, "iterations": options.iterations}
                if any(row["trial"] == key for row in read_rows(kept)):
                    continue
                with tempfile.TemporaryDirectory() as work:
                    found = trial(Path(work), Path(folder), Path(file) if file else default_model(), key, options)
                with kept.open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps({"trial": key, **found}) + "\n")
                print(key, found["share"], found["test"], flush=True)
                kept.with_suffix(".md").write_text(to_markdown(read_rows(kept)), encoding="utf-8")


def read_rows(kept: Path) -> list[dict[str, Any]]:
    """The trials so far."""
    return [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []


def split_pairs(folder: Path, target: Path) -> None:
    """Links to the pairs, in parts: ``train``, ``val``, ``test``."""
    names = sorted(path.name for path in (folder / "HR").iterdir() if path.suffix == ".png")
    rest = [name for at, name in enumerate(names) if at % EVERY]
    held_out = set(rest[2::EVERY])
    for name in names:
        part = "val" if name in held_out else "train" if name in rest else "test"
        for side in ("LR_samesize", "HR"):
            (target / part / side).mkdir(parents=True, exist_ok=True)
            (target / part / side / name).symlink_to((folder / side / name).resolve())


def trial(work: Path, folder: Path, model: Path, key: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Both adapters of a network, a data set and a seed, and their scores on the test pairs."""
    parts = work / "pairs"
    split_pairs(folder, parts)
    shared: dict[str, Any] = {"model": str(model), "offline": True, "device": "cpu"}
    data: dict[str, Any] = {"data": str(parts / "train"), "val": parts / "val", "test": parts / "test"}
    scored = RunFolder(work / "scored")
    run_score(ScoreOptions(run=scored.root, batches=8, seed=key["seed"], **data, **shared))
    run_allocate(AllocateOptions(run=scored.root))
    networks = {"backbone": load_backbone(model)}
    cpu_s = {}
    objectives: tuple[ObjectiveName, ...] = ("l1", "fidelity", "perceptual")
    for objective in objectives:
        run = RunFolder(work / objective)
        run.root.mkdir()
        for path in (scored.record, scored.saliency, scored.directions, scored.rank_map):
            shutil.copy(path, run.root)
        began = time.process_time()
        trained = run_train(
            TrainOptions(
                run=run.root,
                seed=key["seed"],
                iterations=key["iterations"],
                method="lora",
                learning_rate=RATE,
                objective=objective,
                weights_dir=options.weights,
                **data,
                **shared,
            )
        )
        cpu_s[objective] = round(time.process_time() - began, 1)
        networks[objective] = load_backbone(run_merge(MergeOptions(run=run.root, **shared)).output)
    least_db = psnr_db(networks["backbone"], parts / "val")
    share = next((share for share in SHARES if psnr_db(mix(networks, share), parts / "val") >= least_db), 0.0)
    networks["mixed"] = mix(networks, share)
    pictures = options.pictures / "-".join(str(value) for value in key.values()) if options.pictures else None
    return {
        "share": share,
        "collapsed": trained.card.best_iteration < trained.card.iterations,
        "cpu_s": cpu_s,
        "test": {
            name: score(network, parts / "test", options.weights, pictures and pictures / name)
            for name, network in networks.items()
        },
        "photographs": photographs(parts / "test", options.weights),
        "machine": describe_machine(pick_device("cpu")),
    }


def mix(networks: Mapping[str, Backbone], share: float) -> Backbone:
    """The faithful network with a share of the way to the perceptual one, in a copy."""
    mixed = load_backbone(networks["fidelity"].checkpoint.path)
    far = networks["perceptual"].model.state_dict()
    state = {
        key: value.lerp(far[key], share) if value.is_floating_point() else value
        for key, value in mixed.model.state_dict().items()
    }
    mixed.model.load_state_dict(state)
    return mixed


def read_pairs(folder: Path, scale: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, LR and HR of all pairs of a part."""
    pairs = []
    for path in sorted((folder / "HR").iterdir()):
        hr, lr = read_rgb(path), read_rgb(folder / "LR_samesize" / path.name)
        height, width = hr.shape[0] // scale, hr.shape[1] // scale
        rows, columns = slice(height * scale), slice(width * scale)
        pairs.append((path.name, resize_bicubic(lr[rows, columns], height, width), hr[rows, columns]))
    return pairs


def psnr_db(network: Backbone, folder: Path) -> float:
    """Mean PSNR-Y of a part."""
    upscaler = Upscaler(network, device=CPU, precision="fp32", tile_px=0)
    return mean(
        score_images(upscale_rgb(upscaler, lr), hr, protocol=PAPER, scale=network.scale, metrics=("psnr",))["psnr_y_db"]
        for _, lr, hr in read_pairs(folder, network.scale)
    )


def score(network: Backbone, folder: Path, weights: Path, pictures: Path | None) -> dict[str, float]:
    """Mean scores of a part."""
    upscaler, scale = Upscaler(network, device=CPU, precision="fp32", tile_px=0), network.scale
    measures = Measures(METRICS, PAPER, weights)
    rows = []
    for name, lr, hr in read_pairs(folder, scale):
        sr = upscale_rgb(upscaler, lr)
        if pictures is not None:
            write_rgb(pictures / name, sr)
        inner = slice(scale, -scale)
        rows.append(
            score_images(sr, hr, protocol=PAPER, scale=scale, metrics=("psnr",))
            | measures.score(sr[inner, inner], hr[inner, inner])
            | measures.score_alone(sr[inner, inner])
            | grid_of(sr, scale)
        )
    return means(rows)


def photographs(folder: Path, weights: Path) -> dict[str, float]:
    """Mean grid and sharpness of the true images of a part."""
    rows = []
    for path in sorted((folder / "HR").iterdir()):
        hr = read_rgb(path)
        alone = Measures(("niqe", "sharpness", "noise"), PAPER, weights).score_alone(hr)
        rows.append(alone | grid_of(hr, 4))
    return means(rows)


def grid_of(image: np.ndarray, period_px: int) -> dict[str, float]:
    """The grid of a picture by its names in the table."""
    return {f"grid_{part}": value for part, value in asdict(measure_grid(image, period_px)).items()}


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every key over the rows that have it."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: round(mean(row[key] for row in rows if key in row), 4) for key in keys}


def print_cost(options: argparse.Namespace) -> None:
    """CPU time of a step of batch 8 and 128 px, of both objectives in turn, for every network."""
    print(describe_machine(pick_device("cpu")))
    for name, file in (text.split("=", 1) for text in options.networks):
        backbone = load_backbone(Path(file) if file else default_model())
        backbone.model.requires_grad_(True)
        set_differentiable(backbone, True)
        side_px = 128 // backbone.scale
        generator = torch.Generator().manual_seed(0)
        lr = torch.rand(8, 3, side_px, side_px, generator=generator)
        hr = torch.rand(8, 3, 128, 128, generator=generator)
        kinds: tuple[ObjectiveName, ...] = ("fidelity", "perceptual")
        objectives = [
            make_objective(kind, weights_dir=options.weights, device=CPU, seed=0, iterations=1, scale=backbone.scale)
            for kind in kinds
        ]
        times: dict[str, list[float]] = defaultdict(list)
        for iteration in range(8):
            for objective in objectives:
                began = time.process_time()
                sr = super_resolve(backbone, lr)
                torch.autograd.backward(objective.losses(sr, hr, iteration).total)
                objective.after_step(sr.detach(), hr, iteration, lambda _gradients: None)
                times[objective.name].append(time.process_time() - began)
        faithful, perceptual = (median(times[kind][1:]) for kind in kinds)
        print(f"{name}: L1 {faithful:.3f} s, perceptual {perceptual:.3f} s, {perceptual / faithful:.1f} times")


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """A row for each network of each trial."""
    lines = [
        "| pairs | network | steps | seed | adapter | PSNR-Y | LPIPS (squeeze) | MS-SSIM-Y | NIQE | dE 2000 "
        "| blur | noise | grid, flat | grid, textured | its levels, flat | its levels, textured | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        key = row["trial"]
        begin = f"| {key['data']} | {key['network']} | {key['iterations']} | {key['seed']} |"
        for name, scores in [*row["test"].items(), ("photographs", row["photographs"])]:
            label = f"mixed, {row['share']:g} of perceptual" if name == "mixed" else name
            values = (f"{scores[key]:.4g}" if key in scores else "" for key in (*SHOWN, *SHOWN_GRID))
            lines.append(f"{begin} {label} | {' | '.join(values)} | {row['cpu_s'].get(name, '')} |")
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines += [
        "",
        f"Made by `python benchmarks/perceptual.py` on {machines}, one thread. Means over the test pairs, every "
        f"{EVERY}th; {sum(row['collapsed'] for row in rows)} of {len(rows)} perceptual trainings collapsed.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
