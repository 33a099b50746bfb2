"""Which interpolation costs HR least when the tele photograph is brought onto LR's grid.

Run: python benchmarks/pair_resampling.py --data FOLDER

A lens image (a wall of photographs, blurred as a lens and a pixel's area would) is sampled twice: at the pixels of a
turned, slightly distorted tele camera, and at those of the HR grid itself, which is the truth. The tele samples are
then interpolated to the HR grid. Printed: PSNR, and the share of the truth's power between 0.25 and 0.45 cycles a
pixel that is still there (1 is neither blurred nor sharpened). Ratio: tele pixels per HR pixel.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from registration.shots import Camera, mosaic  # noqa: E402

from adaptsr_cli.registration.opencv import filter_separably  # noqa: E402
from adaptsr_cli.registration.resample import low_pass  # noqa: E402

FLAGS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos4": cv2.INTER_LANCZOS4}
NAMES = (*FLAGS, "spline 3", "spline 5", "lanczos4 filtered")


def look(image: np.ndarray, places: np.ndarray, name: str, ratio: float) -> np.ndarray:
    if name == "lanczos4 filtered":
        image, name = filter_separably(image, low_pass(ratio)), "lanczos4"
    if name in FLAGS:
        x, y = np.ascontiguousarray(places.transpose(2, 0, 1).astype(np.float32))
        return cv2.remap(image, x, y, FLAGS[name])
    return map_coordinates(image, [places[..., 1], places[..., 0]], order=int(name[-1]), mode="mirror")


def power(image: np.ndarray) -> float:
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    spectrum = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None])
    return float(spectrum[(radius > 0.25) & (radius < 0.45)].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train_hr/")
    given = parser.parse_args()
    photos = [np.array(Image.open(path).convert("RGB")) for path in sorted((given.data / "train_hr").iterdir())[::2]]
    table: dict[str, dict[str, list[float]]] = {}
    for ratio in (0.96, 1.0, 1.05, 1.1, 1.25, 1.5, 1.9):
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
        for seed in range(4):
            rng = np.random.default_rng(seed)
            scene = mosaic(photos, 2600, 2000, rng)[..., 1].astype(np.float32)
            # Two scene pixels a tele pixel: the lens image is then known much finer than it is sampled.
            tele = Camera(1000, 750, 2.0, (1300, 1000), rng.uniform(-3, 3), k1=rng.uniform(-0.03, 0.03))
            side = int(500 / ratio)
            grid = Camera(side, side, 2.0 * ratio, (1300 + rng.uniform(-5, 5), 1000))

            def sample(camera: Camera, sigma: float, scene: np.ndarray = scene) -> np.ndarray:
                x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
                places = camera.to_scene(np.stack([x, y], -1).astype(float))
                return map_coordinates(
                    cv2.GaussianBlur(scene, (0, 0), sigma), [places[..., 1], places[..., 0]], order=5
                )

            photo = np.round(sample(tele, 2.0 * 0.5)).astype(np.float32)
            # A coarser grid cannot hold all: its truth is a camera whose blur has grown with its pixels.
            truth = sample(grid, 2.0 * 0.5 * max(1.0, ratio))
            x, y = np.meshgrid(np.arange(side), np.arange(side))
            places = tele.from_scene(grid.to_scene(np.stack([x, y], -1).astype(float)))
            for name in NAMES:
                found = look(photo, places, name, max(1.0, ratio))
                inner = slice(8, -8), slice(8, -8)
                error = float(((found - truth)[inner] ** 2).mean())
                rows[name].append((10 * np.log10(255**2 / error), power(found[inner]) / power(truth[inner])))
        table[str(ratio)] = {name: np.mean(values, axis=0).round(3).tolist() for name, values in rows.items()}
        print(
            f"ratio {ratio}: " + "; ".join(f"{name} {a:.2f} dB, {b:.2f}" for name, (a, b) in table[str(ratio)].items()),
            flush=True,
        )
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    (folder / "pair_resampling.json").write_text(json.dumps(table, indent=1) + "\n")
    lines = [
        "# Bringing the tele photograph onto LR's grid",
        "",
        "Written by `benchmarks/pair_resampling.py`: PSNR in dB, and the share of power between 0.25 and 0.45 cycles",
        "a pixel that is left. Ratio: tele pixels per HR pixel; above 1 the truth is a camera with larger pixels.",
        "",
        f"| ratio | {' | '.join(NAMES)} |",
        f"|---|{'---|' * len(NAMES)}",
    ]
    for ratio, row in table.items():
        lines.append(f"| {ratio} | " + " | ".join(f"{row[name][0]:.2f}, {row[name][1]:.2f}" for name in NAMES) + " |")
    (folder / "pair_resampling.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
