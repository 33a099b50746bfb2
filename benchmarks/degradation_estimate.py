"""How well `--degrade auto` estimates a camera: photographs of known noise, JPEG quality and blur are measured.

    python benchmarks/degradation_estimate.py --photos train_hr/

The photographs are halved in size, so that they are clean and sharp, then blurred, noised and stored. Those that the
constants of `adaptsr_cli.imaging.estimate_blur` were fitted to (every twentieth) are left out. Writes
``benchmarks/results/degradation_estimate.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adaptsr_cli.imaging.degrade import blur
from adaptsr_cli.imaging.estimate import estimate_photo, summarise
from adaptsr_cli.imaging.estimate_jpeg_quality import find_jpeg_quality
from adaptsr_cli.imaging.kernels import shaped_kernel
from adaptsr_cli.io.images import decode_rgb, encode_jpeg, list_images, read_rgb, resize

ROOT = Path(__file__).resolve().parents[1]

Image = Any

NOISES = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 16.0, 20.0, 25.0, 30.0)
QUALITIES = (30, 50, 70, 80, 85, 90, 95, 97)
NOISES_IN_JPEG = (2.0, 5.0, 10.0, 20.0)
QUALITIES_OF_NOISE = (95, 90, 75)
BLURS_PX = (0.0, 0.5, 0.8, 1.2, 1.6, 2.0, 3.0)


def main() -> None:
    """Measure all rows and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = [path for index, path in enumerate(list_images(options.photos)) if index % 20 != 7]
    paths = paths[:: max(1, len(paths) // options.count)][: options.count]
    photos = [halve(read_rgb(path)) for path in paths]
    began = time.perf_counter()
    report: dict[str, Any] = {
        "photos": len(photos),
        "size_px": sorted({f"{photo.shape[1]} x {photo.shape[0]}" for photo in photos}),
        "noise": [noise_row(photos, sigma) for sigma in NOISES],
        "jpeg": [jpeg_row(photos, quality) for quality in QUALITIES],
        "jpeg_false_alarms": sum(find_jpeg_quality(to_8_bit(photo)) is not None for photo in photos),
        "noise_in_jpeg": [noise_row(photos, sigma, q) for q in QUALITIES_OF_NOISE for sigma in NOISES_IN_JPEG],
        "blur": [blur_row(photos, sigma) for sigma in BLURS_PX],
    }
    in_range = [row for row in report["noise"] if 2 <= row["true"] <= 25]
    report["share_within_20_percent_from_2_to_25"] = float(np.mean([row["within_20_percent"] for row in in_range]))
    print(f"{time.perf_counter() - began:.0f} s")
    results = ROOT / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "degradation_estimate.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (results / "degradation_estimate.md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


def halve(rgb: Image) -> Image:
    """(H, W, 3) uint8 to (H/2, W/2, 3) float32."""
    return resize(rgb, rgb.shape[1] // 2, rgb.shape[0] // 2, "bicubic").astype(np.float32)


def to_8_bit(image: Image) -> Image:
    """Clip and rounds."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def noise_row(photos: list[Image], sigma: float, quality: int | None = None) -> dict[str, Any]:
    """White noise of one level, in PNG or JPEG, quality not told: of each photograph, and of all as one camera."""
    found = []
    for index, photo in enumerate(photos):
        rgb = to_8_bit(photo + sigma * np.random.default_rng(index).standard_normal(photo.shape))
        if quality is not None:
            rgb = decode_rgb(encode_jpeg(rgb, quality))
        found.append(estimate_photo(rgb, np.random.default_rng(0)))
    single = [photo.noise_levels for photo in found]
    errors = np.array(single) / sigma - 1
    return {
        "true": sigma,
        "quality": quality,
        "within_20_percent": round(float((np.abs(errors) <= 0.2).mean()), 4),
        "median": round(float(np.median(single)), 2),
        "camera": round(summarise(found).noise_levels.median, 2),
    }


def jpeg_row(photos: list[Image], quality: int) -> dict[str, Any]:
    """The quality found in the pixels alone, at the grid's place and cropped."""
    decoded = [decode_rgb(encode_jpeg(to_8_bit(photo), quality)) for photo in photos]
    found = [find_jpeg_quality(rgb) for rgb in decoded]
    cropped = [find_jpeg_quality(rgb[3:, 6:]) for rgb in decoded]
    errors = [abs(value - quality) for value in found if value is not None]
    return {
        "true": quality,
        "found": round(len(errors) / len(photos), 4),
        "found_cropped": round(sum(value is not None for value in cropped) / len(photos), 4),
        "mean_error": round(float(np.mean(errors)), 3) if errors else None,
    }


def blur_row(photos: list[Image], sigma_px: float) -> dict[str, Any]:
    """A Gaussian blur, and noise of two grey levels."""
    found = []
    for index, photo in enumerate(photos):
        soft = photo
        if sigma_px:
            kernel = shaped_kernel(2 * int(np.ceil(4 * sigma_px)) + 1, sigma_px, sigma_px, 0.0)
            soft = blur(torch.from_numpy(photo).permute(2, 0, 1), kernel).permute(1, 2, 0).numpy()
        rgb = to_8_bit(soft + 2 * np.random.default_rng(index).standard_normal(soft.shape))
        found.append(estimate_photo(rgb, np.random.default_rng(0)).blur_px)
    told = np.array([value for value in found if value is not None])
    return {
        "true": sigma_px,
        "told": round(len(told) / len(photos), 4),
        "camera": round(float(np.median(told)), 2),
        "mean_error": round(float(np.abs(told - sigma_px).mean()), 2),
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The tables."""
    share = report["share_within_20_percent_from_2_to_25"]
    lines = [
        f"Measured on {report['photos']} photographs of {' and '.join(report['size_px'])} px; made by",
        "`python benchmarks/degradation_estimate.py`. *Camera* is what all of them together give.",
        "",
        f"White noise of 2 to 25 grey levels: {share:.1%} of the photographs within 20 % of the truth.",
        "",
        "| noise | photographs within 20 % | median photograph | camera |",
        "|---|---|---|---|",
        *(f"| {r['true']:g} | {r['within_20_percent']:.1%} | {r['median']} | {r['camera']} |" for r in report["noise"]),
        "",
        "JPEG quality from the pixels of a decoded file (in JPEG files it is read from the tables); "
        f"{report['jpeg_false_alarms']} false alarms in {report['photos']} photographs without JPEG.",
        "",
        "| quality | found | found where cropped | mean error |",
        "|---|---|---|---|",
        *(f"| {r['true']} | {r['found']:.1%} | {r['found_cropped']:.1%} | {r['mean_error']} |" for r in report["jpeg"]),
        "",
        "Noise before the photograph was stored as JPEG; photographs as textured as these are the hard case.",
        "",
        "| noise | JPEG quality | photographs within 20 % | median photograph | camera |",
        "|---|---|---|---|---|",
        *(
            f"| {r['true']:g} | {r['quality']} | {r['within_20_percent']:.1%} | {r['median']} | {r['camera']} |"
            for r in report["noise_in_jpeg"]
        ),
        "",
        "Blur, Gaussian sigma in pixels, with noise of 2 grey levels.",
        "",
        "| blur | told | camera | mean error of a photograph |",
        "|---|---|---|---|",
        *(f"| {r['true']:g} | {r['told']:.1%} | {r['camera']} | {r['mean_error']} |" for r in report["blur"]),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
