"""Which digital zooms `adaptsr pair` takes for a longer lens, and which longer lenses for a digital zoom.

Run: python benchmarks/digital_zoom.py --data FOLDER [--part score|tune]

A digital zoom is the middle of a photograph, enlarged by a filter, sharpened or not, and compressed or not; the wide
photograph is the whole one as PNG, if nothing else is said. Real pairs are aligned pairs whose LR side is taken at a
half or a quarter, and the raw pair of a phone. `without` is what every other test accepts, `with` what is left after
`shows_new_detail` of `adaptsr_cli/registration/verdict.py`.

Its limits were chosen on part `tune`, and on shot 60 of `benchmarks/pair_truth.py`; what is published is part `score`:
other photographs, and other real pairs (those of the other NTIRE camera, every second one of the iPhone). The phone's
raw pair is in both, and all real pairs had been looked at when the measure was designed.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from adaptsr_cli.io.images import resize
from adaptsr_cli.registration.opencv import use_threads
from adaptsr_cli.registration.register import register
from adaptsr_cli.registration.verdict import (
    LEAST_NEW_LEVELS,
    LEAST_NEW_SHARE,
    LEAST_SHARE_OF_MUCH,
    MUCH_NEW_LEVELS,
    Refused,
)

RESULTS = Path(__file__).parent / "results"
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "Lanczos": Image.Resampling.LANCZOS,
}
MOST_PX = 1016  # a larger photograph is cut to this width
Row = dict[str, str | int | float | bool]
Pair = tuple[Image.Image, Image.Image]


def compress(image: Image.Image, quality: int | None) -> Image.Image:
    if quality is None:
        return image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def add_noise(image: Image.Image, levels: float, seed: int) -> Image.Image:
    plane = np.asarray(image) + np.random.default_rng(seed).normal(0, levels, (image.height, image.width, 3))
    return Image.fromarray(np.clip(plane + 0.5, 0, 255).astype(np.uint8))


def enlarge(
    photo: Image.Image, name: str, zoom: float = 2, quality: int | None = None, sharpen: tuple[int, int] | None = None
) -> Image.Image:
    """The middle of a photograph, enlarged to about its own size."""
    width, height = int(photo.width / zoom), int(photo.height / zoom)
    left, top = (photo.width - width) // 2, (photo.height - height) // 2
    part = photo.crop((left, top, left + width, top + height))
    large = part.resize((round(width * zoom), round(height * zoom)), FILTERS[name])
    if sharpen is not None:
        large = large.filter(ImageFilter.UnsharpMask(sharpen[0], sharpen[1], 2))
    return compress(large, quality)


def in_linear_light(photo: Image.Image, name: str, quality: int | None) -> Image.Image:
    """Enlarged before the tone curve: not linear in the wide photograph's grey levels."""
    width, height = photo.width // 2, photo.height // 2
    part = photo.crop((width // 2, height // 2, width // 2 + width, height // 2 + height))
    light = (np.asarray(part, np.float32) / 255) ** 2.2
    planes = [Image.fromarray(light[..., c]).resize((2 * width, 2 * height), FILTERS[name]) for c in range(3)]
    large = np.clip(np.stack([np.asarray(plane) for plane in planes], -1), 0, 1) ** (1 / 2.2)
    return compress(Image.fromarray((255 * large + 0.5).astype(np.uint8)), quality)


def cases() -> Iterator[tuple[str, int, Callable[[Image.Image], Pair]]]:
    """Name, scale, and what makes both sides of a photograph."""
    for name in FILTERS:
        for quality in (None, 95, 92, 85, 75):
            kind = f"{name}, {'PNG' if quality is None else f'JPEG {quality}'}"
            yield kind, 2, lambda photo, name=name, quality=quality: (photo, enlarge(photo, name, 2, quality))
    for name, quality, sharpen in (
        ("Lanczos", None, (2, 80)), ("bicubic", 92, (2, 80)), ("Lanczos", 85, (1, 150)), ("bilinear", 92, (2, 150)),
    ):  # fmt: skip
        kind = f"{name}, unsharp mask {sharpen[0]} px {sharpen[1]} %, {'PNG' if quality is None else f'JPEG {quality}'}"
        yield (
            kind, 2,
            lambda photo, name=name, quality=quality, sharpen=sharpen: (
                photo, enlarge(photo, name, 2, quality, sharpen)
            ),
        )  # fmt: skip
    for zoom, scale, name, quality in (
        (3, 3, "bicubic", 92), (2, 4, "bicubic", None), (2, 4, "Lanczos", 92), (1.5, 2, "Lanczos", 92),
        (1.7, 2, "Lanczos", 85),
    ):  # fmt: skip
        kind = f"zoom {zoom} at x{scale}, {name}, {'PNG' if quality is None else f'JPEG {quality}'}"
        yield (
            kind, scale,
            lambda photo, zoom=zoom, name=name, quality=quality: (photo, enlarge(photo, name, zoom, quality)),
        )  # fmt: skip
    yield "Lanczos in linear light, PNG", 2, lambda photo: (photo, in_linear_light(photo, "Lanczos", None))
    yield "bicubic in linear light, JPEG 92", 2, lambda photo: (photo, in_linear_light(photo, "bicubic", 92))
    yield "Lanczos, both JPEG 92", 2, lambda photo: (compress(photo, 92), enlarge(photo, "Lanczos", 2, 92))
    for levels, quality in ((1, 92), (3, 92)):
        yield (
            f"noise of {levels} of each one's own, Lanczos, both JPEG {quality}", 2,
            lambda photo, levels=levels, quality=quality: (
                compress(add_noise(photo, levels, 1), quality),
                enlarge(add_noise(photo, levels, 2), "Lanczos", 2, quality),
            ),
        )  # fmt: skip


def photographs(data: Path, part: str) -> list[tuple[str, Image.Image]]:
    """Sharp and soft ones; no photograph is in both parts, but the two parts have crops of the same phone's pair."""
    odd = part == "score"
    pairs, phone = data / "real_pairs", data / "zoom_pair"
    paths = sorted((data / "train_hr").iterdir())[30 + odd : 270 : 60]
    paths += sorted((pairs / "ntire2019" / "HR").glob("cam1*" if odd else "cam2*"))[1:8:6]
    paths += sorted((pairs / "iphone" / "HR").iterdir())[6 + odd : 30 : 12]
    found = [(path.stem, Image.open(path).convert("RGB")) for path in paths]
    top = 2000 if odd else 1000
    for name, left in (("wide", 300), ("tele", 1500)):
        photo = Image.open(phone / f"{name}.jpg").convert("RGB")
        found.append((f"{name} {left}", photo.crop((left, top, left + MOST_PX, top + MOST_PX * 3 // 4))))
    return found


def real_pairs(data: Path, part: str) -> Iterator[tuple[str, int, int, Pair]]:
    """Kind, scale, block in px, and both sides."""
    odd = part == "score"
    root = data / "real_pairs"
    names = {
        "iphone": sorted(path.name for path in (root / "iphone" / "HR").iterdir())[odd::2],
        "ntire2019": sorted(path.name for path in (root / "ntire2019" / "HR").glob("cam1*" if odd else "cam2*")),
    }
    for source, scale in (("iphone", 2), ("ntire2019", 2), ("ntire2019", 4)):
        for name in names[source]:
            low = Image.open(root / source / "LR_samesize" / name).convert("RGB")
            high = Image.open(root / source / "HR" / name).convert("RGB")
            small = low.resize((low.width // scale, low.height // scale), Image.Resampling.BICUBIC)
            yield f"{source}, zoom {scale} at x{scale}", scale, 48, (small, high)
    wide, tele = (Image.open(data / "zoom_pair" / f"{name}.jpg").convert("RGB") for name in ("wide", "tele"))
    for scale in (2, 4):
        yield f"phone, zoom 1.95 at x{scale}", scale, 96, (wide, tele)


def score(kind: str, name: str, pair: Pair, scale: int, block_px: int) -> Row:
    try:
        found = register(
            np.array(pair[0]), np.array(pair[1]), scale, zoom_hint=None, block_px=block_px,
            resize=lambda image, width, height: resize(image, width, height, "bicubic"),
        )  # fmt: skip
    except Refused as refused:
        return {"kind": kind, "name": name, "kept": 0, "without": False, "with": False, "sentence": refused.reason}
    verdict = found.verdict
    return {
        "kind": kind, "name": name, "kept": sum(block.reason is None for block in found.blocks),
        "without": verdict.accepted or "comes of enlarging" in verdict.sentence, "with": verdict.accepted,
        "share": round(verdict.new.share, 3), "levels": round(verdict.new.levels, 3), "sentence": verdict.sentence,
    }  # fmt: skip


def to_markdown(zooms: list[Row], real: list[Row], part: str) -> str:
    """Both tables."""
    lines = [
        f"Made by `python benchmarks/digital_zoom.py --part {part}`. Shots accepted (blocks kept) without and with the",
        f"measure of new detail: a share of at least {LEAST_NEW_SHARE} ({LEAST_SHARE_OF_MUCH} from "
        f"{MUCH_NEW_LEVELS} grey levels on), {LEAST_NEW_LEVELS} grey levels or more.",
        "",
        "| digital zoom (2 at x2, if nothing is said) | without | with | median share | median levels |",
        "|---|---|---|---|---|",
        *_rows(zooms, np.median),
        "",
        "| longer lens | without | with | least share | least levels |",
        "|---|---|---|---|---|",
        *_rows(real, np.min),
    ]
    return "\n".join(lines) + "\n"


def _rows(rows: list[Row], reduce: Callable[[list[float]], float]) -> Iterator[str]:
    """A line a kind; figures of the shots that the other tests accept, of all where there is none."""
    for kind in dict.fromkeys(row["kind"] for row in rows):
        here = [row for row in rows if row["kind"] == kind]
        cells = []
        for key in ("without", "with"):
            taken = [row for row in here if row[key]]
            cells.append(f"{len(taken)} of {len(here)} ({sum(int(row['kept']) for row in taken)})")
        known = [row for row in here if row["without"]] or [row for row in here if "share" in row]
        for key in ("share", "levels"):
            cells.append(f"{reduce([float(row[key]) for row in known]):.2f}" if known else "")
        yield f"| {kind} | {' | '.join(cells)} |"


def main() -> None:
    """Score all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train_hr/, real_pairs/ and zoom_pair/")
    parser.add_argument("--part", choices=("score", "tune"), default="score")
    given = parser.parse_args()
    use_threads(1)
    real = [
        score(kind, str(index), pair, scale, block_px)
        for index, (kind, scale, block_px, pair) in enumerate(real_pairs(given.data, given.part))
    ]
    photos = photographs(given.data, given.part)
    zooms = [score(kind, name, make(photo), scale, 48) for kind, scale, make in cases() for name, photo in photos]
    text = to_markdown(zooms, real, given.part)
    print(text)
    for row in [row for row in zooms if row["with"]] + [row for row in real if row["without"] and not row["with"]]:
        print(row)
    if given.part == "score":
        (RESULTS / "digital_zoom.md").write_text(text)
        (RESULTS / "digital_zoom.json").write_text(json.dumps({"zooms": zooms, "real": real}, indent=1) + "\n")


if __name__ == "__main__":
    main()
