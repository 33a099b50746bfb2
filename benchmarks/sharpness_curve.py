"""What the dial between faithful and sharp does on real pairs that neither training has seen.

    python benchmarks/sharpness_curve.py --pairs iphone/ ntire2019/ --weights-dir metrics/ --iterations 100

For each folder and seed one `adaptsr adapt --objective both`; then LPIPS, NIQE, colour differences, PSNR and the grid
of the test pairs at every setting of ``--sharpness`` (`adaptsr eval`), the setting with the backbone's PSNR-Y, and the
setting that ``--sharpness auto`` chooses by the held-out pairs and the LR sides of the test pairs. The rate of the
faithful adapter is searched as by default, or `--lr`. Rows are appended to
``benchmarks/results/sharpness_curve.jsonl``, and those that are there are not run again; the table
``sharpness_curve.md`` is made of what is there. With ``--work FOLDER`` the runs are kept there, and resume.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_rgb
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.metrics.grid import measure_grid
from adaptsr_cli.progress import SILENT
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.adapt.stage import run_adapt
from adaptsr_cli.stages.common.auto_sharpness import (
    AutoSharpness,
    begin_by_held_out,
    lower_by_photographs,
    open_crops,
)
from adaptsr_cli.stages.common.dial import Dial, open_run_dial
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.training_data import CacheSizes, open_pairs, open_reader
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.stage import run_merge

RESULTS: Final = Path(__file__).parent / "results"
METRICS: Final = "psnr,lpips_squeeze,niqe,delta_e"
COLOURS: Final = ("delta_e_2000", "delta_e_2000_local", "delta_e_2000_chroma")
FALLING: Final = ("psnr_y_db", "lpips_squeeze")
"""What should fall at every step of the dial."""
PERIOD_PX: Final = 4
"""Of the grid that is looked for: that of an upsampler by 4."""

Image = np.ndarray[Any, np.dtype[np.uint8]]
Pair = tuple[str, Image, Image]


def main() -> None:
    """Measures what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--model", type=Path, default=None, help="the embedded network where left out")
    parser.add_argument("--weights-dir", type=Path, required=True, help="with the networks of the perceptual distance")
    parser.add_argument("--iterations", type=int, default=None, help="of each of the two; the preset's where left out")
    parser.add_argument("--minutes", type=float, default=None, help="for both together")
    parser.add_argument("--patch", type=int, default=None)
    parser.add_argument("--lr", type=float, default=None, help="of the faithful adapter; left out: searched")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=None)
    options = parser.parse_args()
    path = RESULTS / "sharpness_curve.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["data"], row["network"], row["seed"]) for row in rows}
    for pairs in options.pairs:
        for seed in options.seeds:
            network = options.model.name if options.model else "embedded SAFMN x4"
            if (pairs.name, network, seed) in done:
                continue
            with tempfile.TemporaryDirectory() as temporary:
                root = (options.work or Path(temporary)) / f"{pairs.name}-{network}-{seed}".replace(" ", "-")
                row = {"data": pairs.name, "network": network, "seed": seed, **measure(root, pairs, seed, options)}
            row["machine"] = describe_machine(pick_device("auto"))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            rows.append(row)
            print(json.dumps(row), flush=True)
    (RESULTS / "sharpness_curve.md").write_text(to_markdown(rows), encoding="utf-8")


def measure(root: Path, pairs: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One adaptation with both adapters, and its dial on the test pairs."""
    done = run_adapt(
        AdaptOptions(
            run=root,
            data=(str(pairs),),
            model=None if options.model is None else str(options.model),
            objective="both",
            iterations=options.iterations,
            minutes=options.minutes,
            patch=options.patch,
            learning_rate=options.lr,
            seed=seed,
            weights_dir=options.weights_dir,
            metrics=METRICS,
            offline=True,
        )
    )
    assert done.evaluation is not None, done.fault
    assert done.evaluation.dial is not None
    assert done.training.perceptual is not None
    curve, run = done.evaluation.dial, RunFolder(root)
    dial = open_run_dial(run, ModelSpec.of(None, None, offline=True), SILENT)
    scored = read_scored(done.evaluation, pairs, dial.backbone.scale)
    auto = choose_without_truth(run, dial, scored)
    return {
        "split": done.evaluation.split,
        "images": curve.images,
        "iterations": [done.training.card.iterations, done.training.perceptual.card.iterations],
        "training_s": [round(card.wall_s) for card in (done.training.card, done.training.perceptual.card)],
        "objective": done.training.perceptual.card.objective,
        "zero_is_faithful": zero_is_faithful(run),
        "backbone": rounded(curve.backbone),
        "points": [[point.sharpness, rounded(point.metrics)] for point in curve.points],
        "equal_psnr": curve.equal_psnr,
        "auto": auto.sharpness,
        "auto_said": auto.describe(),
        "held_out": None if dial.record is None else dial.record.curve.equal_psnr,
        "grid_at_equal_psnr": None if curve.equal_psnr is None else grid_at(dial, curve.equal_psnr, scored),
        "grid": {f"{point.sharpness:g}": grid_at(dial, point.sharpness, scored) for point in curve.points},
        "grid_of_photographs": mean_grid(hr for _, _, hr in scored),
    }


def rounded(metrics: dict[str, float]) -> dict[str, float]:
    """With as many digits as anybody reads."""
    return {key: round(value, 5) for key, value in metrics.items()}


def zero_is_faithful(run: RunFolder) -> bool:
    """Whether merging at sharpness 0 gives the same bytes as merging without."""
    files = [run.root / f"{name}.safetensors" for name in ("without", "zero")]
    for file, sharpness in zip(files, (None, 0.0), strict=True):
        run_merge(MergeOptions(run=run.root, output=file, sharpness=sharpness, force=True))
    same = files[0].read_bytes() == files[1].read_bytes()
    for file in files:
        file.unlink()
    return same


def read_scored(evaluation: Evaluation, pairs: Path, scale: int) -> list[Pair]:
    """Name, LR and HR of the pairs that were scored."""
    names = {image.name for image in evaluation.images}
    sets = open_pairs(DataSpec.of(pairs), "test", SILENT, scale)
    reader = open_reader(sets, scale, None, 0, CacheSizes().open())
    return [(pair.name, *reader.read(place)[:2]) for place, pair in enumerate(reader.pairs) if pair.name in names]


def choose_without_truth(run: RunFolder, dial: Dial, scored: Sequence[Pair]) -> AutoSharpness:
    """What ``--sharpness auto`` chooses by the held-out pairs and the LR sides of the scored ones."""
    files = [run.root / "photographs" / f"{name}.png" for name, _, _ in scored]
    for file, (_, lr, _) in zip(files, scored, strict=True):
        write_rgb(file, lr)
    begin = begin_by_held_out(dial.record)
    return lower_by_photographs(dial, begin, open_crops(files, SILENT), pick_device("auto"), SILENT)


def grid_at(dial: Dial, sharpness: float, scored: Sequence[Pair]) -> list[float]:
    """`mean_grid` of the pictures at a setting."""
    dial.put(sharpness)
    upscaler = Upscaler(dial.backbone, device=pick_device("auto"), precision="fp32", tile_px=0)
    return mean_grid(upscale_rgb(upscaler, lr) for _, lr, _ in scored)


def mean_grid(pictures: Iterable[Image]) -> list[float]:
    """The grid in flat and in textured blocks, means over the pictures: 1 where there is none; then its levels."""
    found = [measure_grid(picture, PERIOD_PX) for picture in pictures]
    parts = ("flat", "textured", "flat_levels", "textured_levels")
    return [round(float(np.mean([getattr(grid, part) for grid in found])), 3) for part in parts]


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """One table a row, and what it shows."""
    lines = ["Made by `python benchmarks/sharpness_curve.py`.", "", *summary(rows), ""]
    for row in rows:
        both = " + ".join(map(str, row["iterations"]))
        lines += [
            f"## {row['data']}, {row['network']}, seed {row['seed']}",
            "",
            f"{row['images']} test pairs; {both} iterations in {sum(row['training_s'])} s on {row['machine']}; "
            f"perceptual objective: {row['objective']}.",
            "",
            "| setting | PSNR-Y, dB | LPIPS (squeeze) | NIQE | ΔE2000 | of 8 px means | of chroma | grid, flat "
            "| grid, textured |",
            "|---|---|---|---|---|---|---|---|---|",
            line("backbone", row["backbone"]),
            *(
                line(f"sharpness {setting:g}", metrics, row["grid"][f"{setting:g}"])
                for setting, metrics in row["points"]
            ),
            *([f"| photographs | | | | | | | {cells(row['grid_of_photographs'])} |"]),
            "",
            *conclusions(row),
            "",
        ]
    return "\n".join(lines)


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """One line a trial: the setting with the backbone's PSNR-Y beside the faithful model, and what ``auto`` chose."""
    lines = [
        "At the setting with the backbone's PSNR-Y, in brackets those of the faithful model; the grid is a ratio, with "
        "that of the photographs behind the comma:",
        "",
        "| trial | sharpness | LPIPS | ΔE2000 | of 8 px means | of chroma | grid, flat | grid, textured | `auto` "
        "| its LPIPS | its PSNR-Y over the backbone |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        setting, faithful = row["equal_psnr"], row["points"][0][1]
        found = [f"| {row['data']}, {row['network']}, {row['seed']}"]
        if setting is None:
            found += ["none", *["" for _ in range(6)]]
        else:
            found += [f"{setting:.2f}", beside_faithful(row, setting)]
            found += [f"{between(row, setting, key):.2f} ({faithful[key]:.2f})" for key in COLOURS]
            grids = zip(row["grid_at_equal_psnr"], row["grid"]["0"], row["grid_of_photographs"], strict=True)
            found += [f"{here:.2f} ({before:.2f}), {true:.2f}" for here, before, true in list(grids)[:2]]
        gain_db = between(row, row["auto"], "psnr_y_db") - row["backbone"]["psnr_y_db"]
        found += [f"{row['auto']:.2f}", beside_faithful(row, row["auto"]), f"{gain_db:+.2f} dB |"]
        lines.append(" | ".join(found))
    return lines


def beside_faithful(row: dict[str, Any], setting: float) -> str:
    """LPIPS at a setting, and how far it is from that at sharpness 0."""
    lpips = between(row, setting, "lpips_squeeze")
    return f"{lpips:.4f} ({lpips / row['points'][0][1]['lpips_squeeze'] - 1:+.0%})"


def cells(grid: Sequence[float] | None) -> str:
    """The grid, for two cells: the ratio, and the amplitude in grey levels."""
    if grid is None:
        return " | "
    return " | ".join(f"{ratio:.2f} ({levels:.2f})" for ratio, levels in zip(grid[:2], grid[2:], strict=True))


def line(name: str, metrics: dict[str, float], grid: Sequence[float] | None = None) -> str:
    """One line of the table."""
    niqe = metrics.get("niqe", metrics.get("niqe_own", float("nan")))
    colours = " | ".join(f"{metrics[key]:.2f}" for key in COLOURS)
    fidelity = f"{metrics['psnr_y_db']:.2f} | {metrics['lpips_squeeze']:.4f}"
    return f"| {name} | {fidelity} | {niqe:.2f} | {colours} | {cells(grid)} |"


def conclusions(row: dict[str, Any]) -> list[str]:
    """What the curve shows, in words."""
    found = []
    for key in FALLING:
        steps = np.diff([metrics[key] for _, metrics in row["points"]])
        wrong = float(max(0.0, steps.max()))
        found.append(f"* {key}: " + ("falls at every step" if wrong == 0 else f"a step goes up by {wrong:.4f}"))
    faithful = row["points"][0][1]
    found.append(f"* at 0 the merged file is that of the faithful model: {'yes' if row['zero_is_faithful'] else 'no'}")
    for name, setting in (("PSNR-Y of the backbone", row["equal_psnr"]), ("`auto`", row["auto"])):
        if setting is None:
            found.append(f"* {name}: above that of every setting")
            continue
        psnr, lpips = (between(row, setting, key) for key in FALLING)
        share = lpips / faithful["lpips_squeeze"] - 1
        found.append(
            f"* {name}: sharpness {setting:.2f}, LPIPS {lpips:.4f} ({share:+.0%} against the faithful model) at "
            f"{psnr:.2f} dB ({psnr - row['backbone']['psnr_y_db']:+.2f} over the backbone)"
        )
    found.append(f"* `auto` said: {row['auto_said']}")
    return found


def between(row: dict[str, Any], setting: float, key: str) -> float:
    """A metric between two points."""
    places = [place for place, _ in row["points"]]
    return float(np.interp(setting, places, [metrics[key] for _, metrics in row["points"]]))


if __name__ == "__main__":
    main()
