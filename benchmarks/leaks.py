"""How well copies of photographs are found, and how often different photographs are taken for copies.

    python benchmarks/leaks.py --photos TRAIN_HR --others SET5/HR --others SET14/HR ...

Recall: of every photograph of ``--photos`` a version is planted beside all of them (a crop, re-encoded, rescaled,
mirrored, turned ...), and it is counted how many are found with their own photograph. False alarms: pairs that are
found among all the photographs as they are; they are named, since data sets hold true copies too, which only eyes can
tell. Writes ``benchmarks/results/leaks.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from adaptsr_cli.arrays import Float32Array
from adaptsr_cli.imaging.copies import find_copies
from adaptsr_cli.imaging.sketch import Sketch, make_sketch, reduce_photograph
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.runtime import describe_machine

RESULTS: Final = Path(__file__).parent / "results"
Plant = Callable[[Image.Image, np.random.Generator], Image.Image]


def crop(share: float) -> Plant:
    """A window anywhere, of this share of both sides."""

    def cut(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = round(share * image.width), round(share * image.height)
        left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
        return image.crop((left, top, left + width, top + height))

    return cut


def jpeg(quality: int) -> Plant:
    """Stored as JPEG once more."""

    def encode(image: Image.Image, _rng: np.random.Generator) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return encode


def rescale(factor: float) -> Plant:
    """Made smaller or larger, bicubic."""
    return lambda image, _rng: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC
    )


def noise(levels: float) -> Plant:
    """Gaussian noise of so many grey levels."""

    def add(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        pixels = np.asarray(image, np.float32)
        return Image.fromarray(np.clip(pixels + rng.normal(0, levels, pixels.shape), 0, 255).astype(np.uint8))

    return add


def chain(*plants: Plant) -> Plant:
    """One after another."""

    def run(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for plant in plants:
            image = plant(image, rng)
        return image

    return run


PLANTS: Final[dict[str, Plant]] = {
    "copy, JPEG quality 90": jpeg(90),
    "copy, JPEG quality 30": jpeg(30),
    "rescaled to 75 %": rescale(0.75),
    "rescaled to 50 %": rescale(0.5),
    "rescaled to 25 %": rescale(0.25),
    "rescaled to 200 %": rescale(2.0),
    "mirrored left to right": lambda image, _rng: ImageOps.mirror(image),
    "upside down": lambda image, _rng: ImageOps.flip(image),
    "turned by a quarter": lambda image, _rng: image.transpose(Image.Transpose.ROTATE_90),
    "turned by half": lambda image, _rng: image.transpose(Image.Transpose.ROTATE_180),
    "a third brighter, contrast 80 %": lambda image, _rng: ImageEnhance.Contrast(
        ImageEnhance.Brightness(image).enhance(1.33)
    ).enhance(0.8),
    "blur of 1.5 px": lambda image, _rng: image.filter(ImageFilter.GaussianBlur(1.5)),
    "noise of 10 levels": noise(10),
    "crop, 80 % of both sides": crop(0.8),
    "crop, 60 % of both sides": crop(0.6),
    "crop, 50 % of both sides": crop(0.5),
    "crop, 40 % of both sides": crop(0.4),
    "crop, 30 % of both sides": crop(0.3),
    "crop of 60 %, rescaled to 70 %": chain(crop(0.6), rescale(0.7)),
    "crop of 60 %, mirrored": chain(crop(0.6), lambda image, _rng: ImageOps.mirror(image)),
    "crop of 60 %, turned by a quarter": chain(
        crop(0.6), lambda image, _rng: image.transpose(Image.Transpose.ROTATE_270)
    ),
    "crop of 60 %, JPEG quality 50": chain(crop(0.6), jpeg(50)),
}


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of different photographs")
    parser.add_argument("--others", type=Path, action="append", default=[], help="further ones, for false alarms")
    parser.add_argument("--most", type=int, default=400, help="photographs that versions are planted of")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    photos = list_photos(options.photos)
    others = [path for folder in options.others for path in list_photos(folder)]
    paths = [*photos, *others]
    images = [read_rgb(path) for path in paths]

    before = time.process_time()
    sketches = [make_sketch(image) for image in images]
    sketch_ms = 1000 * (time.process_time() - before) / len(images)
    before = time.process_time()
    alarms = list(find_copies(sketches, cache(lambda index: reduce_photograph(images[index]))))
    search_s = time.process_time() - before
    named = [
        {"first": label(paths[copy.first]), "second": label(paths[copy.second]), "match": copy.match} for copy in alarms
    ]
    rows = []
    for name, plant in PLANTS.items():
        rows.append(measure_recall(name, plant, images[: len(photos)], sketches[: len(photos)], options.most))
        print(rows[-1], flush=True)
    result = {
        "machine": describe_machine(torch.device("cpu")),
        "photographs": len(paths),
        "pairs": len(paths) * (len(paths) - 1) // 2,
        "alarms": named,
        "sketch_ms": round(sketch_ms, 1),
        "search_s": round(search_s, 2),
        "recall": rows,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "leaks.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.output / "leaks.md").write_text(to_markdown(result), encoding="utf-8")
    print(to_markdown(result))


def list_photos(folder: Path) -> list[Path]:
    """The images of a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".bmp"})


def label(path: Path) -> str:
    """Name of a photograph with that of its data set."""
    return f"{path.parent.parent.name}/{path.parent.name}/{path.name}"


def measure_recall(
    name: str, plant: Plant, images: Sequence[np.ndarray], sketches: Sequence[Sketch], most: int
) -> dict[str, Any]:
    """How many of the planted versions are found with their photograph, and with others."""
    rng = np.random.default_rng(0)
    planted = [np.asarray(plant(Image.fromarray(image), rng)) for image in images[:most]]
    count = len(sketches)
    everything = [*sketches, *map(make_sketch, planted)]

    @cache
    def read(index: int) -> Float32Array:
        return reduce_photograph(images[index] if index < count else planted[index - count])

    copies = list(find_copies(everything, read, lambda first, second: first < count <= second))
    right = {copy.second - count for copy in copies if copy.first == copy.second - count}
    wrong = sum(copy.first != copy.second - count for copy in copies)
    return {"planted": name, "photographs": len(planted), "found": len(right), "with_others": wrong}


def to_markdown(result: dict[str, Any]) -> str:
    """The table, and the alarms by name."""
    lines = [
        "| planted beside the photographs | found | also taken for a copy of another photograph |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row['planted']} | {row['found']} of {row['photographs']} ({row['found'] / row['photographs']:.1%}) "
        f"| {row['with_others']} |"
        for row in result["recall"]
    ]
    alarms = "; ".join(f"{alarm['first']} and {alarm['second']} ({alarm['match']:.2f})" for alarm in result["alarms"])
    lines += [
        "",
        f"Among {result['photographs']} photographs as they are ({result['pairs']:,} pairs) {len(result['alarms'])} "
        f"pairs were found: {alarms or 'none'}. A sketch took {result['sketch_ms']} ms, the search "
        f"{result['search_s']} s ({result['machine']}).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
