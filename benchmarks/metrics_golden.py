"""Our metrics beside what the metrics' own authors' code gives for the same images.

    python benchmarks/metrics_golden.py --data iqa_golden/ --weights weights/

The folder holds ``ref/`` and ``dist/`` with images of the same names and ``scores.csv``: a line ``metric,NAME,...`` and
then the authors' scores, as IQA-PyTorch collected them for five images of TID2013. The weights folder may hold
``niqe_pris_params.npz`` and the trunks of LPIPS and DISTS; what lacks its file is told. Writes
``benchmarks/results/metrics_golden.md``.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.metrics.dists import Dists
from adaptsr_cli.metrics.fidelity import grey, psnr_db, ssim
from adaptsr_cli.metrics.multiscale import WEIGHTS, ms_ssim, scale_terms
from adaptsr_cli.metrics.niqe import ORIGINAL_FILE, Niqe
from adaptsr_cli.metrics.perceptual import Lpips, MissingWeights

RESULTS = Path(__file__).parent / "results" / "metrics_golden.md"
Score = Callable[[np.ndarray, np.ndarray], float | None]


@dataclass(frozen=True)
class Comparison:
    """One way to compute a metric, and the authors' scores that it is held against.

    Attributes:
        metric: As in ``scores.csv``.
        how: What exactly is computed.
        score: Of the distorted image and its reference.
    """

    metric: str
    how: str
    score: Score


def weighted_sum(first: np.ndarray, second: np.ndarray) -> float:
    """The other way of the authors' code to join the scales of MS-SSIM, ``wtd_sum``: their mean under the weights."""
    return float(np.average(scale_terms(grey(first), grey(second)).numpy(), axis=1, weights=WEIGHTS)[0])


def comparisons(weights: Path) -> tuple[list[Comparison], list[str]]:
    """What can be compared, and what lacks its weights."""
    found = [
        Comparison("PSNR (RGB)", "over all values", psnr_db),
        Comparison("SSIM", "of `rgb2gray`", lambda first, second: ssim(grey(first), grey(second))),
        Comparison("MS-SSIM", "of `rgb2gray`, product", lambda first, second: ms_ssim(grey(first), grey(second))),
        Comparison("MS-SSIM", "of `rgb2gray`, weighted sum", weighted_sum),
    ]
    missing = []
    if (weights / ORIGINAL_FILE).is_file():
        niqe = Niqe(weights_dir=weights)
        found.append(Comparison("NIQE", "original parameters", lambda first, _: niqe(first)))
    else:
        missing.append(f"NIQE: no {ORIGINAL_FILE}")
    for metric, make in (
        ("LPIPS (alex)", lambda: Lpips("alex", weights_dir=weights, device=None)),
        ("DISTS", lambda: Dists(weights_dir=weights, device=None)),
    ):
        try:
            found.append(Comparison(metric, "authors' weights", make()))
        except MissingWeights as error:
            missing.append(f"{metric}: {error.message.replace(str(weights), 'the weights folder')}")
    return found, missing


def read_scores(path: Path) -> tuple[list[str], Mapping[str, list[float]]]:
    """Names of the images, and the authors' scores by metric."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    names = [name for name in rows[0][1:] if name != "by"]
    return names, {row[0]: [float(text) for text in row[1 : len(names) + 1]] for row in rows[1:]}


def main() -> None:
    """Compares, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    names, golden = read_scores(options.data / "scores.csv")
    images = [tuple(read_rgb(options.data / side / f"{name}.png") for side in ("dist", "ref")) for name in names]
    found, missing = comparisons(options.weights)
    lines = ["| metric | how | image | ours | authors' | difference | % |", "|---|---|---|---|---|---|---|"]
    for comparison in found:
        for name, (first, second), theirs in zip(names, images, golden[comparison.metric], strict=True):
            ours = comparison.score(first, second)
            assert ours is not None
            cells = (comparison.metric, comparison.how, name, f"{ours:.4f}", f"{theirs:.4f}", f"{ours - theirs:+.4f}")
            lines.append(f"| {' | '.join(cells)} | {100 * (ours - theirs) / theirs:+.2f} |")
    lines += ["", *(f"Not compared: {reason}" for reason in missing)]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    RESULTS.write_text("# Metrics beside their authors' code\n\n" + text, encoding="utf-8")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
