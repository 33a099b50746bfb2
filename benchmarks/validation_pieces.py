"""How well do parts of an image tell what a training has done to the whole of it, state by state?

    python benchmarks/validation_pieces.py --pairs cam2=FOLDER --network safmn_x4= [--rate 0.001] [--iterations 60]

Validation cannot score whole photographs after every few steps. Full updates are trained at a rate, and whenever
`train` validates, up to six images of the training's folder (`auto_rate.py` keeps each fifth pair for the test) are
upscaled whole, and in parts as validation would: at even distances, each by itself, some with a margin that is not
scored. The gains in PSNR-Y since the start are compared. Measurements are kept in
``benchmarks/results/validation_pieces.jsonl``, and the table ``validation_pieces.md`` is made of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from auto_rate import RESULTS, Trial, prepare, run_trial

from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.io.cache_folder import CACHE_VARIABLE
from adaptsr_cli.metrics.fidelity import luma
from adaptsr_cli.progress import SILENT
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.common.training_data import DEFAULT_CACHE, open_pairs, open_reader
from adaptsr_cli.training.validation import Upscale, Validation, Validator

Array = np.ndarray[Any, Any]
Pair = tuple[Array, Array]  # lr (h, w, 3), hr (s h, s w, 3), uint8

LOG: Final = RESULTS / "validation_pieces.jsonl"
MOST_IMAGES: Final = 6


@dataclass(frozen=True)
class Parts:
    """Parts of an image: so many a side, the side of each in LR px, and the margin around it that is not scored."""

    count: int
    side_px: int
    margin_px: int = 0

    @property
    def pixels(self) -> int:
        """LR pixels that the network upscales."""
        return (self.count * (self.side_px + 2 * self.margin_px)) ** 2

    def describe(self) -> str:
        """In words."""
        margin = f", margin {self.margin_px} px" if self.margin_px else ""
        return f"{self.count} x {self.count} of {self.side_px} px{margin}"


CHOICES: Final = tuple(
    Parts(*choice)
    for choice in (
        *((4, 16), (2, 32), (4, 16, 4), (4, 16, 8), (2, 32, 8), (8, 16), (4, 32), (2, 64)),
        *((4, 32, 8), (8, 16, 8), (4, 48), (8, 32), (4, 64)),
    )
)


def main() -> None:
    """Train, compare and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with LOG.open("a", encoding="utf-8") as file:
        for network in options.network:
            for data in options.pairs:
                names = (text.partition("=")[0] for text in (network, data))
                for row in measure(Trial(*names, 0, options.iterations, "full", options.rate), options):
                    file.write(json.dumps(row) + "\n")
                    file.flush()
    text = to_markdown([json.loads(line) for line in LOG.read_text(encoding="utf-8").splitlines()])
    print(text)
    (RESULTS / "validation_pieces.md").write_text(text, encoding="utf-8")


def measure(trial: Trial, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One training: a row for each image, with its gains in every state by every choice."""
    with tempfile.TemporaryDirectory() as work, patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}):
        _, data, _ = prepare(trial, Path(work), options)
        scale = int(trial.network.rpartition("x")[2])
        pairs = open_pairs(DataSpec.of(data / "train"), "test", SILENT, scale)
        reader = open_reader(pairs, scale, None, 0, DEFAULT_CACHE.open())
        images = [reader.read(index) for index in range(0, len(reader), -(-len(reader) // MOST_IMAGES))]
        states: list[list[dict[str, float]]] = []
        with listening(images, scale, states):
            run_trial(trial, Path(work), options)
    rows = []
    for place, first in enumerate(states[0]):
        gains = [{key: round(state[place][key] - first[key], 4) for key in first} for state in states[1:]]
        machine = describe_machine(pick_device(options.device))
        rows.append({"trial": asdict(trial), "image": place, "gains": gains, "machine": machine})
    return rows


@contextmanager
def listening(images: list[Pair], scale: int, states: list[list[dict[str, float]]]) -> Iterator[None]:
    """Whenever validation scores, `states` takes up the PSNR of all images by every choice."""
    score = Validator.score

    def score_and_compare(validator: Validator, upscale: Upscale, **how: bool) -> Validation:
        states.append([compare(lr, hr, scale, upscale) for lr, hr in images])
        return score(validator, upscale, **how)

    with patch.object(Validator, "score", score_and_compare):
        yield


def compare(lr: Array, hr: Array, scale: int, upscale: Upscale) -> dict[str, float]:
    """PSNR-Y of an image in dB by the whole of it and by every choice, without a border as wide as the scale."""
    found = {"whole": psnr_db([(upscale(lr[None])[0], hr)], scale)}
    for choice in CHOICES:
        spans = [
            [round((number + 0.5) * length / choice.count - choice.side_px / 2) for number in range(choice.count)]
            for length in lr.shape[:2]
        ]
        margin, side = choice.margin_px, choice.side_px
        corners = [(row - margin, column - margin) for row in spans[0] for column in spans[1]]
        size = side + 2 * margin
        limits = [length - size for length in lr.shape[:2]]
        inside = [tuple(min(max(0, at), limit) for at, limit in zip(corner, limits, strict=True)) for corner in corners]
        outputs = upscale(np.stack([lr[row : row + size, column : column + size] for row, column in inside]))
        borders = max(1, margin) * scale
        found[choice.describe()] = psnr_db(
            [
                (output, hr[row * scale : (row + size) * scale, column * scale : (column + size) * scale])
                for output, (row, column) in zip(outputs, inside, strict=True)
            ],
            borders,
        )
    return found


def psnr_db(pairs: list[Pair], border_px: int) -> float:
    """Of the mean squared error of Y over all pairs of output and reference."""
    inner = slice(border_px, -border_px)
    errors = [np.square(luma(sr[inner, inner]) - luma(hr[inner, inner])).mean() for sr, hr in pairs]
    return float(10 * np.log10(255**2 / np.mean(errors)))


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """A row for each choice: its error over all images and states, and that of a training's mean over its images."""
    kinds = sorted({(row["trial"]["network"], row["trial"]["data"]) for row in rows})
    lines = [
        "| parts | LR pixels upscaled | error, rms | " + " | ".join(", ".join(kind) for kind in kinds) + " |",
        "|---" * (3 + len(kinds)) + "|",
    ]
    for choice in CHOICES:
        errors: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in rows:
            kind = row["trial"]["network"], row["trial"]["data"]
            errors[kind] += [gains[choice.describe()] - gains["whole"] for gains in row["gains"]]
        every = np.concatenate([errors[kind] for kind in kinds])
        cells = (f"{np.sqrt(np.mean(np.square(errors[kind]))):.2f} ({np.mean(errors[kind]):+.2f})" for kind in kinds)
        rms = np.sqrt(np.mean(np.square(every)))
        lines.append(f"| {choice.describe()} | {choice.pixels:,} | {rms:.2f} dB | " + " | ".join(cells) + " |")
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines += [
        "",
        "Error in dB of the gain since the start of a training as parts tell it, against that of the whole image; in "
        "brackets its mean.",
        "",
        f"Made by `python benchmarks/validation_pieces.py` on {machines}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
