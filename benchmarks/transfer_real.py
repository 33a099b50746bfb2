"""The transfer function of real cameras: from LR photographs without pairs, beside what their pairs show.

    python benchmarks/transfer_real.py --shared FOLDER

The LR sides of `FOLDER/data/real_pairs`, reduced to x4 and to x2, are compared with every third photograph of
`FOLDER/data/train_hr`, which shows other scenes. The pairs' HR side is measured in the same way: where it is sharper or
softer than those photographs, a camera looks different beside it, and no estimate without pairs can tell. Writes
``benchmarks/results/transfer_real.json``, ``.md`` and ``.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from adaptsr_cli.artifacts.transfer import IDENTITY, Band, TransferFunction  # noqa: E402
from adaptsr_cli.imaging.camera_noise import brightness_of  # noqa: E402
from adaptsr_cli.imaging.from_pairs import estimate_from_pairs  # noqa: E402
from adaptsr_cli.imaging.from_photographs import estimate_from_photographs  # noqa: E402
from adaptsr_cli.imaging.sharp_photographs import reduce_to_lr, study_sharp  # noqa: E402
from adaptsr_cli.imaging.training_cameras import cautious_draws  # noqa: E402
from adaptsr_cli.imaging.transfer_function import apply_transfer  # noqa: E402
from adaptsr_cli.io.images import list_images, read_rgb  # noqa: E402
from benchmarks.camera_scenes import CAMERAS, hr_side_of, scenes_of  # noqa: E402
from benchmarks.transfer_estimate import middle_of  # noqa: E402

RESULTS: Final = ROOT / "benchmarks" / "results"
SCALES: Final = (4, 2)


def main() -> None:
    """Estimate all, and write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("ADAPTSR_SHARED"))
    options = parser.parse_args()
    if options.shared is None:
        parser.error("name the folder by --shared or ADAPTSR_SHARED")
    torch.set_num_threads(1)
    data = Path(options.shared) / "data"
    found = [estimate_camera(data, camera, scale) for scale in SCALES for camera in CAMERAS]
    (RESULTS / "transfer_real.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "transfer_real.md").write_text(to_markdown(found), encoding="utf-8")
    draw(found, RESULTS / "transfer_real.png")
    print(to_markdown(found))


def estimate_camera(data: Path, camera: str, scale: int) -> dict[str, Any]:
    """A camera without pairs and by them."""
    scenes = list(scenes_of(data, camera, scale))
    pairs = [(scene.hr, scene.lr) for scene in scenes]
    sharp = study_sharp([read_rgb(path) for path in list_images(data / "train_hr")[::3]], scale)
    found = estimate_from_photographs([lr for _, lr in pairs], sharp)
    truth = estimate_from_pairs(pairs, scale)
    grid, band = Band.grid(scale), found.band
    true = np.interp(grid, truth.frequency, truth.gain)
    hr_side = np.array(hr_side_of(scenes, sharp).band.median)
    cautious = cautious_draws(found)
    functions = {
        "plain": IDENTITY,
        "pairs": truth.transfer,
        "estimated": found.transfer,
        "cautious": middle_of(cautious, scale),
    }
    return {
        "camera": camera,
        "scale": scale,
        "photographs": len(pairs),
        "true": rounded(true),
        **{name: rounded(getattr(band, name)) for name in ("median", "low", "high")},
        "spectra": rounded(found.by_spectra.median if found.by_spectra else ()),
        "edges": rounded(found.by_edges.median if found.by_edges else ()),
        "hr_side": rounded(hr_side),
        "mean_error": error_of(band.median, true),
        "product_error": error_of(band.median, true * hr_side),
        "cautious_error": error_of(np.mean([draw.at(grid) for draw in cautious], axis=0), true),
        "plain_error": error_of(np.ones_like(true), true),
        "coverage": round(float(((np.array(band.low) <= true) & (true <= np.array(band.high))).mean()), 3),
        "misfit": round(found.misfit, 1),
        "freedom": found.freedom,
        "words": found.describe(),
        "from_pairs": f"{truth.transfer.describe()}, {truth.noise.describe()}",
        "lr_psnr_db": {
            name: round(float(np.mean([lr_psnr_db(hr, lr, function, scale) for hr, lr in pairs])), 2)
            for name, function in functions.items()
        },
    }


def rounded(values: Any) -> list[float]:
    """To three places."""
    return [round(float(value), 3) for value in values]


def error_of(gain: Any, true: Any) -> float:
    """Mean over frequency."""
    return round(float(np.abs(np.asarray(gain) - true).mean()), 3)


def lr_psnr_db(hr: Any, lr: Any, function: TransferFunction, scale: int) -> float:
    """How near the LR side made of the HR side comes to the real one; gain and offset of brightness are free."""
    made, real = reduce_to_lr(apply_transfer(function, brightness_of(hr)), scale), brightness_of(lr)
    slope, offset = np.polyfit(made.ravel(), real.ravel(), 1)
    return float(10 * np.log10(255**2 / np.square(slope * made + offset - real).mean()))


def to_markdown(cameras: list[dict[str, Any]]) -> str:
    """A table of all, and for each what the command says and the function over frequency."""
    lines = [
        "Made by `python benchmarks/transfer_real.py`: real cameras without pairs, beside what their pairs show.",
        "Errors are of m(f), means over frequency. The HR side is how sharp the pairs' HR photographs are beside the",
        "sharp ones, 1 where they are alike: without pairs only the product of both can be known, and the second error",
        "is of it. The misfit is chi-squared, about as large as its degrees of freedom where blur, sharpening and",
        "noise explain the photographs. The last columns are the PSNR of brightness of LR images made of the HR side,",
        "against the real ones.",
        "",
        "| camera | photographs | error | of the product with the HR side | of the cautious draws | of plain bicubic "
        "| in the band | misfit (freedom) | LR, plain | pairs | estimated | cautious |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in cameras:
        decibels = " | ".join(f"{value:.2f} dB" for value in found["lr_psnr_db"].values())
        lines.append(
            f"| {title_of(found)} | {found['photographs']} | {found['mean_error']:.3f} | {found['product_error']:.3f} "
            f"| {found['cautious_error']:.3f} | {found['plain_error']:.3f} | {found['coverage']:.0%} "
            f"| {found['misfit']:.0f} ({found['freedom']}) | {decibels} |"
        )
    for found in cameras:
        lines += [
            "",
            f"**{title_of(found)}**: {found['words']}. From its pairs: {found['from_pairs']}.",
            "",
            "| cycles per HR px | from the pairs | HR side | estimated (band) | spectra | edges |",
            "|---|---|---|---|---|---|",
        ]
        for index, frequency in list(enumerate(Band.grid(found["scale"])))[1:23:3]:
            cells = [found[key][index] if found[key] else "none" for key in ("spectra", "edges")]
            lines.append(
                f"| {frequency:.3f} | {found['true'][index]:.2f} | {found['hr_side'][index]:.2f} "
                f"| {found['median'][index]:.2f} ({found['low'][index]:.2f} to {found['high'][index]:.2f}) "
                f"| {cells[0]} | {cells[1]} |"
            )
    return "\n".join(lines) + "\n"


def title_of(found: dict[str, Any]) -> str:
    """Camera and scale."""
    return f"{found['camera']}, x{found['scale']}"


def draw(cameras: list[dict[str, Any]], target: Path) -> None:
    """Each camera with its band."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(len(SCALES), len(CAMERAS), figsize=(4 * len(CAMERAS), 3.3 * len(SCALES)))
    for axis, found in zip(grid.ravel(), cameras, strict=True):
        frequency = Band.grid(found["scale"])
        axis.fill_between(frequency, found["low"], found["high"], alpha=0.3, label="90 % band, no pairs")
        axis.plot(frequency, found["median"], label="estimate, no pairs")
        axis.plot(frequency, found["true"], "k--", label="from the pairs")
        axis.set(xlabel="cycles per HR px", title=title_of(found))
    grid.ravel()[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
