"""What spends a budget of 8 % better than low-rank updates? Trials outside of the product, on one small network.

    python benchmarks/tables/beyond.py --data iphone/ --seeds 3

Full fine-tuning of a small network is ahead of LoRA. Tried here, each at the better of its rates on pairs that are
never scored on: B started along the gradient as well as A (as GoRA), biases and norms trained within the same budget,
single weights chosen over the whole network by the mean gradient (as FISH masks) or by how far a probe of full
fine-tuning moved them (as lottery-ticket fine-tuning). Every variant sees the same crops. Writes
``benchmarks/results/beyond.{jsonl,md}``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy.stats import ttest_1samp
from torch import Tensor, nn
from torch.nn import functional

from adaptsr_cli.adapters.factors import LowRankFactors, unfold_for_factors
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.metrics.fidelity import luma, psnr_db
from adaptsr_cli.ranking.allocation import AllocationSite
from adaptsr_cli.ranking.spectral import allocate_spectral
from adaptsr_cli.training.schedule import learning_rate

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"
SHARE: Final = 0.08
PROBE_BATCHES: Final = 10
ALPHA: Final = 8.0
Pairs = list[tuple[Tensor, Tensor]]
Deltas = Callable[[], dict[str, Tensor]]
Variant = tuple[list[nn.Parameter], Deltas]


class Trainer:
    """One network on one split of the pairs.

    Args:
        backbone: The network.
        train: Pairs of (3, h, w) and (3, s h, s w) in [0, 1].
        batch: Crops a batch.
        patch_px: LR side of a crop.
        seed: Of the crops.
    """

    def __init__(self, backbone: Backbone, train: Pairs, batch: int, patch_px: int, seed: int) -> None:
        self.backbone = backbone
        self.weights = {name: tensor.detach() for name, tensor in backbone.model.named_parameters()}
        self._train, self._batch, self._patch_px, self._seed = train, batch, patch_px, seed

    def loss(self, weights: Mapping[str, Tensor], number: int) -> Tensor:
        """L1 on the batch of this number."""
        rng, side, scale = random.Random(f"{self._seed}-{number}"), self._patch_px, self.backbone.scale
        crops = []
        for _ in range(self._batch):
            lr, hr = rng.choice(self._train)
            y, x = rng.randrange(lr.shape[1] - side + 1), rng.randrange(lr.shape[2] - side + 1)
            parts = (
                lr[:, y : y + side, x : x + side],
                hr[:, scale * y :, scale * x :][:, : scale * side, : scale * side],
            )
            turns, mirrored = rng.randrange(4), rng.random() < 0.5
            crops.append([torch.rot90(part.flip(2) if mirrored else part, turns, (1, 2)) for part in parts])
        lr, hr = (torch.stack(sides) for sides in zip(*crops, strict=True))
        sr = torch.func.functional_call(self.backbone.model, dict(weights), (lr,))
        return functional.l1_loss(sr, hr)

    def mean_gradients(self) -> dict[str, Tensor]:
        """Of all parameters, over batches that are not trained on."""
        own = {name: tensor.clone().requires_grad_() for name, tensor in self.weights.items()}
        total = sum(self.loss(own, -1 - number) for number in range(PROBE_BATCHES)) / PROBE_BATCHES
        found = torch.autograd.grad(total, list(own.values()), allow_unused=True)
        return {n: torch.zeros_like(own[n]) if g is None else g for n, g in zip(own, found, strict=True)}

    def fit(self, variant: Variant, rate: float, iterations: int, first: int = 0) -> None:
        """Adam with the product's cosine."""
        parameters, deltas = variant
        optimiser = torch.optim.Adam(parameters, lr=rate)
        for step in range(iterations):
            optimiser.param_groups[0]["lr"] = learning_rate(rate, "cosine", step / iterations)
            optimiser.zero_grad(set_to_none=True)
            self.loss(self.adapted(deltas), first + step).backward()
            optimiser.step()

    def adapted(self, deltas: Deltas) -> dict[str, Tensor]:
        """The weights with their updates."""
        return self.weights | {name: self.weights[name] + delta for name, delta in deltas().items()}

    def score(self, deltas: Deltas, val: Pairs) -> float:
        """Mean PSNR-Y of the protocol `paper`."""
        border, scores = self.backbone.scale, []
        with torch.no_grad():
            weights = self.adapted(deltas)
            for lr, hr in val:
                sr = torch.func.functional_call(self.backbone.model, weights, (lr[None],))[0]
                levels = [(255 * side.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy() for side in (sr, hr)]
                first, second = (luma(side[border:-border, border:-border]) for side in levels)
                scores.append(psnr_db(first, second))
        return float(np.mean(scores))


def small_ones(trainer: Trainer) -> list[str]:
    """Names of biases, norms and other tensors that are no kernels."""
    return [name for name, tensor in trainer.weights.items() if tensor.dim() == 1]


def train_whole(trainer: Trainer, names: list[str]) -> Variant:
    """Unrestricted updates."""
    updates = {name: nn.Parameter(torch.zeros_like(trainer.weights[name])) for name in names}
    return list(updates.values()), lambda: dict(updates)


def train_low_rank(trainer: Trainer, gradients: Mapping[str, Tensor], budget: int, *, start_b: bool) -> Variant:
    """The product's default: spectral ranks, A along the gradient; with `start_b` B is as well, by a line search."""
    sites = find_sites(trainer.backbone.model, trainer.backbone.traits).sites
    leading = {
        site.name: torch.linalg.svd(unfold_for_factors(part_of(site, gradients)), full_matrices=False) for site in sites
    }
    candidates = [
        AllocationSite(site.name, 0.0, site.rank_cost, site.max_rank, tuple(leading[site.name].S.square().tolist()))
        for site in sites
    ]
    ranks = allocate_spectral(candidates, budget, 0, 64)
    factors = {
        site: LowRankFactors(site, ranks[site.name], ALPHA / ranks[site.name]) for site in sites if ranks[site.name]
    }
    ends: dict[Site, Tensor] = {}
    for site, factor in factors.items():
        factor.reset(torch.Generator().manual_seed(0))
        svd, rank = leading[site.name], ranks[site.name]
        with torch.no_grad():
            factor.lora_A.flatten(1)[: len(svd.Vh)].copy_(svd.Vh[:rank] * 3**-0.5)
        columns = svd.U[:, :rank] * svd.S[:rank]  # (out k k, r)
        shape = (site.shape[0], *site.shape[2:], columns.shape[1])
        ends[site] = columns.view(shape).movedim(-1, 1)

    def deltas() -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for site, factor in factors.items():
            assert site.rows is None  # no fused projections here
            found[f"{site.module}.weight"] = factor.delta()
        return found

    def start(length: float) -> float:
        for site, factor in factors.items():
            factor.lora_B.data[:, : ends[site].shape[1]] = -length * ends[site]
        return float(sum(trainer.loss(trainer.adapted(deltas), -1 - number) for number in range(3)))

    if start_b:
        with torch.no_grad():
            norm = sum(float(end.square().sum()) for end in ends.values()) ** 0.5
            start(min((length / norm for length in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)), key=start))
    return [p for factor in factors.values() for p in factor.parameters()], deltas


def part_of(site: Site, gradients: Mapping[str, Tensor]) -> Tensor:
    """The gradient of a site's weight."""
    return gradients[f"{site.module}.weight"]


def train_sparse(trainer: Trainer, importance: Mapping[str, Tensor], budget: int) -> Variant:
    """Single weights: the `budget` most important ones of the whole network."""
    names = list(importance)
    sizes = [importance[name].numel() for name in names]
    chosen = torch.cat([importance[name].flatten() for name in names]).topk(budget).indices.sort().values
    values = nn.Parameter(torch.zeros(budget))

    def deltas() -> dict[str, Tensor]:
        flat = torch.zeros(sum(sizes)).index_add(0, chosen, values)
        return {n: part.view_as(importance[n]) for n, part in zip(names, flat.split(sizes), strict=True)}

    return [values], deltas


def probe(trainer: Trainer, rate: float, iterations: int) -> dict[str, Tensor]:
    """How far a short full fine-tuning moves every parameter."""
    variant = train_whole(trainer, list(trainer.weights))
    trainer.fit(variant, rate, iterations, first=10_000)
    return {name: delta.detach().abs() for name, delta in variant[1]().items()}


def make(name: str, trainer: Trainer) -> Variant:
    """A variant by its name; its parameters are within the budget, but for the two of full fine-tuning."""
    budget = int(SHARE * sum(tensor.numel() for tensor in trainer.weights.values()))
    kernels = [name for name, tensor in trainer.weights.items() if tensor.dim() > 1]
    if name == "full":
        return train_whole(trainer, kernels)
    if name == "full with biases and norms":
        return train_whole(trainer, list(trainer.weights))
    if name.startswith("sparse by probe"):
        return train_sparse(trainer, probe(trainer, 5e-4, PROBE_BATCHES), budget)
    gradients = trainer.mean_gradients()
    if name == "sparse by gradient":
        return train_sparse(trainer, {name: gradients[name].abs() for name in gradients}, budget)
    beside = small_ones(trainer) if "biases" in name else []
    budget -= sum(trainer.weights[small].numel() for small in beside)
    low = train_low_rank(trainer, gradients, budget, start_b="B too" in name)
    whole = train_whole(trainer, beside)
    return [*low[0], *whole[0]], lambda: low[1]() | whole[1]()


RATES: Final = {
    "full": (5e-4, 1e-3),
    "full with biases and norms": (5e-4, 1e-3),
    "spectral": (1e-3, 2e-3),
    "spectral, B too": (1e-3, 2e-3),
    "spectral, biases and norms": (1e-3, 2e-3),
    "sparse by gradient": (2e-3, 4e-3),
    "sparse by probe": (2e-3, 4e-3),
}


def read_pairs(data: Path, scale: int) -> tuple[Pairs, Pairs]:
    """Pairs for the search of rates (every third) and for scores."""
    parts: tuple[Pairs, Pairs] = ([], [])
    for number, path in enumerate(sorted((data / "HR").iterdir())):
        sides = [read_rgb(folder / path.name) for folder in (data / "LR_samesize", data / "HR")]
        lr, hr = (torch.from_numpy(np.ascontiguousarray(side)).permute(2, 0, 1).float() / 255 for side in sides)
        side = 8 * scale
        lr, hr = (part[:, : part.shape[1] // side * side, : part.shape[2] // side * side] for part in (lr, hr))
        small = functional.interpolate(lr[None], scale_factor=1 / scale, mode="bicubic", antialias=True)[0]
        parts[number % 3 != 0].append(((255 * small.clamp(0, 1)).round() / 255, hr))
    return parts


def main() -> None:
    """Search the rates, run the seeds, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=24, help="LR pixels")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbone(options.backbone or default_model())
    search, scored = read_pairs(options.data, backbone.scale)
    path = RESULTS / "beyond.jsonl"
    known = {}
    if path.exists():
        known = {json.dumps(line["trial"]): line for line in map(json.loads, path.read_text().splitlines())}

    def run(variant: str, rate: float, part: str, seed: int) -> float:
        names = ("network", "data", "iterations", "batch", "patch", "variant", "rate", "part", "seed")
        sizes = (options.iterations, options.batch, options.patch)
        trial = dict(
            zip(names, (backbone.identity.source, options.data.name, *sizes, variant, rate, part, seed), strict=True)
        )
        if json.dumps(trial) not in known:
            pairs = list(search if part == "search" else scored)
            random.Random(seed).shuffle(pairs)
            held_out = len(pairs) // (2 if part == "search" else 3)
            trainer = Trainer(backbone, pairs[held_out:], options.batch, options.patch, seed)
            made = make(variant, trainer)
            trainer.fit(made, rate, options.iterations)
            params = sum(parameter.numel() for parameter in made[0])
            line = {"trial": trial, "params": params, "psnr_y_db": trainer.score(made[1], pairs[:held_out])}
            known[json.dumps(trial)] = line
            with path.open("a", encoding="utf-8") as ledger:
                ledger.write(json.dumps(line) + "\n")
            print(variant, rate, part, seed, params, round(line["psnr_y_db"], 3), flush=True)
        return float(known[json.dumps(trial)]["psnr_y_db"])

    best = {
        name: max(rates, key=lambda rate, name=name: run(name, rate, "search", 100)) for name, rates in RATES.items()
    }
    scores = {name: np.zeros(0) for name in RATES}
    for seed in range(options.seeds):
        for name in RATES:
            scores[name] = np.append(scores[name], run(name, best[name], "score", seed))
        (RESULTS / "beyond.md").write_text(to_markdown(scores, best, options, backbone), encoding="utf-8")
    print(to_markdown(scores, best, options, backbone))


def to_markdown(scores: Mapping[str, Any], best: Mapping[str, float], options: Any, backbone: Backbone) -> str:
    """Differences to the product's default, over the seeds that all variants have."""
    count = min(map(len, scores.values()))
    lines = [
        f"{backbone.identity.source} on {options.data.name}, {options.iterations} iterations of {options.batch} crops",
        f"of {options.patch} LR px, {count} seed(s), {SHARE:.0%} of the parameters but for full fine-tuning. PSNR-Y of",
        "held-out pairs at the last iteration, against `spectral`, with 95 % intervals. Made by",
        "`python benchmarks/tables/beyond.py`.",
        "",
        "| | rate | PSNR-Y | against spectral | p |",
        "|---|---|---|---|---|",
    ]
    for name, found in scores.items():
        difference = found[:count] - scores["spectral"][:count]
        cells = "- | -"
        if count > 1 and name != "spectral":
            test = ttest_1samp(difference, 0.0)
            low, high = test.confidence_interval(0.95)
            cells = f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}] | {test.pvalue:.3f}"
        lines.append(f"| {name} | {best[name]:g} | {found[:count].mean():.3f} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
