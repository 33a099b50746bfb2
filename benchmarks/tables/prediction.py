"""Does the spread of a network's gradient spectra predict whether rank-aware allocation beats uniform ranks?

    python benchmarks/tables/prediction.py --data iphone/ --backbones DCTLSA_x4.pt DAT_light_x4.pth

Of the embedded network and the named ones: how much of the squared mean gradient an adapter of 4 and 8 % of the
parameters can follow with spectral and with uniform ranks, their ratio, which is the first-order gain of allocating,
and how many sites spectral ranks leave out, on which uniform ones spend. No training.
Writes ``benchmarks/results/prediction.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from beyond import RESULTS, Trainer, read_pairs

from adaptsr_cli.adapters.factors import unfold_for_factors
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.ranking.allocation import AllocationSite, allocate_uniform
from adaptsr_cli.ranking.spectral import allocate_spectral

BATCH, PATCH_PX = 2, 32
SHARES = (0.04, 0.08)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbones", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "Share of the squared mean gradient that adapters of a budget can follow, and sites that spectral ranks leave",
        f"out, on {options.data.name}. Made by `python benchmarks/tables/prediction.py`.",
        "",
        "| network | budget | spectral | uniform | ratio | sites left out |",
        "|---|---|---|---|---|---|",
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
        total = sum(sum(site.gains) for site in candidates)
        for share in SHARES:
            budget = int(share * backbone.identity.params)
            spectral = allocate_spectral(candidates, budget, 0, 64)
            uniform = allocate_uniform(candidates, budget, 64)
            first, second = (
                sum(sum(site.gains[: ranks[site.name]]) for site in candidates) / total for ranks in (spectral, uniform)
            )
            left_out = sum(spectral[site.name] == 0 for site in candidates)
            row = (
                f"| {path.stem} | {share:.0%} | {first:.2%} | {second:.2%} | {first / second:.3f} "
                f"| {left_out} of {len(candidates)} |"
            )
            lines.append(row)
            print(row, flush=True)
        (RESULTS / "prediction.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
