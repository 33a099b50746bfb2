"""How exactly the shift between the sides of a pair is measured, and how well other pictures are told from the same.

    python benchmarks/alignment.py --photos real_pairs/ntire2019/HR real_pairs/iphone/HR

Two windows of one photograph, some pixels apart, are shrunk 4 times, which makes a shift that is known to 1/4 px
without any interpolation. The moved side is taken as it is, or made soft (Gaussian, 1.2 px), noisy (6 grey levels),
tinted (R 1.05, B 0.9) and compressed (JPEG 80). Writes ``benchmarks/results/alignment.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from skimage.filters import gaussian

from adaptsr_cli.data.alignment import measure_alignment
from adaptsr_cli.io.images import decode_rgb, encode_jpeg, list_images, read_rgb, resize_bicubic

ROOT = Path(__file__).resolve().parents[1]

FACTOR = 4
MAX_SHIFT_PX = 6
SIDES_PX = (192, 96, 48)
PER_PHOTO = 3


def main() -> None:
    """Measure all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    photos = [read_rgb(path) for folder in options.photos for path in list_images(folder)]
    rows = []
    for side_px in SIDES_PX:
        fitting = [photo for photo in photos if min(photo.shape[:2]) >= (side_px + 2 * MAX_SHIFT_PX) * FACTOR]
        for ratio in (1, FACTOR):
            for treated in (False, True):
                rows.append(measure(fitting, side_px, ratio, treated=treated))
                print(json.dumps(rows[-1]), flush=True)
    results = ROOT / "benchmarks" / "results"
    (results / "alignment.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    (results / "alignment.md").write_text(to_markdown(rows), encoding="utf-8")


def measure(photos: list[np.ndarray], side_px: int, ratio: int, *, treated: bool) -> dict[str, Any]:
    """Errors over known shifts, and verdicts over pairs of different photographs."""
    rng = np.random.default_rng(0)
    errors: list[float] = []
    missed = fooled = others = 0
    room = MAX_SHIFT_PX * FACTOR
    reach = side_px * FACTOR
    for index, photo in enumerate(photos):
        for _ in range(PER_PHOTO):
            top, left = (int(rng.integers(room, size - reach - room + 1)) for size in photo.shape[:2])
            down, right = (int(value) for value in rng.integers(-room, room + 1, 2))
            still = photo[top : top + reach, left : left + reach]
            moved = photo[top - down : top - down + reach, left - right : left - right + reach]
            low = resize_bicubic(np.ascontiguousarray(moved), side_px, side_px)
            high = still if ratio > 1 else resize_bicubic(np.ascontiguousarray(still), side_px, side_px)
            if treated:
                low = treat(low, rng)
            found = measure_alignment(low, high, ratio)
            if found.verdict == "flat":
                continue
            if found.verdict == "unmatched":
                missed += 1
            else:
                errors.append(max(abs(found.dy_px - down / FACTOR), abs(found.dx_px - right / FACTOR)))
            other = photos[(index + 1) % len(photos)][:reach, :reach]
            others += 1
            fooled += measure_alignment(low, other, FACTOR).verdict == "matched"
    return {
        "window_px": side_px,
        "pairs": "same size" if ratio == 1 else f"x{ratio}",
        "treated": treated,
        "count": len(errors) + missed,
        "median_px": round(float(np.median(errors)), 3),
        "p95_px": round(float(np.quantile(errors, 0.95)), 3),
        "largest_px": round(max(errors), 3),
        "missed": missed,
        "other_pictures": others,
        "taken_for_the_same": fooled,
    }


def treat(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soft, tinted, noisy and compressed."""
    soft = gaussian(image, 1.2, channel_axis=-1, preserve_range=True) * np.array([1.05, 1.0, 0.9])
    noisy = np.clip(soft + rng.normal(0, 6, soft.shape), 0, 255)
    return decode_rgb(encode_jpeg(np.rint(noisy).astype(np.uint8), 80))


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = [
        "Made by `python benchmarks/alignment.py`. Errors are the larger of both axes, in px of the LR grid.",
        "",
        "| window | pairs | one side | cases | median error | 95 % | largest | not matched | other pictures matched |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        side = "soft, noisy, tinted, JPEG" if row["treated"] else "as it is"
        lines.append(
            f"| {row['window_px']} px | {row['pairs']} | {side} | {row['count']} | {row['median_px']:.3f} px "
            f"| {row['p95_px']:.3f} px | {row['largest_px']:.3f} px | {row['missed']} "
            f"| {row['taken_for_the_same']} of {row['other_pictures']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
