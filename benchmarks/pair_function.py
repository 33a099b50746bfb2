"""Whether the function and noise that pairs show explain the LR side of other pairs of the same camera.

    python benchmarks/pair_function.py --shared FOLDER

A third of each camera's pairs is left out of the estimate. Their HR side is degraded by it and compared with their LR
side: PSNR of brightness beside that of the plain reduction, the shift that is left (phase correlation, its peak fitted
by a parabola), the mean colour, and what is left over by the contrast of the place, beside what the noise of the
estimate promises there. Written to ``benchmarks/results/pair_function.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from adaptsr_cli.artifacts.transfer import PairEstimate, TransferFunction  # noqa: E402
from adaptsr_cli.imaging.camera_noise import brightness_of, contrast_of  # noqa: E402
from adaptsr_cli.imaging.estimate_jpeg_quality import find_jpeg_quality  # noqa: E402
from adaptsr_cli.imaging.from_pairs import estimate_from_pairs  # noqa: E402
from adaptsr_cli.imaging.sharp_photographs import reduce_to_lr  # noqa: E402
from adaptsr_cli.imaging.transfer_function import apply_transfer  # noqa: E402
from benchmarks.camera_scenes import CAMERAS, Scene, scenes_of  # noqa: E402

RESULTS: Final = ROOT / "benchmarks" / "results"
SCALE: Final = 4
BORDER: Final = 6
HELD_OUT: Final = 1 / 3
# Ends of the classes of contrast, in grey levels.
CONTRASTS: Final = (0, 1, 2, 4, 8, 16, 32, 256)

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64


def main() -> None:
    """Compare for each camera, and write what is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("ADAPTSR_SHARED"))
    options = parser.parse_args()
    if options.shared is None:
        parser.error("name the folder by --shared or ADAPTSR_SHARED")
    found = {camera: compare(list(scenes_of(options.shared / "data", camera, SCALE))) for camera in CAMERAS}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "pair_function.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    table = to_markdown(found)
    (RESULTS / "pair_function.md").write_text(table, encoding="utf-8")
    print(table)


def compare(scenes: list[Scene]) -> dict[str, Any]:
    """Estimate from two thirds of the scenes and look at the others."""
    order = np.random.default_rng(0).permutation(len(scenes))
    held = max(2, round(HELD_OUT * len(scenes)))
    held_out, known = [scenes[index] for index in order[:held]], [scenes[index] for index in order[held:]]
    estimate = estimate_from_pairs([(scene.hr, scene.lr) for scene in known], SCALE)
    pictures = [look_at(scene, estimate) for scene in held_out]
    left, contrast = (np.concatenate([picture.pop(key) for picture in pictures]) for key in ("left", "contrast"))
    return {
        "known": len(known),
        "held_out": [scene.name for scene in held_out],
        "estimate": estimate.describe(),
        "coherence_at_nyquist": round(estimate.coherence[-1], 2),
        **{key: round(float(np.mean([picture[key] for picture in pictures])), 3) for key in pictures[0]},
        "jpeg": [find_jpeg_quality(scene.lr) for scene in held_out],
        "left_over": by_contrast(left, contrast, estimate),
    }


def look_at(scene: Scene, estimate: PairEstimate) -> dict[str, Any]:
    """One held-out pair: figures, and what is left over with the contrast there."""
    taken = scene.lr.astype(np.float64)
    predicted = predict(scene, estimate.transfer)
    grey = [inner(brightness_of(picture)) for picture in (taken, predicted, predict(scene, None))]
    shift = shift_between(grey[1], grey[0])
    inside = inner(taken - predicted)
    return {
        "plain_db": psnr(grey[2], grey[0]),
        "half_db": psnr(inner(brightness_of(predict(scene, estimate.transfer.between(0.5)))), grey[0]),
        "function_db": psnr(grey[1], grey[0]),
        "shift_lr_px": float(np.hypot(*shift)),
        "colour_levels": float(np.abs(inside.mean(axis=(0, 1))).mean()),
        "left": (inside - inside.mean(axis=(0, 1))).reshape(-1),
        "contrast": inner(contrast_of(predicted)).reshape(-1),
    }


def predict(scene: Scene, transfer: TransferFunction | None) -> Floats:
    """The LR side without noise, by the function or by the plain reduction."""
    return reduce_to_lr(scene.hr.astype(np.float32) if transfer is None else apply_transfer(transfer, scene.hr), SCALE)


def by_contrast(left: Floats, contrast: Floats, estimate: PairEstimate) -> list[list[float]]:
    """Of each class: mean contrast, standard deviation of what is left over, and that of the estimate's noise."""
    rows = []
    for low, high in pairwise(CONTRASTS):
        inside = (contrast >= low) & (contrast < high)
        if np.count_nonzero(inside) > 500:
            mean = float(contrast[inside].mean())
            promised = float(estimate.noise.deviation(np.array(127.5), mean))
            rows.append([round(mean, 2), round(float(left[inside].std()), 2), round(promised, 2)])
    return rows


def shift_between(reference: Floats, moved: Floats) -> tuple[float, float]:
    """By how many pixels down and to the right the second picture lies, by phase correlation of their Hann window."""
    window = np.hanning(reference.shape[0])[:, None] * np.hanning(reference.shape[1])[None]
    one, other = (np.fft.fft2((picture - picture.mean()) * window) for picture in (reference, moved))
    cross = other * one.conj()
    # What lies above a quarter of the sampling rate is noise on one side, aliasing on the other.
    fy, fx = np.fft.fftfreq(cross.shape[0])[:, None], np.fft.fftfreq(cross.shape[1])[None]
    peak = np.fft.ifft2(cross / np.maximum(np.abs(cross), 1e-9) * np.exp(-(np.hypot(fy, fx) ** 2) / 0.02)).real
    y, x = np.unravel_index(peak.argmax(), peak.shape)
    column, row = (
        [peak[(y + d) % peak.shape[0], x] for d in (-1, 0, 1)],
        [peak[y, (x + d) % peak.shape[1]] for d in (-1, 0, 1)],
    )
    found = []
    for place, length, (before, at, after) in ((y, peak.shape[0], column), (x, peak.shape[1], row)):
        off = float(place) + (before - after) / (2 * (before - 2 * at + after))
        found.append((off + length / 2) % length - length / 2)
    return found[0], found[1]


def inner(picture: Floats) -> Floats:
    """Without its border."""
    return picture[BORDER:-BORDER, BORDER:-BORDER].astype(np.float64)


def psnr(one: Floats, other: Floats) -> float:
    """In dB, of grey levels of 255."""
    return float(10 * np.log10(255**2 / np.mean((one - other) ** 2)))


def to_markdown(found: dict[str, Any]) -> str:
    """Both tables."""
    lines = [
        "Made by `python benchmarks/pair_function.py`: HR of held-out pairs, degraded by what the other pairs of the",
        "camera show, against their LR side. PSNR of brightness; means over the held-out pairs.",
        "",
        "| camera | from pairs | plain, dB | half of the function, dB | function, dB | shift, LR px "
        "| colour, levels | coherence at Nyquist |",
        "|---" * 8 + "|",
    ]
    for camera, row in found.items():
        lines.append(
            f"| {camera}: {row['estimate']} | {row['known']} | {row['plain_db']:.2f} | {row['half_db']:.2f} "
            f"| {row['function_db']:.2f} | {row['shift_lr_px']:.2f} | {row['colour_levels']:.2f} "
            f"| {row['coherence_at_nyquist']:.2f} |"
        )
    lines += ["", "What is left over, standard deviation in grey levels (in brackets what the estimate's noise holds):"]
    lines += ["", "| contrast of the place | " + " | ".join(found) + " |", "|---" * (1 + len(found)) + "|"]
    for place in range(min(len(row["left_over"]) for row in found.values())):
        cells = [row["left_over"][place] for row in found.values()]
        contrast = float(np.mean([cell[0] for cell in cells]))
        lines.append(f"| {contrast:.1f} | " + " | ".join(f"{cell[1]:.1f} ({cell[2]:.1f})" for cell in cells) + " |")
    compressed = [camera for camera, row in found.items() if any(quality is not None for quality in row["jpeg"])]
    lines += ["", f"Traces of JPEG on the LR side: {', '.join(compressed) or 'none'}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
