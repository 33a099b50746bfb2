"""Does the spread of a network's gradient spectra predict whether rank-aware allocation beats uniform ranks?

    python benchmarks/tables/prediction.py --data iphone/ --backbones DCTLSA_x4.pt DAT_light_x4.pth

Of the embedded network and the named ones: how much of the squared mean gradient an adapter of 8 % of the parameters
can follow with spectral and with uniform ranks, and their ratio, the first-order gain of allocating. No training.
Writes ``benchmarks/results/prediction.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from beyond import RESULTS, SHARE, Trainer, read_pairs

from adaptsr_cli.adapters.factors import unfold_for_factors
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.ranking.allocation import AllocationSite, allocate_uniform
from adaptsr_cli.ranking.spectral import allocate_spectral

BATCH, PATCH_PX = 2, 32


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbones", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"Share of the squared mean gradient that adapters of {SHARE:.0%} of the parameters can follow, on",
        f"{options.data.name}. Made by `python benchmarks/tables/prediction.py`.",
        "",
        "| network | sites | spectral | uniform | ratio |",
        "|---|---|---|---|---|",
    ]
    for path in (default_model(), *options.backbones):
        backbone = load_backbone(path)
        trainer = Trainer(backbone, read_pairs(options.data, backbone.scale)[0], BATCH, PATCH_PX, seed=0)
        gradients = trainer.mean_gradients()
        candidates = []
        for site in find_sites(backbone.model, backbone.traits).sites:
            whole = gradients[f"{site.module}.weight"]
            part = whole if site.rows is None else whole[slice(*site.rows)]
            gains = tuple(torch.linalg.svdvals(unfold_for_factors(part)).square().tolist())
            candidates.append(AllocationSite(site.name, sum(gains) ** 0.5, site.rank_cost, site.max_rank, gains))
        budget = int(SHARE * backbone.identity.params)
        total = sum(sum(site.gains) for site in candidates)
        shares = []
        for ranks in (allocate_spectral(candidates, budget, 0, 64), allocate_uniform(candidates, budget, 64)):
            shares.append(sum(sum(site.gains[: ranks[site.name]]) for site in candidates) / total)
        first, second = shares
        row = f"| {path.stem} | {len(candidates)} | {first:.1%} | {second:.1%} | {first / second:.2f} |"
        lines.append(row)
        print(row, flush=True)
        (RESULTS / "prediction.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
