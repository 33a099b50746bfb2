"""What spends a budget of 8 % better than low-rank updates? Trials outside of the product, on one small network.

    python benchmarks/tables/beyond.py --data iphone/ --seeds 5
    python benchmarks/tables/beyond.py --data ntire2019/ --backbone SPAN_x4.pth --seeds 5
    python benchmarks/tables/beyond.py --table

Full fine-tuning of a small network is ahead of LoRA. Tried here, each at its own rate, found on pairs that are never
scored on: B started along the gradient as well as A (as GoRA), biases and norms trained within the same budget,
single weights chosen over the whole network by the mean gradient (as FISH masks) or by how far a probe of full
fine-tuning moved them (as lottery-ticket fine-tuning). Every variant sees the same crops. ``--variants`` names some of
them. Writes ``benchmarks/results/beyond.{jsonl,md}``; the last form the table alone.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from rates import choose, climb
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
LEDGER: Final = RESULTS / "beyond.jsonl"
SEARCH_SEED: Final = 100  # not scored with, so that not even the crops are those of the scores
SHARE: Final = 0.08
PROBE_BATCHES: Final = 10
ALPHA: Final = 8.0
Pairs = list[tuple[Tensor, Tensor]]
Deltas = Callable[[], dict[str, Tensor]]
Variant = tuple[list[nn.Parameter], Deltas]


class Place(NamedTuple):
    """What the trials of one comparison have in common.

    Attributes:
        network: Name of the checkpoint file.
        data: Name of the folder of pairs.
        patch: LR pixels.
    """

    network: str
    data: str
    iterations: int
    batch: int
    patch: int

    @classmethod
    def of(cls, trial: Mapping[str, Any]) -> Place:
        """The place of a trial in the ledger."""
        return cls(*(trial[name] for name in cls._fields))


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


START_RATES: Final = {
    "full": 1e-3,
    "full with biases and norms": 1e-3,
    "spectral": 2e-3,
    "spectral, B too": 2e-3,
    "spectral, biases and norms": 2e-3,
    "sparse by gradient": 2e-3,
    "sparse by probe": 4e-3,
}
"""Where the search of a variant's rate begins."""


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
    parser.add_argument("--table", action="store_true", help="write the table only")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=24, help="LR pixels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=START_RATES, default=list(START_RATES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        bench = Bench(options)
        for name in options.variants:
            climb(START_RATES[name], partial(bench.run, name, part="search", seed=SEARCH_SEED))
        for seed in range(options.seeds):
            for name in options.variants:
                bench.run(name, chosen_rates(bench.ledger)[bench.place][name], part="score", seed=seed)
    text = to_markdown(read_ledger())
    (RESULTS / "beyond.md").write_text(text, encoding="utf-8")
    print(text)


class Bench:
    """One network, one camera and one length.

    Attributes:
        place: What the trials have in common.
        ledger: Lines of all trials that there are.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._backbone = load_backbone(options.backbone or default_model())
        self._pairs = dict(zip(("search", "score"), read_pairs(options.data, self._backbone.scale), strict=True))
        self.place = Place(
            self._backbone.identity.source, options.data.name, options.iterations, options.batch, options.patch
        )
        self.ledger = read_ledger()

    def run(self, variant: str, rate: float, part: str, seed: int) -> float:
        """PSNR-Y of a trial, from the ledger if it is there."""
        trial = self.place._asdict() | {"variant": variant, "rate": rate, "part": part, "seed": seed}
        for line in self.ledger:
            if line["trial"] == trial:
                return float(line["psnr_y_db"])
        pairs = list(self._pairs[part])
        random.Random(seed).shuffle(pairs)
        held_out = len(pairs) // (2 if part == "search" else 3)
        trainer = Trainer(self._backbone, pairs[held_out:], self.place.batch, self.place.patch, seed)
        made = make(variant, trainer)
        trainer.fit(made, rate, self.place.iterations)
        params = sum(parameter.numel() for parameter in made[0])
        line = {"trial": trial, "params": params, "psnr_y_db": trainer.score(made[1], pairs[:held_out])}
        self.ledger.append(line)
        with LEDGER.open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps(line) + "\n")
        print(variant, rate, part, seed, params, round(line["psnr_y_db"], 3), flush=True)
        return float(line["psnr_y_db"])


def read_ledger() -> list[dict[str, Any]]:
    """The lines of all trials."""
    return [json.loads(line) for line in LEDGER.read_text(encoding="utf-8").splitlines()] if LEDGER.exists() else []


def chosen_rates(ledger: list[dict[str, Any]]) -> dict[Place, dict[str, float]]:
    """The rate of every variant by the searches."""
    searched: dict[Place, dict[str, dict[float, float]]] = {}
    for line in ledger:
        trial = line["trial"]
        if trial["part"] == "search":
            by_variant = searched.setdefault(Place.of(trial), {})
            by_variant.setdefault(trial["variant"], {})[trial["rate"]] = line["psnr_y_db"]
    return {place: {name: choose(scores) for name, scores in variants.items()} for place, variants in searched.items()}


def to_markdown(ledger: list[dict[str, Any]]) -> str:
    """Every variant beside full fine-tuning and beside the product's default, over the seeds that both have."""
    rates = chosen_rates(ledger)
    scores: dict[Place, dict[str, dict[int, float]]] = {}
    params: dict[tuple[Place, str], int] = {}
    for line in ledger:
        trial, place = line["trial"], Place.of(line["trial"])
        if trial["part"] == "score" and trial["rate"] == rates[place][trial["variant"]]:
            scores.setdefault(place, {}).setdefault(trial["variant"], {})[trial["seed"]] = line["psnr_y_db"]
            params[place, trial["variant"]] = line["params"]
    lines = [
        "PSNR-Y of held-out pairs at the last iteration; differences over seeds with 95 % intervals, paired t-tests.",
        f"All but full fine-tuning train {SHARE:.0%} of the parameters. Made by `python benchmarks/tables/beyond.py`.",
        "",
        "| network | data | iterations | variant | parameters | rate | seeds | PSNR-Y | against full | p "
        "| against spectral | p |",
        "|" + "---|" * 12,
    ]
    for place, variants in scores.items():
        for name in (name for name in START_RATES if name in variants):
            found = variants[name]
            cells = [
                Path(place.network).stem,
                place.data,
                f"{place.iterations} x {place.batch} x {place.patch} px",
                name,
                f"{params[place, name]:,}",
                f"{rates[place][name]:g}",
                f"{len(found)}",
                f"{np.mean(list(found.values())):.3f}",
                compare(found, variants.get("full", {})),
                compare(found, variants.get("spectral", {})),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def compare(found: Mapping[int, float], other: Mapping[int, float]) -> str:
    """Two cells: the difference with its interval, and p."""
    shared = sorted(found.keys() & other.keys())
    difference = np.array([found[seed] - other[seed] for seed in shared])
    if len(shared) < 2 or not difference.any():
        return "- | -"
    test = ttest_1samp(difference, 0.0)
    low, high = test.confidence_interval(0.95)
    return f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}] | {test.pvalue:.3f}"


if __name__ == "__main__":
    main()
