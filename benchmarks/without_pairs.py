"""What training without pairs gains on real pairs: photographs degraded as the camera is estimated to do it.

    python benchmarks/without_pairs.py --shared FOLDER [--cameras iphone cam1 cam2] [--seeds 0 1 2] [--device cuda]

The pairs of each camera are cut, scene by scene, into known ones, whose LR photographs alone are looked at (rows
without pairs), and held-out ones, which are scored on. Sharp photographs of other scenes, `FOLDER/data/train_hr`, are
given an LR side and trained on by `adaptsr adapt`. Rows:

* plain bicubic: trained on the plain reduction, so what training itself does;
* noise only: the plain reduction with the estimated noise and JPEG;
* true function: as the known pairs show the camera (the ceiling of this way);
* likeliest function, and spread: as estimated without pairs; one function, or one draw for each photograph;
* cautious: the fifth of the draws that changes the picture least (see `cautious_draws`);
* auto:FOLDER: as `adaptsr adapt --degrade auto:FOLDER` does it by the known LR photographs: the cautious draws, one
  for each crop;
* spread, half bicubic: every second photograph is reduced plainly, with the same noise and JPEG;
* real pairs: the known pairs themselves; one pair: the first of them alone;
* one pair and photographs: that pair, with as many crops of photographs degraded as it shows the camera.

The guard looks at the known LR photographs, which no row without pairs trains on. Each trial is one line of
``benchmarks/results/without_pairs.jsonl``; those that are there are not made again, and several processes may share the
work by `--shard 0/4` and so on. `--table` only writes ``without_pairs.md`` from what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from adaptsr_cli.artifacts.transfer import IDENTITY, CameraNoise, TransferEstimate  # noqa: E402
from adaptsr_cli.imaging.from_pairs import estimate_from_pairs  # noqa: E402
from adaptsr_cli.imaging.from_photographs import estimate_from_photographs  # noqa: E402
from adaptsr_cli.imaging.guard import consistency, judge_training  # noqa: E402
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph, study_sharp  # noqa: E402
from adaptsr_cli.imaging.training_cameras import camera_of_pairs, cameras_of_spread, likeliest_camera  # noqa: E402
from adaptsr_cli.io.images import list_images, read_rgb, resize_bicubic, write_rgb  # noqa: E402

RESULTS: Final = ROOT / "benchmarks" / "results"
CAMERAS: Final = {"iphone": ("iphone", ""), "cam1": ("ntire2019", "cam1"), "cam2": ("ntire2019", "cam2")}
HELD_OUT: Final = 1 / 3
GUARD_DRAWS: Final = 8

PLAIN, NOISE, TRUE = "plain bicubic", "noise only", "true function"
LIKELIEST, SPREAD, HALF, CAUTIOUS = "likeliest function", "spread", "spread, half bicubic", "cautious"
AUTO: Final = "auto:FOLDER"
PAIRS, ONE_PAIR, ONE_AND_PHOTOS = "real pairs", "one pair", "one pair and photographs"
ROWS: Final = (SPREAD, CAUTIOUS, AUTO, TRUE, PAIRS, HALF, LIKELIEST, PLAIN, NOISE, ONE_PAIR, ONE_AND_PHOTOS)
WITHOUT_PAIRS: Final = frozenset({PLAIN, NOISE, LIKELIEST, SPREAD, HALF, CAUTIOUS, AUTO})

Image = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Scene:
    """One pair of a camera."""

    name: str
    hr: Image
    lr: Image


def main() -> None:
    """Make the trials that are missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("ADAPTSR_SHARED"))
    parser.add_argument("--cameras", nargs="+", choices=tuple(CAMERAS), default=list(CAMERAS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--model", default=None, help="checkpoint; left out: the embedded SAFMN x4")
    parser.add_argument("--scale", type=int, default=4, help="of the checkpoint")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--photographs", type=int, default=200, help="sharp photographs to train on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shard", default="0/1", help="K/N: every N-th trial from the K-th on")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    kept = RESULTS / "without_pairs.jsonl"
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not options.table:
        if options.shared is None:
            parser.error("name the folder by --shared or ADAPTSR_SHARED")
        make_trials(options, kept)
    table = to_markdown(read_rows(kept))
    kept.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def make_trials(options: argparse.Namespace, kept: Path) -> None:
    """All trials of this shard that are not among the lines yet."""
    data = Path(options.shared) / "data"
    part, of = map(int, options.shard.split("/"))
    sharp = [read_rgb(path) for path in list_images(data / "train_hr")]
    keys = [(camera, row, seed) for seed in options.seeds for row in options.rows for camera in options.cameras]
    for camera, row, seed in keys[part::of]:
        key = {
            "camera": camera,
            "row": row,
            "seed": seed,
            "network": Path(options.model).name if options.model else "embedded SAFMN x4",
            "iterations": options.iterations,
            "photographs": options.photographs,
        }
        if any(all(line[name] == value for name, value in key.items()) for line in read_rows(kept)):
            continue
        found = trial(data, sharp, camera, row, seed, options)
        line = json.dumps({**key, "device": options.device, **found}) + "\n"
        # One write of one line at the end of the file, so that several processes do not mix theirs.
        with kept.open("a", encoding="utf-8") as handle:
            handle.write(line)
        print(line, end="", flush=True)


def read_rows(kept: Path) -> list[dict[str, Any]]:
    """The lines so far."""
    return [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []


def trial(
    data: Path, sharp: list[Image], camera: str, row: str, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One training, its score on held-out pairs, and what the guard says."""
    scale = options.scale
    scenes = list(scenes_of(data, camera, scale))
    order = np.random.default_rng(seed).permutation(len(scenes))
    held = max(2, round(HELD_OUT * len(scenes)))
    held_out, known = [scenes[index] for index in order[:held]], [scenes[index] for index in order[held:]]
    rng = np.random.default_rng((seed, 1))
    hr = [to_multiple(sharp[index], scale) for index in rng.permutation(len(sharp))[: options.photographs]]
    estimate = estimate_from_photographs([scene.lr for scene in known], study_sharp(hr, scale), seed=seed)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_pairs(folder / "held_out", held_out)
        for scene in known:
            write_rgb(folder / "known" / f"{scene.name}.png", scene.lr)
        sources = make_sources(folder, row, known, hr, estimate, scale, rng)
        began = time.perf_counter()
        done = adapt(folder, sources, seed, options, folder / "known" if row == AUTO else None)
        seconds = time.perf_counter() - began
        verdict = guard(folder, known, estimate, scale, options) if row in WITHOUT_PAIRS else {}
    return {
        "held_out": sorted(scene.name for scene in held_out),
        "known": len(known),
        **done,
        **verdict,
        "estimate": estimate.transfer.describe(),
        "trustworthy": estimate.trustworthy,
        "reason": estimate.reason,
        "seconds": round(seconds, 1),
    }


def scenes_of(data: Path, camera: str, scale: int) -> Iterator[Scene]:
    """The pairs of a camera; the LR side, which lies on the HR grid, reduced by the antialiased bicubic filter."""
    folder, prefix = CAMERAS[camera]
    for path in list_images(data / "real_pairs" / folder / "HR"):
        if path.name.startswith(prefix):
            hr = to_multiple(read_rgb(path), scale)
            same = to_multiple(read_rgb(path.parents[1] / "LR_samesize" / path.name), scale)
            yield Scene(path.stem, hr, resize_bicubic(same, same.shape[1] // scale, same.shape[0] // scale))


def make_sources(
    folder: Path,
    row: str,
    known: list[Scene],
    hr: list[Image],
    estimate: TransferEstimate,
    scale: int,
    rng: np.random.Generator,
) -> list[str]:
    """Write what the row trains on, and names it as `--data` wants it."""
    if row == PAIRS:
        write_pairs(folder / "pairs", known)
        return [str(folder / "pairs")]
    if row == AUTO:
        for number, photo in enumerate(hr):
            write_rgb(folder / "sharp" / f"{number:04d}.png", photo)
        return [str(folder / "sharp")]
    if row in {ONE_PAIR, ONE_AND_PHOTOS}:
        # Cut in blocks, so that one scene can be split in those to train on and those to watch.
        write_pairs(folder / "pair", list(blocks_of(known[0], scale)))
        if row == ONE_PAIR:
            return [str(folder / "pair")]
    cameras = cameras_of(row, known, len(hr), estimate, scale)
    made = [
        Scene(f"{number:04d}", photo, photograph(photo, scale, camera, rng))
        for number, (photo, camera) in enumerate(zip(hr, cameras, strict=True))
    ]
    write_pairs(folder / "photographs", made)
    return [str(folder / name) for name in (("pair", "photographs") if row == ONE_AND_PHOTOS else ("photographs",))]


def cameras_of(
    row: str, known: list[Scene], count: int, estimate: TransferEstimate, scale: int
) -> list[SimulatedCamera]:
    """What takes each photograph."""
    if row in {TRUE, ONE_AND_PHOTOS}:
        some = known[:1] if row == ONE_AND_PHOTOS else known
        true = estimate_from_pairs([(scene.hr, scene.lr) for scene in some], scale)
        return [camera_of_pairs(true, likeliest_camera(estimate).qualities)] * count
    if row == PLAIN:
        return [SimulatedCamera(IDENTITY, CameraNoise(read_variance=0.0), (None,))] * count
    if row == NOISE:
        return cameras_of_spread(estimate, count, strength=0)
    if row == LIKELIEST:
        return [likeliest_camera(estimate)] * count
    return cameras_of_spread(estimate, count, plain_share=0.5 if row == HALF else 0.0, cautious=row == CAUTIOUS)


def blocks_of(scene: Scene, scale: int, side_px: int = 60) -> Iterator[Scene]:
    """Blocks of a pair, `side_px` LR pixels wide."""
    for top in range(0, scene.lr.shape[0] - side_px + 1, side_px):
        for left in range(0, scene.lr.shape[1] - side_px + 1, side_px):
            y, x = top * scale, left * scale
            yield Scene(
                f"{scene.name}_{top:04d}_{left:04d}",
                scene.hr[y : y + side_px * scale, x : x + side_px * scale],
                scene.lr[top : top + side_px, left : left + side_px],
            )


def write_pairs(folder: Path, scenes: list[Scene]) -> None:
    """As ``hr/`` and ``lr/``."""
    for scene in scenes:
        for side, picture in (("hr", scene.hr), ("lr", scene.lr)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            write_rgb(folder / side / f"{scene.name}.png", picture)


def adapt(
    folder: Path, sources: list[str], seed: int, options: argparse.Namespace, camera: Path | None
) -> dict[str, Any]:
    """`adaptsr adapt` with the fast preset; mean PSNR and SSIM before and after on the held-out pairs.

    `camera` is a folder of LR photographs, for `--degrade auto:FOLDER`.
    """
    command = ["adapt", "--run", str(folder / "run"), "--test", str(folder / "held_out"), "--preset", "fast"]
    command += [part for source in sources for part in ("--data", source)]
    command += ["--iterations", str(options.iterations), "--seed", str(seed), "--device", options.device]
    command += ["--metrics", "psnr,ssim", "--offline", "--json"]
    command += ["--model", options.model] if options.model else []
    command += ["--degrade", f"auto:{camera}"] if camera is not None else []
    call(command, options.threads)
    report = json.loads((folder / "run" / "eval.json").read_text(encoding="utf-8"))
    before, after = (
        next(model["metrics"] for model in report["models"] if model["name"] == name) for name in ("backbone", "merged")
    )
    return {
        "psnr_y_db": [round(before["psnr_y_db"], 4), round(after["psnr_y_db"], 4)],
        "ssim_y": [round(before["ssim_y"], 5), round(after["ssim_y"], 5)],
    }


def guard(
    folder: Path, known: list[Scene], estimate: TransferEstimate, scale: int, options: argparse.Namespace
) -> dict[str, Any]:
    """The guard's verdict over the known LR photographs and some draws of the transfer function."""
    errors = {}
    for name, strength in (("backbone", "0"), ("trained", "1")):
        target = folder / name
        command = ["upscale", str(folder / "known"), "--output", str(target), "--run", str(folder / "run")]
        command += ["--strength", strength, "--device", options.device, "--suffix", "_up", "--offline"]
        call(command, options.threads)
        errors[name] = np.array(
            [
                [
                    consistency(read_rgb(target / f"{scene.name}_up.png"), scene.lr, transfer, scale)
                    for transfer in estimate.draws[:GUARD_DRAWS]
                ]
                for scene in known
            ]
        )
    verdict = judge_training(errors["backbone"], errors["trained"])
    return {
        "guard_keeps": verdict.keep,
        "guard_gain_levels": round(verdict.gain_levels, 4),
        "guard_error_levels": round(verdict.error_levels, 4),
        "guard_reason": verdict.reason,
    }


def call(command: list[str], threads: int) -> None:
    """Run the program as a user does, with this checkout's package."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "adaptsr_cli", *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"adaptsr {' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def to_multiple(rgb: Image, scale: int) -> Image:
    """Cut to sides that are multiples of the scale."""
    return rgb[: rgb.shape[0] // scale * scale, : rgb.shape[1] // scale * scale]


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Gain over the backbone for each row and camera, mean over seeds, and the guard's record."""
    lines = [
        "Made by `python benchmarks/without_pairs.py`. PSNR-Y on held-out real pairs, gain over the backbone in dB."
    ]
    for network in dict.fromkeys(row["network"] for row in rows):
        these = [row for row in rows if row["network"] == network]
        cameras = [camera for camera in CAMERAS if any(row["camera"] == camera for row in these)]
        lines += [
            "",
            f"**{network}**",
            "",
            "| trained on | " + " | ".join(cameras) + " |",
            "|---" * (1 + len(cameras)) + "|",
        ]
        for name in ROWS:
            cells = []
            for camera in cameras:
                gains = [
                    row["psnr_y_db"][1] - row["psnr_y_db"][0]
                    for row in these
                    if row["row"] == name and row["camera"] == camera
                ]
                spread = f" ± {np.std(gains, ddof=1):.2f}" if len(gains) > 1 else ""
                cells.append(f"{np.mean(gains):+.2f}{spread} ({len(gains)})" if gains else "")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    judged = [row for row in rows if "guard_keeps" in row]
    if judged:
        harmful = [row for row in judged if row["psnr_y_db"][1] < row["psnr_y_db"][0]]
        good = [row for row in judged if row["psnr_y_db"][1] >= row["psnr_y_db"][0]]
        kept, lost = sum(row["guard_keeps"] for row in harmful), sum(not row["guard_keeps"] for row in good)
        lines += [
            "",
            f"The guard kept {kept} of {len(harmful)} harmful trainings and lost {lost} of {len(good)} good ones.",
        ]
        sure = [row for row in judged if row["trustworthy"]]
        lines += [f"The estimate called itself trustworthy in {len(sure)} of {len(judged)} trials."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
