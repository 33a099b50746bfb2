"""Details of a comparison sheet: their choice and their pixels. NumPy only, no drawing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adaptsr_cli.report.metric_names import name_metric

Pixels = NDArray[np.uint8]
Levels = NDArray[np.floating]
Value = TypeVar("Value", bound=np.generic)

BICUBIC = "bicubic"  # the name under which plain interpolation stands among the outputs

TILE_PX = 240  # side of every tile of the sheet; has many divisors, so details can be enlarged by whole numbers
_DETAIL_SHARE = 0.36  # of the shorter side at most: enough to see what it is, small enough to see pixels


@dataclass(frozen=True)
class ComparisonRow:
    """One image of the sheet.

    Attributes:
        name: Of the image.
        lr: (h, w, 3) uint8, what the models were given.
        hr: (s h, s w, 3) uint8, the truth, s an integer.
        outputs: Model name -> (s h, s w, 3) uint8, in the order of the sheet; plain bicubic is one of them.
        scores: Model name -> metric key -> value, as in ``eval.json``; may be empty for a model.
    """

    name: str
    lr: Pixels
    hr: Pixels
    outputs: Mapping[str, Pixels]
    scores: Mapping[str, Mapping[str, float]]

    @property
    def scale(self) -> int:
        """HR pixels per LR pixel."""
        return int(self.hr.shape[0] // self.lr.shape[0])


@dataclass(frozen=True)
class Box:
    """A square region in HR pixels."""

    left_px: int
    top_px: int
    side_px: int

    def cut(self, image: Pixels) -> Pixels:
        """The region of an HR-sized (H, W, 3) image."""
        return image[self.top_px : self.top_px + self.side_px, self.left_px : self.left_px + self.side_px]


def check_row(row: ComparisonRow) -> None:
    """Refuse images that are not of one size.

    Raises:
        ValueError: A fault of the caller, who should have scored these images before.
    """
    expected = (row.lr.shape[0] * row.scale, row.lr.shape[1] * row.scale, 3)
    for label, image in (("HR", row.hr), *row.outputs.items()):
        if image.shape != expected or image.dtype != np.uint8:
            raise ValueError(f"{row.name}: {label} is {image.dtype} {image.shape}, expected uint8 {expected}")


def choose_detail(row: ComparisonRow) -> Box:
    """The square where the models differ most, on the LR grid.

    Plain bicubic is left out of the comparison where two models remain without it; a single model is compared with
    the truth. With two models or more the choice does not look at who is nearer to the truth.
    """
    names = [name for name in row.outputs if name != BICUBIC]
    images = [row.outputs[name] for name in (names if len(names) > 1 else row.outputs)]
    compared = images if len(images) > 1 else [*images, row.hr]
    height, width = row.lr.shape[:2]
    return find_square(compared, row.scale, _detail_side_lr_px(height, width, row.scale))


def find_square(compared: Sequence[Pixels], scale: int, side_lr_px: int) -> Box:
    """The square in which images differ most from each other, on the LR grid.

    Args:
        compared: (s h, s w, 3) uint8 each, at least two to be of use.
        scale: HR pixels per LR pixel, s.
        side_lr_px: Side of the square in LR pixels, at most h and w.
    """
    spread = np.maximum.reduce(compared) - np.minimum.reduce(compared)
    difference = spread.mean(axis=2)  # (s h, s w), mean of the channels
    height, width = (side // scale for side in difference.shape)
    # one value per LR pixel: (h, s, w, s) -> (h, w)
    per_lr_px = difference.reshape(height, scale, width, scale).mean(axis=(1, 3))
    # sums over all windows from the integral image
    integral = np.zeros((height + 1, width + 1))
    integral[1:, 1:] = per_lr_px.cumsum(axis=0).cumsum(axis=1)
    side = side_lr_px
    sums = integral[side:, side:] - integral[:-side, side:] - integral[side:, :-side] + integral[:-side, :-side]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return Box(int(left) * scale, int(top) * scale, side * scale)


def _detail_side_lr_px(height: int, width: int, scale: int) -> int:
    """Side of the detail in LR pixels; a tile is a whole multiple of it in HR pixels wherever the image allows."""
    shorter = min(height, width)
    sides = [TILE_PX // zoom // scale for zoom in range(2, TILE_PX) if TILE_PX % (zoom * scale) == 0]
    fitting = [side for side in sides if side <= _DETAIL_SHARE * shorter]
    return max(fitting, default=min(max(1, round(_DETAIL_SHARE * shorter)), shorter))


def magnify(image: NDArray[Value]) -> NDArray[Value]:
    """Enlarge a square (n, n, ...) image to a tile by repeating pixels: what is seen is what the model made."""
    index = (np.arange(TILE_PX) * image.shape[0]) // TILE_PX
    enlarged: NDArray[Value] = image[index][:, index]
    return enlarged


def errors_of(row: ComparisonRow, box: Box, luma: Callable[[Pixels], Levels]) -> dict[str, Levels]:
    """How far every pixel of a detail is from the truth: output -> (n, n), in grey levels of Y.

    Args:
        row: The image.
        box: The detail.
        luma: (H, W, 3) uint8 to Y, (H, W) in [0, 255].
    """
    truth = luma(box.cut(row.hr))
    return {name: np.abs(luma(box.cut(image)) - truth) for name, image in row.outputs.items()}


def error_limit(errors: Sequence[Mapping[str, Levels]]) -> float:
    """The error that gets the darkest colour, one for a whole sheet: a few single pixels may lie beyond it."""
    values = [part.ravel() for maps in errors for part in maps.values()]
    return max(1.0, float(np.ceil(np.quantile(np.concatenate(values), 0.99)))) if values else 1.0


def tiles_of(row: ComparisonRow, box: Box) -> list[tuple[str, Pixels]]:
    """The enlarged detail of LR, each output and HR, named, in the order of the sheet.

    Args:
        row: The image.
        box: The detail, on the LR grid.
    """
    scale = row.scale
    small = Box(box.left_px // scale, box.top_px // scale, box.side_px // scale)
    details = [(name, box.cut(image)) for name, image in row.outputs.items()]
    parts = [("LR", small.cut(row.lr)), *details, ("HR", box.cut(row.hr))]
    return [(name, magnify(part)) for name, part in parts]


def pick_examples(gains_db: Sequence[float], limit: int) -> list[int]:
    """Which images to show: evenly spread from the largest gain to the smallest, both included.

    A sheet of the best images only would flatter the model.

    Args:
        gains_db: Gain of each image.
        limit: How many to show at most.

    Returns:
        Indices into `gains_db`, largest gain first.
    """
    order = sorted(range(len(gains_db)), key=lambda index: (-gains_db[index], index))
    if len(order) <= limit:
        return order
    if limit == 1:
        return [order[len(order) // 2]]
    return [order[round(place)] for place in np.linspace(0, len(order) - 1, limit)]


def metrics_shown(rows: Sequence[ComparisonRow], limit: int = 3) -> list[str]:
    """The metric keys to print under the tiles: fidelity on Y first, then what else was measured."""
    keys = dict.fromkeys(key for row in rows for scores in row.scores.values() for key in scores)
    first = [key for key in ("psnr_y_db", "ssim_y") if key in keys]
    perceptual = [key for key in keys if name_metric(key).better == "lower"]
    others = [key for key in keys if key not in first and key not in perceptual]
    return [*first, *perceptual, *others][:limit]


def best_model(row: ComparisonRow, key: str) -> str | None:
    """Which output has the best value of a metric on this image.

    None where fewer than two have it, or neither way is better.
    """
    values = {name: row.scores[name][key] for name in row.outputs if key in row.scores.get(name, {})}
    better = name_metric(key).better
    if len(values) < 2 or better is None:
        return None
    pick = max if better == "higher" else min
    return pick(values, key=lambda name: values[name])
