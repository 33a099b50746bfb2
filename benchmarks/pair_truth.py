"""How exact `adaptsr pair` registers shots whose truth is known.

Run: python benchmarks/pair_truth.py --data FOLDER [--shots 60] [--seed 1000] [--part score|tune]

Shots are synthetic (`tests/registration/shots.py`): walls of photographs seen by two cameras with zoom 1.5 to 5,
rotation to 3 degrees, radial distortion to 3 % in both lenses, gains to 20 %, vignetting to 30 %, tone, noise, blur
and JPEG of each side's own, a patch that moved and a near object with parallax. Settings were chosen on part `tune`
(every second photograph, other seeds); what is published is part `score`. Sixteen more shots are made from aligned
real pairs, whose LR side a real camera took: those pairs' own misalignment, up to some tenths of a pixel, is in these
figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from registration.shots import Shot, make_shot  # noqa: E402

from adaptsr_cli.io.images import resize  # noqa: E402
from adaptsr_cli.registration.blocks import Block  # noqa: E402
from adaptsr_cli.registration.opencv import use_threads  # noqa: E402
from adaptsr_cli.registration.register import Registration, register  # noqa: E402
from adaptsr_cli.registration.verdict import Refused  # noqa: E402

BLOCK_PX = 96


@dataclass(frozen=True)
class Row:
    """One shot's figures; lengths in LR px, colours in grey levels."""

    name: str
    zoom: float
    accepted: bool
    sentence: str
    kept: int
    blocks: int
    error_p50_px: float
    error_p95_px: float
    measured_p90_px: float
    bad_changed: int
    dropped_changed: int
    bad_touched: int
    dropped_touched: int
    colour_mean: float
    colour_p95: float
    seconds: float
    degree: int


def score(name: str, shot: Shot) -> tuple[Row, Registration | None, np.ndarray]:
    began = time.perf_counter()
    scale = max(2, int(shot.zoom / 0.95))  # below 1.9 the LR side is the wide photograph reduced
    try:
        found = register(
            shot.wide, shot.tele, scale, zoom_hint=shot.zoom, block_px=BLOCK_PX,
            resize=lambda image, width, height: resize(image, width, height, "bicubic"),
        )  # fmt: skip
    except Refused as refused:
        row = Row(name, shot.zoom, False, refused.reason, 0, 0, 9.0, 9.0, 0.0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0)
        return row, None, np.empty(0)
    seconds = time.perf_counter() - began
    shrunk = shot.wide.shape[1] / found.lr.shape[1], shot.wide.shape[0] / found.lr.shape[0]

    def in_wide(points: np.ndarray) -> np.ndarray:
        return (points + 0.5) * np.array(shrunk) - 0.5

    kept = [block for block in found.blocks if block.reason is None]
    errors = [np.empty(0)]
    for block in kept:
        along = np.linspace(4, BLOCK_PX - 5, 5)
        points = np.stack(np.meshgrid(block.region.left + along, block.region.top + along), -1).reshape(-1, 2)
        miss = found.mapping.map_points(points) - shot.map_points(in_wide(points))
        errors.append(np.hypot(*miss.T) / found.mapping.zoom_at(points))
    every = np.concatenate(errors)
    counts = []
    for mask, least in ((shot.changed, 0.005), (shot.touched, 0.05)):
        small = cv2.resize(mask.astype(np.float32), found.lr.shape[1::-1], interpolation=cv2.INTER_AREA)
        bad = [block for block in found.blocks if small[block.region.slices].mean() > least]
        counts += [len(bad), sum(block.reason is not None for block in bad)]
    colours = measure_colours(shot, found, kept, in_wide)
    row = Row(
        name=name, zoom=shot.zoom, accepted=found.verdict.accepted, sentence=found.verdict.sentence, kept=len(kept),
        blocks=len(found.blocks),
        error_p50_px=float(np.median(every)) if len(every) else 9.0,
        error_p95_px=float(np.percentile(every, 95)) if len(every) else 9.0,
        measured_p90_px=found.verdict.p90_px,
        bad_changed=counts[0], dropped_changed=counts[1], bad_touched=counts[2], dropped_touched=counts[3],
        colour_mean=float(colours.mean()) if len(colours) else 0.0,
        colour_p95=float(np.percentile(colours, 95)) if len(colours) else 0.0,
        seconds=seconds, degree=found.correction.degree,
    )  # fmt: skip
    return row, found, every


def measure_colours(
    shot: Shot, found: Registration, kept: list[Block], in_wide: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """|fit(tele) - wide| of exact colours: those of the kept blocks' own pixels, unclipped on both sides."""
    if found.photometry is None or not kept:
        return np.empty(0)
    misses = []
    for block in kept:
        rows, columns = np.mgrid[8:96:20, 8:96:20].reshape(2, -1)
        points = np.stack([block.region.left + columns, block.region.top + rows], -1).astype(float)
        # Any scene colour would do; those of the wide photograph's pixels are the ones that occur.
        scene = found.lr[points[:, 1].astype(int), points[:, 0].astype(int)].astype(float)
        low, high = shot.map_colours(in_wide(points), scene)
        fit = np.stack(
            [
                found.photometry.apply(
                    colour[None, None].astype(np.float32), np.array([point[0]]), np.array([point[1]])
                )[0, 0]
                for colour, point in zip(high, points, strict=True)
            ]
        )
        usable = (np.minimum(low, high) > 4).all(1) & (np.maximum(low, high) < 250).all(1)
        misses.append(np.abs(fit - low)[usable].ravel())
    return np.concatenate(misses)


def real_shots(data: Path) -> list[tuple[str, Shot]]:
    """Sixteen shots of walls of aligned real pairs."""
    shots = []
    for source, across in (("iphone", 4), ("ntire2019", 2)):
        names = sorted(path.name for path in (data / "real_pairs" / source / "HR").iterdir())
        for index in range(8):
            rng = np.random.default_rng(500 + index)
            chosen = [names[i] for i in rng.permutation(len(names))[: across * across]]
            chosen = (chosen * 4)[: across * across]
            walls = []
            for side in ("LR_samesize", "HR"):
                tiles = [
                    np.array(Image.open(data / "real_pairs" / source / side / name).convert("RGB")) for name in chosen
                ]
                walls.append(np.vstack([np.hstack(tiles[row * across : (row + 1) * across]) for row in range(across)]))
            zoom = float(rng.uniform(1.5, 3.0))
            shot = make_shot([], 900 + index, zoom=zoom, scenes=(walls[0], walls[1]), moved=False, near=False)
            shots.append((f"{source} {index}", shot))
    return shots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train_hr/ and real_pairs/")
    parser.add_argument("--shots", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--part", choices=("score", "tune"), default="score")
    parser.add_argument("--no-real", action="store_true")
    given = parser.parse_args()
    use_threads(1)
    paths = sorted((given.data / "train_hr").iterdir())[1 if given.part == "score" else 0 :: 2]
    photos = [np.array(Image.open(path).convert("RGB")) for path in paths]
    rows: dict[str, list[Row]] = {"synthetic": [], "relief": [], "real": []}
    every: dict[str, list[np.ndarray]] = {"synthetic": [], "relief": [], "real": []}
    for index in range(given.shots + given.shots // 5):
        kind = "synthetic" if index < given.shots else "relief"
        relief_px = 0.0 if kind == "synthetic" else 0.4
        row, _, errors = score(f"{kind} {index}", make_shot(photos, given.seed + index, relief_px=relief_px))
        rows[kind].append(row)
        every[kind].append(errors)
        print(describe(row), flush=True)
    for name, shot in [] if given.no_real else real_shots(given.data):
        row, _, errors = score(name, shot)
        rows["real"].append(row)
        every["real"].append(errors)
        print(describe(row), flush=True)
    summary = {kind: summarise(rows[kind], every[kind]) for kind in rows if rows[kind]}
    print(json.dumps(summary, indent=1))
    if given.part == "score" and given.shots >= 60 and not given.no_real:
        write(rows, summary)


def describe(row: Row) -> str:
    return (
        f"{row.name}: zoom {row.zoom:.2f}, {row.kept}/{row.blocks} kept, error "
        f"{row.error_p50_px:.3f} / {row.error_p95_px:.3f} px, measured {row.measured_p90_px:.3f}, "
        f"dropped {row.dropped_changed}/{row.bad_changed} changed {row.dropped_touched}/{row.bad_touched} touched, "
        f"colour {row.colour_mean:.2f} / {row.colour_p95:.2f}, "
        f"degree {row.degree}, {row.seconds:.1f} s{'' if row.accepted else ' REFUSED: ' + row.sentence}"
    )


def summarise(rows: list[Row], errors: list[np.ndarray]) -> dict[str, float]:
    accepted = [row for row in rows if row.accepted]
    pooled = np.concatenate([found for row, found in zip(rows, errors, strict=True) if row.accepted])

    def recall(bad: str, dropped: str) -> float:
        total = sum(getattr(row, bad) for row in accepted)
        return sum(getattr(row, dropped) for row in accepted) / total if total else 1.0

    return {
        "shots": len(rows),
        "accepted": len(accepted),
        "blocks_kept": sum(row.kept for row in accepted),
        "blocks": sum(row.blocks for row in accepted),
        "error_p50_px": float(np.median(pooled)),
        "error_p95_px": float(np.percentile(pooled, 95)),
        "worst_shot_p95_px": max(row.error_p95_px for row in accepted),
        "shots_within_0.1_px": sum(row.error_p95_px <= 0.1 for row in accepted),
        "recall_changed": recall("bad_changed", "dropped_changed"),
        "bad_changed": sum(row.bad_changed for row in accepted),
        "recall_touched": recall("bad_touched", "dropped_touched"),
        "bad_touched": sum(row.bad_touched for row in accepted),
        "colour_mean_levels": float(np.mean([row.colour_mean for row in accepted])),
        "colour_p95_levels": float(np.mean([row.colour_p95 for row in accepted])),
        "worst_colour_mean_levels": max(row.colour_mean for row in accepted),
        "shots_colour_mean_within_1": sum(row.colour_mean <= 1 for row in accepted),
        "seconds_median": float(np.median([row.seconds for row in rows])),
    }


def write(rows: dict[str, list[Row]], summary: dict[str, dict[str, float]]) -> None:
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    content = {"summary": summary, "rows": {kind: [asdict(row) for row in found] for kind, found in rows.items()}}
    (folder / "pair_truth.json").write_text(json.dumps(content, indent=1) + "\n")
    lines = [
        "# Registration against a known truth",
        "",
        "Written by `benchmarks/pair_truth.py`. Lengths in LR px over points in kept blocks, colours in grey levels.",
        "Synthetic: walls of photographs; real: walls of aligned real pairs, whose own misalignment is included.",
        "",
        "Relief: the same as synthetic, with a smooth displacement of 0.4 wide px that no lens or plane explains.",
        "",
        "| figure | synthetic | relief | real |",
        "|---|---|---|---|",
    ]
    for key in summary["synthetic"]:
        cells = [f"{summary[kind][key]:.3f}".rstrip("0").rstrip(".") if kind in summary else "" for kind in rows]
        lines.append(f"| {key.replace('_', ' ')} | {' | '.join(cells)} |")
    lines += [
        "",
        "| shot | zoom | kept | error p50 px | error p95 px | changed dropped | colour mean | verdict |",
        "|---|" + "---|" * 7,
    ]
    for row in [row for found in rows.values() for row in found]:
        lines.append(
            f"| {row.name} | {row.zoom:.2f} | {row.kept}/{row.blocks} | {row.error_p50_px:.3f} | "
            f"{row.error_p95_px:.3f} | {row.dropped_changed}/{row.bad_changed} | {row.colour_mean:.2f} | "
            f"{'kept' if row.accepted else 'refused: ' + row.sentence} |"
        )
    (folder / "pair_truth.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
