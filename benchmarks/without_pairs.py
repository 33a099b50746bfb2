"""What training without pairs, or with few, gains on real pairs.

    python benchmarks/without_pairs.py --shared FOLDER [--cameras iphone cam1 cam2] [--seeds 0 1 2] [--device cuda]

The pairs of each camera are cut, scene by scene, into known ones, whose LR photographs alone are looked at (rows
without pairs), and held-out ones, which are scored on. Sharp photographs of other scenes, `FOLDER/data/train_hr`, are
given an LR side and trained on by `adaptsr adapt`, which chooses the strength by its guard in rows marked by *:

* the default*: `adaptsr adapt --degrade auto:FOLDER` with the known LR photographs, search included;
* likeliest function*, and spread*: the same, but of the estimate the median function, or all draws;
* noise only*: the plain reduction with the estimated noise and JPEG;
* plain bicubic: trained on the plain reduction, so what training itself does;
* realesrgan: on the random degradations of Real-ESRGAN, which know no camera;
* kernel by a GAN: photographs reduced by the kernel that `kernel_gan.py` finds in the known LR photographs;
* correction filter: no training, but the LR image filtered to what a bicubic reduction would be (Hussein et al. 2020);
* true function: as the known pairs show the camera, in full, so beside their own HR side;
* true function beside the photographs: that times how sharp their HR side is beside the sharp photographs, so all that
  an estimate without pairs can find;
* real pairs: the known pairs themselves; one pair: blocks of the first of them alone;
* one pair and photographs: `adapt --degrade pairs` with those blocks and the sharp photographs.

`--cameras` takes simulated cameras too, of `FOLDER/data/test_sr/BSD100`: a few that were thought of, which show three
LR photographs each, and a dozen that were drawn at random (`drawn 1` and so on), which show twelve.

Each trial is one line of ``benchmarks/results/without_pairs.jsonl``; those that are there are not made again, and
several processes may share the work by `--shard 0/4` and so on. `--table` only writes ``without_pairs.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from adaptsr_cli.artifacts.degradation import CameraTransfer, DegradationRecord  # noqa: E402
from adaptsr_cli.artifacts.transfer import IDENTITY, TransferEstimate, TransferFunction  # noqa: E402
from adaptsr_cli.imaging.from_pairs import estimate_from_pairs  # noqa: E402
from adaptsr_cli.imaging.from_photographs import estimate_from_photographs  # noqa: E402
from adaptsr_cli.imaging.measure_camera import degradation_of_camera  # noqa: E402
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph, study_sharp  # noqa: E402
from adaptsr_cli.io.documents import read_document, write_document  # noqa: E402
from adaptsr_cli.io.images import list_images, read_rgb, write_rgb  # noqa: E402
from benchmarks.camera_scenes import (  # noqa: E402
    CAMERAS,
    CHOSEN,
    FEW,
    SIMULATED,
    Image,
    Scene,
    blocks_of,
    hr_side_of,
    product_of,
    scenes_of,
    to_multiple,
    write_pairs,
)
from benchmarks.kernel_gan import estimate_kernel, reduce_by  # noqa: E402
from benchmarks.without_pairs_table import to_markdown  # noqa: E402

RESULTS: Final = ROOT / "benchmarks" / "results"
HELD_OUT: Final = 1 / 3

DEFAULT, PLAIN, NOISE, TRUE = "the default", "plain bicubic", "noise only", "true function"
TRUE_BESIDE = "true function beside the photographs"
REALESRGAN = "realesrgan"
LIKELIEST, SPREAD, FILTER = "likeliest function", "spread", "correction filter"
KERNEL_GAN = "kernel by a GAN"
TRAINING: Final = "Muon, recoloured crops"  # the default of this version; lines of older ones are kept beside it
MOST_MEASURED: Final = "Muon"  # that of which there are lines of all networks and of most kinds of training
PAIRS, ONE_PAIR, ONE_AND_PHOTOS = "real pairs", "one pair", "one pair and photographs"
ROWS: Final = (
    DEFAULT, TRUE, TRUE_BESIDE, PAIRS, ONE_PAIR, ONE_AND_PHOTOS,
    FILTER, KERNEL_GAN, NOISE, PLAIN, REALESRGAN, SPREAD, LIKELIEST,
)  # fmt: skip
GUARDED: Final = frozenset({DEFAULT, NOISE, LIKELIEST, SPREAD})
NEED_ESTIMATE: Final = frozenset({FILTER, *GUARDED} - {DEFAULT})  # which makes its own
# Of the filter's inverse, what it may divide by at the least, squared: noise over the power of the picture.
LEAST_POWER: Final = 0.01


def main() -> None:
    """Make the trials that are missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("ADAPTSR_SHARED"))
    parser.add_argument("--cameras", nargs="+", choices=(*CAMERAS, *SIMULATED), default=list(CAMERAS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--model", default=None, help="checkpoint; left out: the embedded SAFMN x4")
    parser.add_argument("--scale", type=int, default=4, help="of the checkpoint")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--photographs", type=int, default=200, help="sharp photographs to train on")
    parser.add_argument("--recolour", type=float, default=None, help="share of crops; left out: the default")
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
    table = to_markdown(read_rows(kept), ROWS, (DEFAULT, TRUE), MOST_MEASURED, ONE_PAIR)
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
            "training": TRAINING if options.recolour is None else f"Muon, recolour {options.recolour:g}",
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
    known = known[:FEW] if camera in CHOSEN else known
    rng = np.random.default_rng((seed, 1))
    hr = [to_multiple(sharp[index], scale) for index in rng.permutation(len(sharp))[: options.photographs]]
    estimate = None
    if row in NEED_ESTIMATE:
        estimate = estimate_from_photographs([scene.lr for scene in known], study_sharp(hr, scale), seed=seed)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_pairs(folder / "held_out", held_out)
        began = time.perf_counter()
        if row == FILTER:
            assert estimate is not None
            done = score_filtered(folder, held_out, estimate.transfer, options)
        else:
            sources, degrade = make_sources(folder, row, known, hr, estimate, scale, rng)
            done = adapt(folder, sources, degrade, seed, options)
        seconds = time.perf_counter() - began
        if row == DEFAULT:
            found = read_document(folder / "run" / "degradation.json", DegradationRecord).estimate
            assert isinstance(found, TransferEstimate)
            estimate = found
    told = {}
    if estimate:
        told = {"estimate": estimate.transfer.describe(), "trustworthy": estimate.trustworthy}
        told["explains_photographs"] = estimate.explains_photographs
    return {
        "held_out": sorted(scene.name for scene in held_out),
        "known": len(known),
        **done,
        **told,
        "seconds": round(seconds, 1),
    }


def make_sources(
    folder: Path,
    row: str,
    known: list[Scene],
    hr: list[Image],
    estimate: TransferEstimate | None,
    scale: int,
    rng: np.random.Generator,
) -> tuple[list[Path], str | None]:
    """Write what the row trains on, and name it as `--data` and `--degrade` want it."""
    if row == PAIRS:
        write_pairs(folder / "pairs", known)
        return [folder / "pairs"], None
    if row in {TRUE, TRUE_BESIDE}:
        true = estimate_from_pairs([(scene.hr, scene.lr) for scene in known], scale)
        transfer = true.transfer
        if row == TRUE_BESIDE:
            transfer = product_of(transfer, hr_side_of(known, study_sharp(hr, scale)).transfer, scale)
        camera = SimulatedCamera(transfer, true.noise, (None,))
        made = [Scene(f"{number:04d}", photo, photograph(photo, scale, camera, rng)) for number, photo in enumerate(hr)]
        write_pairs(folder / "photographs", made)
        return [folder / "photographs"], None
    if row == KERNEL_GAN:
        kernel = estimate_kernel([scene.lr for scene in known], int(rng.integers(2**31)))
        made = [Scene(f"{number:04d}", photo, reduce_by(kernel, photo, scale)) for number, photo in enumerate(hr)]
        write_pairs(folder / "photographs", made)
        return [folder / "photographs"], None
    if row in {ONE_PAIR, ONE_AND_PHOTOS}:
        # Cut in blocks, so that one scene can be split in those to train on and those to watch.
        write_pairs(folder / "pair", list(blocks_of(known[0], scale)))
        if row == ONE_PAIR:
            return [folder / "pair"], None
    for number, photo in enumerate(hr):
        write_rgb(folder / "sharp" / f"{number:04d}.png", photo)
    if row == ONE_AND_PHOTOS:
        return [folder / "pair", folder / "sharp"], "pairs"
    if row in {PLAIN, REALESRGAN}:
        return [folder / "sharp"], "bicubic" if row == PLAIN else row
    if row == DEFAULT:
        for scene in known:
            write_rgb(folder / "known" / f"{scene.name}.png", scene.lr)
        return [folder / "sharp"], f"auto:{folder / 'known'}"
    assert estimate is not None
    record = DegradationRecord(degradation=degradation_of_camera(estimate, scale), estimate=estimate)
    transfer = CameraTransfer(functions=functions_of(row, estimate), scale=scale)
    steps = (transfer, *record.degradation.steps[1:])
    degradation = record.degradation.model_copy(update={"steps": steps})
    write_document(folder / "degradation.json", record.model_copy(update={"degradation": degradation}))
    return [folder / "sharp"], str(folder / "degradation.json")


def functions_of(row: str, estimate: TransferEstimate) -> tuple[TransferFunction, ...]:
    """What is drawn from for each crop."""
    return {
        SPREAD: estimate.draws,
        LIKELIEST: (estimate.transfer,),
        NOISE: (IDENTITY,),
    }[row]


def adapt(
    folder: Path, sources: list[Path], degrade: str | None, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """`adaptsr adapt` with its defaults: scores on held-out pairs; of a guarded adapter at every strength."""
    run = folder / "run"
    command = ["adapt", "--run", str(run), "--test", str(folder / "held_out"), "--preset", "fast"]
    command += [part for source in sources for part in ("--data", str(source))]
    command += ["--iterations", str(options.iterations), "--seed", str(seed), "--device", options.device]
    command += ["--metrics", "psnr,ssim", "--offline", "--json"]
    command += ["--model", options.model] if options.model else []
    command += ["--degrade", degrade] if degrade is not None else []
    command += ["--recolour", str(options.recolour)] if options.recolour is not None else []
    call(command, options.threads)
    before, after = read_scores(run)
    chart = json.loads((run / "eval.json").read_text(encoding="utf-8"))["colour_chart"]
    done = {
        "psnr_y_db": [before["psnr_y_db"], after["psnr_y_db"]],
        "ssim_y": [before["ssim_y"], after["ssim_y"]],
        "broken_colours": [chart["broken"][name] for name in ("backbone", "merged")] if chart else None,
    }
    guard = run / "training" / "guard.json"
    if guard.exists():
        found = json.loads(guard.read_text(encoding="utf-8"))
        done["strength"] = found["strength"]
        for name in ("low_db", "median_db"):
            done[name] = [round(gain, 3) for gain in found[name]]
        true = {0.0: before["psnr_y_db"], found["strength"]: after["psnr_y_db"]}
        strengths = sorted({*found["strengths"], 1.0})
        for strength in strengths:
            if strength not in true:
                call(["merge", "--run", str(run), "--strength", str(strength), "--offline", "--force"], options.threads)
                alone = folder / f"at_{strength}"
                score(alone, folder / "held_out", str(run / "merged.safetensors"), options)
                true[strength] = read_scores(alone)[0]["psnr_y_db"]
        done["gains_db"] = [round(true[strength] - true[0.0], 4) for strength in strengths]
        done["as_trained_psnr_y_db"] = true[1.0]
    return done


def score_filtered(
    folder: Path, held_out: list[Scene], transfer: TransferFunction, options: argparse.Namespace
) -> dict[str, Any]:
    """The backbone on the held-out LR images, and on these filtered by the regularised inverse of the function."""
    filtered = [Scene(scene.name, scene.hr, correct(scene.lr, transfer, options.scale)) for scene in held_out]
    write_pairs(folder / "filtered", filtered)
    found = []
    for name in ("held_out", "filtered"):
        run = folder / f"run_{name}"
        score(run, folder / name, options.model, options)
        found.append(read_scores(run)[0])
    return {name: [scores[name] for scores in found] for name in ("psnr_y_db", "ssim_y")}


def correct(lr: Image, transfer: TransferFunction, scale: int) -> Image:
    """Filter an LR image by m / (m^2 + LEAST_POWER), its border continued outwards."""
    margin = 16
    padded = np.pad(lr.astype(np.float64), ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    fy, fx = np.fft.fftfreq(padded.shape[0])[:, None], np.fft.rfftfreq(padded.shape[1])[None]
    gain = transfer.at_2d(fy / scale, fx / scale)
    inverse = gain / (np.square(gain) + LEAST_POWER) * (1 + LEAST_POWER)  # 1 at frequency 0
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * inverse[..., None]
    whole = np.fft.irfft2(spectrum, s=padded.shape[:2], axes=(0, 1))[margin:-margin, margin:-margin]
    return np.clip(np.rint(whole), 0, 255).astype(np.uint8)


def score(run: Path, data: Path, model: str | None, options: argparse.Namespace) -> None:
    """`adaptsr eval` of one model, in a run folder of its own."""
    command = ["eval", "--run", str(run), "--data", str(data), "--metrics", "psnr,ssim", "--offline"]
    command += ["--device", options.device]
    command += ["--model", model] if model else []
    call(command, options.threads)


def read_scores(run: Path) -> list[dict[str, float]]:
    """Mean PSNR-Y and SSIM-Y of the backbone, and of the merged model where there is one."""
    report = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    found = {model["name"]: model["metrics"] for model in report["models"]}
    backbone = next(iter(found)) if len(found) == 1 else "backbone"
    names = [backbone, *(name for name in found if name == "merged")]
    digits = {"psnr_y_db": 4, "ssim_y": 5}
    return [{key: round(found[name][key], places) for key, places in digits.items()} for name in names]


def call(command: list[str], threads: int) -> None:
    """Run the program as a user does, with this checkout's package."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "adaptsr_cli", *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"adaptsr {' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
