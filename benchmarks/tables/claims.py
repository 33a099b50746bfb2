"""Do the claims of the AdaptSR paper hold on networks and cameras at hand, each method at a rate found for it?

    python benchmarks/tables/claims.py --data iphone/ --backbone DAT_light_x4.pth --iterations 30 --seeds 5
    python benchmarks/tables/claims.py --table

The first runs what is missing for one network, one camera and one length: the search of every method's learning rate,
on pairs that are never scored on, then the rows of the claims, seed by seed, so that whatever has run makes a table.
``--claims`` names some of them. The second writes ``benchmarks/results/claims.md`` of all trials that there are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rates import choose, climb
from scipy.stats import ttest_1samp
from trials import RESULTS, Bench, Part, Trial, read_ledger, run_trials

from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.progress import SILENT
from adaptsr_cli.stages.common.models import ModelSpec, load_model

START_RATES: Final = {"lora": 2e-3, "full": 5e-4, "shira": 4e-3}
"""Where the search begins; it goes up and down by factors of 2 from there."""

SEARCH_SEEDS: Final = 3
"""Of a search: with one, a rate was found on SPAN at which other seeds collapse."""
COLLAPSED_DB: Final = -0.5
"""A mean gain below which a rate makes the network collapse."""
MARGIN_DB: Final = 0.02
"""How far behind still counts as "as good"."""

Changes = Mapping[str, Any]


class Place(NamedTuple):
    """What the trials of one line of the table have in common; the fields are those of `Trial`."""

    backbone: str
    data: str
    iterations: int
    batch: int
    patch: int
    budget: str

    @classmethod
    def of(cls, trial: Trial) -> Place:
        """The place of a trial."""
        return cls(*(getattr(trial, name) for name in cls._fields))

    def base(self, part: Part) -> Trial:
        """The trial that rows change."""
        return Trial(seed=0, part=part, **self._asdict())

    def rows(self) -> list[Row]:
        """The rows that belong here: those with a rank of their own, but for ``full``, at the usual budget."""
        usual = self.budget == Trial.budget
        return [row for row in ROWS.values() if usual or "rank" not in row.changes or row.name == "full"]


@dataclass(frozen=True)
class Row:
    """One way to adapt.

    Attributes:
        name: As it stands in the table.
        changes: What its trials have other than the base.
        rate_of: Name of the row whose rate it takes, so that the two differ in one thing; its own where empty.
    """

    name: str
    changes: Changes
    rate_of: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper: `better` scores above `worse`, or at least as well.

    Attributes:
        name: For ``--claims``.
        text: For people, with the place in the paper.
        better: Name of a row.
        worse: Name of a row.
        margin_db: How far behind `better` may be.
    """

    name: str
    text: str
    better: str
    worse: str
    margin_db: float = 0.0


ALL_SITES: Final = {"rank": 1}
ROWS: Final = {
    row.name: row
    for row in (
        Row("uniform", {"strategy": "uniform"}),
        Row("greedy", {"strategy": "greedy"}),
        Row("spectral", {"strategy": "spectral", "init": "gradient"}),
        Row("full", {"method": "full", **ALL_SITES}),
        Row("shira", {"method": "shira", "strategy": "uniform", "extra": (("shira_mask", "magnitude"),)}),
        Row("sparse", {"method": "shira", "strategy": "spectral", "extra": (("shira_mask", "movement"),)}),
        Row("rank 1", {"rank": 1}, "uniform"),
        Row("rank 8", {"rank": 8}, "uniform"),
        Row("rank 64", {"rank": 64}, "uniform"),
        *(
            Row(f"greedy by {name}", {"strategy": "greedy", "criterion": name}, "greedy")
            for name in ("fisher", "activation", "weight", "snip", "random")
        ),
        *(Row(f"LoRA of {kind}", {"rank": 8, "modules": kind}, "uniform") for kind in ("conv", "mlp", "attention")),
        *(
            Row(f"full of {kind}", {"method": "full", "modules": kind, **ALL_SITES}, "full")
            for kind in ("conv", "mlp", "attention")
        ),
        *(
            Row(
                f"conv {form}",
                {"strategy": "uniform", "modules": "conv", "extra": (("conv_factorization", form),)},
                "uniform",
            )
            for form in ("1x1-kxk", "kxk-1x1", "single")
        ),
    )
}
CLAIMS: Final = (
    Claim("ranks", "rank-aware (greedy) above uniform, equal budget (Tables 2, 12)", "greedy", "uniform"),
    Claim("ranks", "ours: spectral, gradient start, above uniform, equal budget", "spectral", "uniform"),
    Claim("full", "rank-aware LoRA as good as full fine-tuning (Figure 6)", "greedy", "full", MARGIN_DB),
    Claim("full", "ours: spectral, gradient start, as good as full fine-tuning", "spectral", "full", MARGIN_DB),
    Claim("sparse", "ours: SHiRA by movement over all sites, as good as full", "sparse", "full", MARGIN_DB),
    Claim("sparse", "ours: SHiRA by movement over all sites, above spectral LoRA", "sparse", "spectral"),
    Claim("shira", "LoRA above SHiRA, equal budget, uniform (Table 3)", "uniform", "shira"),
    *(
        Claim("criteria", f"gradient above {name} as criterion (Table 11)", "greedy", f"greedy by {name}")
        for name in ("random", "fisher", "activation", "weight", "snip")
    ),
    Claim("rank", "rank 1 as good as rank 8 (Table 2)", "rank 1", "rank 8", MARGIN_DB),
    Claim("rank", "rank 8 as good as rank 64 (Table 2)", "rank 8", "rank 64", MARGIN_DB),
    *(
        Claim(
            "kinds",
            f"LoRA r = 8 as good as full, {kind} alone (Table 4)",
            f"LoRA of {kind}",
            f"full of {kind}",
            MARGIN_DB,
        )
        for kind in ("conv", "mlp", "attention")
    ),
    *(
        Claim("forms", f"1x1-kxk above {form} (Table 9)", "conv 1x1-kxk", f"conv {form}")
        for form in ("kxk-1x1", "single")
    ),
)


def main() -> None:
    """Run what is missing, or write the table."""
    names = list(dict.fromkeys(claim.name for claim in CLAIMS))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write the table only")
    parser.add_argument("--data", type=Path, help="folder of pairs")
    parser.add_argument("--backbone", type=Path, help="checkpoint; left out: the embedded network")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=96, help="HR pixels")
    parser.add_argument("--budget", default="8%", help="as allocate's, of the rows that share one")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--search-seeds", type=int, default=SEARCH_SEEDS)
    parser.add_argument("--claims", nargs="+", choices=names, default=["ranks", "full"])
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    if not options.table:
        backbone = options.backbone.name if options.backbone else ""
        lengths = (options.iterations, options.batch, options.patch)
        base = Place(backbone, options.data.name, *lengths, options.budget).base("score")
        bench = Bench(options.backbone, options.data.resolve(), None, only_psnr=True, jobs=options.jobs, threads=1)
        wanted = [claim for claim in CLAIMS if claim.name in options.claims]
        run_claims(base, bench, wanted, options.seeds, options.search_seeds)
    text = to_markdown(read_ledger())
    (RESULTS.parent / "claims.md").write_text(text, encoding="utf-8")
    print(text)


def run_claims(base: Trial, bench: Bench, claims: list[Claim], seeds: int, search_seeds: int) -> None:
    """Run the searches and then the rows of some claims."""
    rows = [ROWS[name] for name in dict.fromkeys(name for claim in claims for name in (claim.better, claim.worse))]
    kinds = kinds_of(bench.backbone)
    rows = [row for row in rows if row.changes.get("modules", "") in ("", *kinds) and row in Place.of(base).rows()]
    with tempfile.TemporaryDirectory(prefix="adaptsr-claims-") as place:
        folder = Path(place)
        rates = {
            name: search_rate(base, bench, ROWS[name], search_seeds, folder)
            for name in dict.fromkeys(row.rate_of or row.name for row in rows)
        }
        for seed in range(seeds):
            run_trials([trial_of(base, row, rates[row.rate_of or row.name], seed) for row in rows], bench, folder)


def kinds_of(checkpoint: Path | None) -> set[str]:
    """The kinds of layers that a network has: SAFMN and SPAN have no attention."""
    backbone = load_model(ModelSpec(str(checkpoint) if checkpoint else None, Path(), offline=True), SILENT)
    return {site.kind for site in find_sites(backbone.model, backbone.traits).sites}


def trial_of(base: Trial, row: Row, rate: float, seed: int) -> Trial:
    """The trial of a row: one with a rank of its own spends no budget, so it is the same trial at all budgets."""
    budget = Trial.budget if "rank" in row.changes else base.budget
    return base.changed(**{"seed": seed, "lr": rate, "budget": budget, **row.changes})


def search_rate(base: Trial, bench: Bench, row: Row, seeds: int, folder: Path) -> float:
    """The rate of a row."""
    searching = replace(base, part="search")

    def score(rate: float) -> float:
        # Seeds that are not scored with, so that not even the crops are those of the scores.
        figures = run_trials([trial_of(searching, row, rate, 100 + seed) for seed in range(seeds)], bench, folder)
        return float(np.mean([entry["psnr_y_db"] - entry["curve"][0][1] for entry in figures]))

    return climb(START_RATES[row.changes.get("method", "lora")], score, COLLAPSED_DB)


def to_markdown(ledger: Mapping[str, dict[str, Any]]) -> str:
    """The table of all claims for which there are trials of two seeds or more."""
    known = [(Trial(**json.loads(key)), figures) for key, figures in ledger.items()]
    known = [(trial, figures) for trial, figures in known if trial.part != "all"]
    groups: dict[Place, dict[str, dict[int, float]]] = {}
    for place in dict.fromkeys(Place.of(trial) for trial, _ in known):
        found: dict[str, dict[str, dict[float, dict[int, float]]]] = {"search": {}, "score": {}}
        for (trial, figures), row in product(known, place.rows()):
            if trial.key == trial_of(place.base(trial.part), row, trial.lr or 0.0, trial.seed).key:
                by_rate = found[trial.part].setdefault(row.name, {}).setdefault(trial.lr or 0.0, {})
                by_rate[trial.seed] = figures["psnr_y_db"] - figures["curve"][0][1]
        groups[place] = {
            name: by_rate.get(rate_of_row(found["search"], name), {}) for name, by_rate in found["score"].items()
        }
    machines = dict.fromkeys(figures["machine"] for _, figures in known)
    lines = [
        f"Made by `python benchmarks/tables/claims.py` on {', '.join(machines)}.",
        "PSNR-Y on held-out pairs, last iteration: the difference over seeds, its 95 % interval, a paired t-test.",
        "Each method has its own learning rate, found on pairs that are never scored on; rows that share one differ in",
        f'one thing. A claim holds where the interval lies above 0 (of "as good": above -{MARGIN_DB} dB), is',
        "contradicted where it lies below, and else is not told. A seed is harmed that ends below the backbone: by the",
        "first row, by the second, and the difference over the other seeds. Where most seeds are harmed, they tell of",
        "the rate, not of the claim. Where three networks or more were measured, a line has their mean without harmed",
        f"seeds, at {Trial.budget} and the shortest of their lengths, and its interval over networks.",
        "",
        "| claim | network | data | iterations x batch x patch | budget | seeds | difference (dB) | p | holds "
        "| harmed | without those |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for claim in CLAIMS:
        compared = {place: Difference.of(claim, rows) for place, rows in sorted(groups.items())}
        enough = {place: found for place, found in compared.items() if len(found.by_seed) > 1}
        lines += [describe(claim, place, found) for place, found in enough.items()]
        for data in dict.fromkeys(place.data for place in enough):
            by_network: dict[str, float] = {}
            for place, found in enough.items():  # sorted, so that the shortest length comes first
                if (place.data, place.budget) == (data, Trial.budget) and found.is_mostly_unharmed:
                    by_network.setdefault(place.backbone, float(found.by_seed[found.unharmed].mean()))
            if len(by_network) > 2:
                means = np.array([*by_network.values()])
                name = f"**{len(means)} networks**"
                lines.append(f"| {claim.text} | {name} | {data} | | {Trial.budget} | | {test(claim, means)} | | |")
    return "\n".join(lines) + "\n"


def rate_of_row(searched: Mapping[str, Mapping[float, Mapping[int, float]]], name: str) -> float:
    """The rate that the search of a row chose: among rates of as many seeds as any, as an earlier search had fewer."""
    scores = searched[ROWS[name].rate_of or name]
    most = max(map(len, scores.values()))
    return choose({rate: float(np.mean([*of.values()])) for rate, of in scores.items() if len(of) == most})


@dataclass(frozen=True)
class Difference:
    """Of the two rows of a claim at one place.

    Attributes:
        by_seed: (n,) dB, of the seeds that both have.
        harmed: How many of these end below the backbone, by row.
        unharmed: (n,) whether neither does.
    """

    by_seed: np.ndarray
    harmed: tuple[int, int]
    unharmed: np.ndarray

    @property
    def is_mostly_unharmed(self) -> bool:
        """Whether most seeds tell of the claim."""
        return bool(self.unharmed.mean() > 0.5)

    @classmethod
    def of(cls, claim: Claim, rows: Mapping[str, dict[int, float]]) -> Difference:
        """Of the gains of all rows by name and seed."""
        first, second = rows.get(claim.better, {}), rows.get(claim.worse, {})
        shared = sorted(first.keys() & second.keys())
        gains = np.array([[row[seed] for seed in shared] for row in (first, second)])
        better, worse = (int(number) for number in (gains < 0).sum(axis=1))
        return cls(gains[0] - gains[1], (better, worse), (gains >= 0).all(axis=0))


def describe(claim: Claim, place: Place, found: Difference) -> str:
    """The line of a claim on one network, camera and length."""
    others = found.by_seed[found.unharmed]
    harmed = f"{found.harmed[0]}, {found.harmed[1]}" if any(found.harmed) else ""
    figures = test(claim, found.by_seed)
    if not found.is_mostly_unharmed:
        figures = f"{show(found.by_seed)} | | not told"
    return (
        f"| {claim.text} | {Path(place.backbone).stem or 'embedded SAFMN x4'} | {place.data} "
        f"| {place.iterations} x {place.batch} x {place.patch} px | {place.budget} | {len(found.by_seed)} "
        f"| {figures} | {harmed} | {show(others) if harmed and len(others) > 1 else ''} |"
    )


def test(claim: Claim, difference: np.ndarray) -> str:
    """The mean with its interval, p and whether the claim holds, as cells."""
    low, high = interval(difference)
    verdict = "yes" if low > -claim.margin_db else "**no**" if high < -claim.margin_db else "not told"
    return f"{show(difference)} | {ttest_1samp(difference, -claim.margin_db).pvalue:.3f} | {verdict}"


def interval(difference: np.ndarray) -> tuple[float, float]:
    """That of 95 % of a mean."""
    low, high = ttest_1samp(difference, 0.0).confidence_interval(0.95)
    return float(low), float(high)


def show(difference: np.ndarray) -> str:
    """A mean and its interval."""
    low, high = interval(difference)
    return f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
