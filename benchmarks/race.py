"""How long does each way of adapting take to a given quality: peft's LoRA, full fine-tuning, and ``adaptsr adapt``?

    python benchmarks/race.py --pairs iphone=FOLDER --network safmn_x4= [--iterations 300] [--seed 0]

Of the pairs, every fifth is watched: its score makes the curves and decides nothing. Every fifth of another kind is for
validation, by which each contender keeps its best network and the peers their best rate; the rest is trained on.

* ``peft``: LoRA of rank 8 on all sites of the network as spandrel builds it, Adam, the best of three rates.
* ``full``: every parameter, as BasicSR fine-tunes: Adam (0.9, 0.99), L1, an average with decay 0.999 beside the
  weights (the better of both counts), the best of three rates.
* ``adaptsr``: ``adapt`` with its defaults: scores, ranks, search and training.

All draw the same crops by the same code; the peers' rates fall by a cosine. Time is the CPU time of the process with
one thread, which other work on the machine changes less than the time on the wall; what scoring the watched images
takes is left out. Importing is too. A peer's two other rates are not counted, as if its user had known the best one.
Runs are appended to ``benchmarks/results/race.jsonl`` and not run again; the table and the pictures are made of what is
there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import torch
from torch import nn

from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable
from adaptsr_cli.backbones.fast.forwards import published_forwards
from adaptsr_cli.data.sampler import BatchSampler
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.distributed import SINGLE_PROCESS
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_batch
from adaptsr_cli.io.cache_folder import CACHE_VARIABLE
from adaptsr_cli.progress import SILENT
from adaptsr_cli.runtime import describe_machine, seed_everything
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.adapt.steps import merge, plan_ranks
from adaptsr_cli.stages.common.models import ModelSpec, load_model
from adaptsr_cli.stages.common.open_run import open_run
from adaptsr_cli.stages.common.training_data import DEFAULT_CACHE, open_pairs, open_reader
from adaptsr_cli.stages.train.stage import train_backbone
from adaptsr_cli.training.presets import TRAIN_PRESETS
from adaptsr_cli.training.schedule import learning_rate
from adaptsr_cli.training.validation import MAX_LR_PX, Upscale, Validation, Validator

RESULTS: Final = Path(__file__).parent / "results"
CPU: Final = torch.device("cpu")
RATES: Final = {"peft": (2e-3, 5e-4, 8e-3), "full": (2e-4, 1e-3, 5e-5)}
RANK: Final = 8
DECAY: Final = 0.999
OURS: Final = "adaptsr"
EVERY: Final = 5  # every fifth pair is watched, and every fifth is for validation
WATCHED_PX: Final = 4 * MAX_LR_PX  # LR pixels of the watched images that are scored
COLOURS: Final = {"peft": "tab:orange", "full": "tab:green", OURS: "tab:blue"}


@dataclass(frozen=True)
class Point:
    """Where a contender stood after a validation: CPU seconds, and PSNR-Y of validation and of the watched images."""

    seconds: float
    val_db: float
    watched_db: float


@dataclass
class Clock:
    """CPU time of the process since the beginning, without what scoring the watched images takes."""

    watched: Validator
    points: list[Point] = field(default_factory=list)
    begin: float = field(default_factory=time.process_time)
    left_out: float = 0.0

    def now(self) -> float:
        """Seconds that count."""
        return time.process_time() - self.begin - self.left_out

    def note(self, val_db: float, upscale: Upscale) -> None:
        """Score the watched images with the network as it stands."""
        stopped = time.process_time()
        seconds = self.now()
        self.points.append(Point(round(seconds, 2), val_db, self.watched.score(upscale).psnr_y_db))
        self.left_out += time.process_time() - stopped

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note every validation of ours."""
        score = Validator.score

        def score_and_note(validator: Validator, upscale: Upscale, **how: bool) -> Validation:
            found = score(validator, upscale, **how)
            if validator is not self.watched:
                self.note(found.psnr_y_db, upscale)
            return found

        with patch.object(Validator, "score", score_and_note):
            yield


def main() -> None:
    """Run what is missing, and write the table and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--iterations", type=int, default=TRAIN_PRESETS["fast"].iterations)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[OURS, *RATES], help="this contender alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.Adam([nn.Parameter(torch.zeros(1))])  # imports what optimisers need, which takes a second
    log = RESULTS / "race.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    for network in options.network:
        for data in options.pairs:
            for contender, rate in [
                (OURS, None),
                *((name, rate) for name in RATES for rate in RATES[name]),
            ]:
                run = {
                    "network": network.partition("=")[0],
                    "data": data.partition("=")[0],
                    "iterations": options.iterations,
                    "seed": options.seed,
                    "contender": contender,
                    "rate": rate,
                }
                if run in [row["run"] for row in rows] or options.only not in (None, contender):
                    continue
                model, folder = network.partition("=")[2] or None, Path(data.partition("=")[2])
                row = {"run": run, **race(run, model, folder), "machine": describe_machine(CPU)}
                rows.append(row)
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(run, row["points"][-1], flush=True)
                write_results(rows)
    write_results(rows)


def race(run: dict[str, Any], model: str | None, folder: Path) -> dict[str, Any]:
    """Let one contender run."""
    with tempfile.TemporaryDirectory() as work, patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}):
        parts = deal(folder, Path(work))
        backbone = load_model(ModelSpec.of(model, None, offline=True), SILENT)
        watched = open_part(parts["watched"], backbone.scale)
        clock = Clock(Validator(watched, backbone.scale, max_lr_px=WATCHED_PX))
        if run["contender"] == OURS:
            found = adapt(run, model, parts, Path(work) / "run", clock)
        else:
            found = fine_tune(run, backbone, parts, clock)
        seconds = round(clock.now(), 2)
        return {"points": [list(asdict(point).values()) for point in clock.points], "seconds": seconds, **found}


def deal(folder: Path, work: Path) -> dict[str, Path]:
    """Folders of links to the pairs to train on, to validate by, and to watch."""
    names = sorted(path.name for path in (folder / "HR").iterdir() if path.suffix == ".png")
    kinds = {0: "watched", 2: "val"}
    for at, name in enumerate(names):
        for side in ("LR_samesize", "HR"):
            target = work / kinds.get(at % EVERY, "train") / side
            target.mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to((folder / side / name).resolve())
    return {part: work / part for part in ("train", "val", "watched")}


def open_part(folder: Path, scale: int) -> Any:
    """The pairs of a folder, for a network of this scale."""
    return open_reader(open_pairs(DataSpec.of(folder), "test", SILENT, scale), scale, None, 0, DEFAULT_CACHE.open())


def adapt(run: dict[str, Any], model: str | None, parts: dict[str, Path], root: Path, clock: Clock) -> dict[str, Any]:
    """``adapt`` up to the merged network, which is where the peers end too."""
    options = AdaptOptions(
        run=root,
        data=(str(parts["train"]),),
        val=parts["val"],
        model=model,
        iterations=run["iterations"],
        seed=run["seed"],
        device="cpu",
        offline=True,
    )
    with clock.listening(), open_run(options, SILENT, SINGLE_PROCESS) as opened:
        plan_ranks(options, opened, SILENT, SINGLE_PROCESS)
        spent = {"score": round(clock.now(), 2)}
        result = train_backbone(options, opened, SILENT, SINGLE_PROCESS)
        spent["train"] = round(clock.now(), 2)
    merge(options, SILENT, SINGLE_PROCESS)
    search = result.search
    winner = None if search is None or search.winner is None else search.winner
    return {
        "spent": spent,
        "search_seconds": None if search is None else round(search.seconds, 2),
        "found": None if winner is None else [winner.method, winner.last_rate],
    }


def fine_tune(run: dict[str, Any], backbone: Backbone, parts: dict[str, Path], clock: Clock) -> dict[str, Any]:
    """A peer's training of the network as spandrel builds it, validated ten times."""
    preset, iterations = TRAIN_PRESETS["fast"], run["iterations"]
    seed_everything(run["seed"])
    validator = Validator(open_part(parts["val"], backbone.scale), backbone.scale)
    sampler = BatchSampler(
        open_part(parts["train"], backbone.scale), batch=preset.batch, patch_px=preset.patch_px, seed=run["seed"]
    )
    trained, betas = prepare(run["contender"], backbone)
    optimizer = torch.optim.Adam(trained, lr=run["rate"], betas=betas)
    averages = [parameter.detach().clone() for parameter in trained] if run["contender"] == "full" else []
    upscale = make_upscale(backbone)
    with published_forwards(backbone.model):
        note(backbone, validator, clock, upscale)
        for iteration in range(iterations):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(run["rate"], "cosine", iteration / iterations)
            batch = sampler.sample(iteration)
            optimizer.zero_grad()
            nn.functional.l1_loss(backbone.model(batch.lr), batch.hr).backward()
            optimizer.step()
            for average, parameter in zip(averages, trained, strict=bool(averages)):
                average.lerp_(parameter.detach(), 1 - min(DECAY, (1 + iteration) / (10 + iteration)))
            if (iteration + 1) % max(1, iterations // 10) == 0:
                note(backbone, validator, clock, upscale)
                if averages:
                    with swapped(trained, averages):
                        note(backbone, validator, clock, upscale)
    return {"trained_params": sum(parameter.numel() for parameter in trained)}


def prepare(contender: str, backbone: Backbone) -> tuple[list[nn.Parameter], tuple[float, float]]:
    """What a peer trains, and the betas of its Adam."""
    set_differentiable(backbone, True)
    if contender == "full":
        return list(backbone.model.requires_grad_(True).parameters()), (0.9, 0.99)
    from peft import LoraConfig, inject_adapter_in_model

    modules = dict(backbone.model.named_modules())
    names = {site.module for site in find_sites(backbone.model, backbone.traits).sites}
    plain = [name for name in sorted(names) if getattr(modules[name], "groups", 1) == 1]
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=plain), backbone.model)
    return [value for value in backbone.model.parameters() if value.requires_grad], (0.9, 0.999)


def make_upscale(backbone: Backbone) -> Upscale:
    """The network on a whole image."""
    return lambda lr: upscale_batch(Upscaler(backbone, device=CPU, precision="fp32", tile_px=0), lr)


def note(backbone: Backbone, validator: Validator, clock: Clock, upscale: Upscale) -> None:
    """Validate and note; in the mode for training, since SPAN's other one passes peft's layers by."""
    clock.note(validator.score(upscale).psnr_y_db, upscale)


@contextmanager
def swapped(parameters: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> Iterator[None]:
    """Within this block the parameters have these values."""
    own = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
        yield
        for parameter, value in zip(parameters, own, strict=True):
            parameter.copy_(value)


def curve(row: dict[str, Any]) -> list[tuple[float, float]]:
    """(CPU seconds, gain in dB of the watched images) of the network that validation likes best so far."""
    points = [Point(*values) for values in row["points"]]
    best, found = points[0], []
    for point in points:
        best = max(best, point, key=lambda point: point.val_db)
        found.append((point.seconds, best.watched_db - points[0].watched_db))
    return found


def at_time(points: Sequence[tuple[float, float]], seconds: float) -> float:
    """The gain of a curve at a time."""
    return max((point for point in points if point[0] <= seconds), default=points[0])[1]


def time_to(points: Sequence[tuple[float, float]], gain_db: float) -> float | None:
    """When a curve reaches a gain; None if never."""
    return next((seconds for seconds, gain in points if gain >= gain_db), None)


def best_rate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run of a peer that has come furthest on the validation images."""
    return max(rows, key=lambda row: max(val for _, val, _ in row["points"]))


def write_results(rows: Sequence[dict[str, Any]]) -> None:
    """``race.md``, and a picture for each network and data set."""
    groups: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        run = row["run"]
        groups[run["network"], run["data"], run["iterations"], run["seed"]][run["contender"]].append(row)
    lines = [
        "| network | data | peer, its best rate | it reaches | after | ours reaches that after | share of its time "
        "| ours at the peer's time | ours at its end |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (network, data, iterations, seed), found in groups.items():
        best = {name: best_rate(found[name]) for name in (OURS, *RATES) if name in found}
        draw(RESULTS / f"race_{network}_{data}_{iterations}_{seed}.png", f"{network}, {data}", best)
        for name in [name for name in RATES if OURS in best and name in best]:
            own, peer = curve(best[OURS]), curve(best[name])
            end_db = peer[-1][1]
            needed = time_to(peer, end_db) or peer[-1][0]
            reached = time_to(own, end_db)
            share = "never |" if reached is None else f"{reached:.0f} s | {reached / needed:.2f}"
            rate = f"{best[name]['run']['rate']:g} of {len(found[name])}"
            lines.append(
                f"| {network} | {data} | {name}, {rate} | {end_db:+.3f} dB | {needed:.0f} s | {share} "
                f"| {at_time(own, needed) - end_db:+.3f} dB against it "
                f"| {own[-1][1]:+.3f} dB after {own[-1][0]:.0f} s |"
            )
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines += [
        "",
        f"Made by `python benchmarks/race.py` on {machines}. CPU seconds of one thread; gain in PSNR-Y on images that "
        "decide nothing. A peer's time is that of one training at its best rate.",
    ]
    (RESULTS / "race.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw(path: Path, title: str, best: dict[str, dict[str, Any]]) -> None:
    """The curves of one network on one data set."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, row in best.items():
        seconds, gains = zip(*curve(row), strict=True)
        rate = row["run"]["rate"]
        axes.step(
            seconds, gains, where="post", color=COLOURS[name], label=name if rate is None else f"{name}, {rate:g}"
        )
    axes.set(title=title, xlabel="CPU seconds, one thread", ylabel="gain in PSNR-Y of watched images (dB)")
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
