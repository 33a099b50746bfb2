"""How well a camera's transfer function is estimated without pairs, on cameras that are known.

    python benchmarks/transfer_estimate.py --shared FOLDER [--part report] [--cameras 200]

`FOLDER/data/train_hr` is cut into four parts that share no photograph: the cameras' photographs and the sharp ones, to
develop with and to report with. Every camera (blur 0 to 3 HR px, sharpening 0 to 1.2, noise 0 to 10 levels, JPEG none
or 75 to 95) takes its photographs at x4. One line is kept per estimate, and those that are there already are not made
again. Writes ``benchmarks/results/transfer_estimate.json``, ``.md`` and ``.png``. Real cameras: `transfer_real.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from adaptsr_cli.artifacts.transfer import Band, CameraNoise, TransferEstimate, TransferFunction  # noqa: E402
from adaptsr_cli.imaging.from_photographs import DIFFERENT_SCENES, estimate_from_photographs  # noqa: E402
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph, study_sharp  # noqa: E402
from adaptsr_cli.imaging.training_cameras import cautious_draws  # noqa: E402
from adaptsr_cli.io.images import list_images, read_rgb  # noqa: E402

SCALE: Final = 4
RESULTS: Final = ROOT / "benchmarks" / "results"
COUNTS: Final = (1, 2, 3, 5, 10, 20, 50)
MAIN_COUNT: Final = 10
# Changes of m, averaged over frequency, that are worth a statement.
SEEN: Final = 0.03
CURVE_CAMERAS: Final = 20
# Quarters of the folder: photographs for the cameras, sharp photographs; and the seed of the cameras.
PARTS: Final = {"develop": (0, 1, 1), "report": (2, 3, 2)}


def main() -> None:
    """Estimate what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("ADAPTSR_SHARED"))
    parser.add_argument("--part", choices=tuple(PARTS), default="report")
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--no-curve", action="store_true", help="only as many photographs as in the main table")
    options = parser.parse_args()
    if options.shared is None:
        parser.error("name the folder by --shared or ADAPTSR_SHARED")
    torch.set_num_threads(1)
    data = Path(options.shared) / "data"
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / f"transfer_estimate_{options.part}.jsonl"
    known = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    rows = estimate_known(data / "train_hr", options, known, kept)
    name = "transfer_estimate" if options.part == "report" else f"transfer_estimate_{options.part}"
    report = {"part": options.part, "summary": summary(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(to_markdown(report), encoding="utf-8")
    draw(report, RESULTS / f"{name}.png")
    print(to_markdown(report))


def estimate_known(folder: Path, options: argparse.Namespace, known: list[dict[str, Any]], kept: Path) -> list[Any]:
    """One row for each known camera and number of photographs."""
    taken_of, sharp_part, seed = PARTS[options.part]
    paths = list_images(folder)
    order = np.random.default_rng(0).permutation(len(paths))
    quarter = len(paths) // 4
    parts = [[paths[index] for index in order[part * quarter : (part + 1) * quarter]] for part in range(4)]
    scenes = [to_multiple(read_rgb(path)) for path in parts[taken_of]]
    sharp = study_sharp([read_rgb(path) for path in parts[sharp_part]], SCALE)
    rows = list(known)
    done = {(row["camera"], row["photographs"], row["different_scenes"]) for row in known}
    jobs = [(camera, MAIN_COUNT, 0.0) for camera in range(options.cameras)]
    if not options.no_curve:
        curve = range(0, options.cameras, max(1, options.cameras // CURVE_CAMERAS))
        jobs += [(camera, count, 0.0) for count in COUNTS if count != MAIN_COUNT for camera in curve]
        jobs += [(camera, MAIN_COUNT, DIFFERENT_SCENES) for camera in curve]
    for number, count, different in jobs:
        if (number, count, different) in done:
            continue
        rng = np.random.default_rng((seed, number))
        camera = draw_camera(rng)
        chosen = np.random.default_rng((seed, number, 1)).permutation(len(scenes))[:count]
        taken = [photograph(scenes[index], SCALE, camera, rng) for index in chosen]
        began = time.perf_counter()
        found = estimate_from_photographs(
            taken, sharp, file_qualities=[camera.qualities[0]] * count, different_scenes=different, seed=number
        )
        rows.append(row_of(number, count, different, camera, found, time.perf_counter() - began))
        with kept.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(rows[-1]) + "\n")
    return rows


def draw_camera(rng: np.random.Generator) -> SimulatedCamera:
    """A camera of the range that is asked for; one in three neither stores JPEG, one in three does not sharpen."""
    sharpening = 0.0 if rng.random() < 1 / 3 else float(rng.uniform(0, 1.2))
    transfer = TransferFunction(
        blur_px=float(rng.uniform(0, 3)), sharpening=sharpening, radius_px=float(np.exp(rng.uniform(*np.log((1.5, 5)))))
    )
    levels, shot = float(rng.uniform(0, 10)), float(rng.uniform(0, 1))
    noise = CameraNoise(read_variance=levels**2 * (1 - shot), shot_variance=levels**2 * shot / 127.5)
    return SimulatedCamera(transfer, noise, (None if rng.random() < 1 / 3 else int(rng.integers(75, 96)),))


def row_of(
    number: int, count: int, different: float, camera: SimulatedCamera, found: TransferEstimate, seconds: float
) -> dict[str, Any]:
    """What is kept of one estimate."""
    band = found.band
    true = camera.transfer.at(np.array(band.frequency))

    def short(values: Any) -> list[float]:
        return [round(float(value), 4) for value in values]

    return {
        "camera": number,
        "photographs": count,
        "different_scenes": different,
        "blur_px": round(camera.transfer.blur_px, 3),
        "sharpening": round(camera.transfer.sharpening, 3),
        "radius_px": round(camera.transfer.radius_px, 3),
        "noise_levels": round(camera.noise.levels, 3),
        "jpeg": camera.qualities[0],
        "found_noise_levels": round(found.noise.levels, 3),
        "true": short(true),
        "median": short(band.median),
        "low": short(band.low),
        "high": short(band.high),
        "spectra": short(found.by_spectra.median) if found.by_spectra else None,
        "edges": short(found.by_edges.median) if found.by_edges else None,
        "cautious": short(middle_of(cautious_draws(found)).at(np.array(band.frequency))),
        "trustworthy": found.trustworthy,
        "reason": found.reason,
        "misfit": round(found.misfit, 2),
        "seconds": round(seconds, 2),
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each number of photographs."""
    found = []
    for different, count in sorted({(row["different_scenes"], row["photographs"]) for row in rows}):
        these = [row for row in rows if row["photographs"] == count and row["different_scenes"] == different]
        true, median, low, high = (np.array([row[key] for row in these]) for key in ("true", "median", "low", "high"))
        error = np.abs(median - true)  # (cameras, frequencies)
        inside = (low <= true + 1e-3) & (true <= high + 1e-3)
        trusted = np.array([row["trustworthy"] for row in these])
        found.append(
            {
                "photographs": count,
                "different_scenes": different,
                "cameras": len(these),
                "median_error": round(float(np.median(error)), 4),
                "p90_error": round(float(np.quantile(error, 0.9)), 4),
                "p90_error_trusted": round(float(np.quantile(error[trusted], 0.9)), 4) if trusted.any() else None,
                "plain_median_error": round(float(np.median(np.abs(1 - true))), 4),
                "coverage": round(float(inside.mean()), 4),
                "trusted": round(float(trusted.mean()), 4),
                "width": round(float(np.median((high - low).max(axis=1))), 4),
                "median_error_at": [round(float(v), 4) for v in np.median(error, axis=0)],
                "p90_error_at": [round(float(v), 4) for v in np.quantile(error, 0.9, axis=0)],
                "coverage_at": [round(float(v), 3) for v in inside.mean(axis=0)],
                "spectra_error": median_of(these, "spectra"),
                "edges_error": median_of(these, "edges"),
                "noise_error": round(
                    float(np.median([abs(row["found_noise_levels"] - row["noise_levels"]) for row in these])), 3
                ),
                **cautious_record(these),
                **share_record(these),
                "seconds": round(float(np.median([row["seconds"] for row in these])), 2),
            }
        )
    return found


def cautious_record(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often a choice is worse than plain reduction by over 0.01 of m, averaged over frequency, and its mean error.

    Of the likeliest function and the cautious one; lines from before the cautious one was kept are left out.
    """
    rows = [row for row in rows if "cautious" in row]
    found: dict[str, Any] = {"cameras_of_cautious": len(rows)}
    for name in ("median", "cautious"):
        off = [np.abs(np.array(row[name]) - row["true"]).mean() for row in rows]
        plain = [np.abs(1 - np.array(row["true"])).mean() for row in rows]
        found[f"{name}_worse_than_plain"] = sum(bool(a > b + 0.01) for a, b in zip(off, plain, strict=True))
        found[f"{name}_mean_error"] = round(float(np.mean(off)), 4) if rows else None
    return found


def share_record(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How much of the estimated change the true camera does, by least squares over frequency, where it is not tiny."""
    shares = []
    for row in rows:
        found, true = np.array(row["median"]) - 1, np.array(row["true"]) - 1
        if np.abs(found).mean() > SEEN:
            shares.append(float(found @ true / (found @ found)))
    return {"cameras_with_share": len(shares), "at_least_half": sum(share >= 0.5 for share in shares)}


def median_of(rows: list[dict[str, Any]], witness: str) -> float | None:
    """The median error of one witness by itself, where it had anything to say."""
    errors = [np.abs(np.array(row[witness]) - row["true"]) for row in rows if row[witness] is not None]
    return round(float(np.median(errors)), 4) if errors else None


def middle_of(draws: tuple[TransferFunction, ...], scale: int = SCALE) -> TransferFunction:
    """The draw in the middle, by its gain at middle frequencies."""
    return sorted(draws, key=lambda draw: float(draw.at(Band.grid(scale))[8:16].mean()))[len(draws) // 2]


def to_multiple(rgb: Any) -> Any:
    """Cut to sides that are multiples of the scale."""
    return rgb[: rgb.shape[0] // SCALE * SCALE, : rgb.shape[1] // SCALE * SCALE]


def to_markdown(report: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "Made by `python benchmarks/transfer_estimate.py`, one CPU thread. Known cameras at x4: blur 0 to 3 HR px,",
        "sharpening 0 to 1.2 of radius 1.5 to 5, noise 0 to 10 levels, JPEG none or 75 to 95. Errors are of m(f), over",
        "all cameras and frequencies from 1/48 to 23/48 cycles per LR pixel; the band is meant to hold 90 %.",
        "",
        "| photographs | cameras | median error | 90th percentile | of the trusted | plain bicubic, median "
        "| in the band | trusted | spectra alone | edges alone | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["summary"]:
        allowed = f" (scenes may differ by {row['different_scenes']:g})" if row["different_scenes"] else ""
        lines.append(
            f"| {row['photographs']}{allowed} | {row['cameras']} | {row['median_error']:.3f} | {row['p90_error']:.3f} "
            f"| {row['p90_error_trusted'] if row['p90_error_trusted'] is not None else 'none'} "
            f"| {row['plain_median_error']:.3f} "
            f"| {row['coverage']:.1%} | {row['trusted']:.0%} | {row['spectra_error']} | {row['edges_error']} "
            f"| {row['seconds']} |"
        )
    for row in report["summary"]:
        if row["photographs"] == MAIN_COUNT and not row["different_scenes"]:
            kept, of = row["at_least_half"], row["cameras_with_share"]
            lines += ["", f"{MAIN_COUNT} photographs: the true camera does at least half of the estimated change in "
                      f"{kept} of the {of} cameras where that is {SEEN} of m or more."]  # fmt: skip
    for row in report["summary"]:
        if row["cameras_of_cautious"] and row["photographs"] == MAIN_COUNT:
            lines += [
                "",
                f"{row['photographs']} photographs, {row['cameras_of_cautious']} cameras (scenes may differ by "
                f"{row['different_scenes']:g}): worse than plain bicubic by more than 0.01 of m: the median "
                f"{row['median_worse_than_plain']} times, the cautious draws {row['cautious_worse_than_plain']} times; "
                f"mean error {row['median_mean_error']} and {row['cautious_mean_error']}.",
            ]
    main_rows = [row for row in report["summary"] if row["photographs"] == MAIN_COUNT and not row["different_scenes"]]
    for row in main_rows:
        lines += [
            "",
            f"Over frequency, {row['photographs']} photographs:",
            "",
            "| cycles per HR px | median error | 90th percentile | in the band |",
            "|---|---|---|---|",
        ]
        for index in range(1, 23, 3):
            lines.append(
                f"| {Band.grid(SCALE)[index]:.3f} | {row['median_error_at'][index]:.3f} "
                f"| {row['p90_error_at'][index]:.3f} | {row['coverage_at'][index]:.0%} |"
            )
    return "\n".join(lines) + "\n"


def draw(report: dict[str, Any], target: Path) -> None:
    """The error against the number of photographs."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.6, 3.4))
    rows = [row for row in report["summary"] if not row["different_scenes"]]
    counts = [row["photographs"] for row in rows]
    axes.loglog(counts, [row["median_error"] for row in rows], "o-", label="median")
    axes.loglog(counts, [row["p90_error"] for row in rows], "s-", label="90th percentile")
    axes.set(xlabel="photographs of the camera", ylabel="error of m(f)", title="known cameras")
    axes.legend()
    figure.tight_layout()
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
