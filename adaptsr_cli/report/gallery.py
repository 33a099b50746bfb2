"""Picture gallery of the report: the choice of images and details, and their encoding to fit one file.

Pixels are kept for a bounded number of images only, however many are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from adaptsr_cli.io.images import encode_jpeg, resize, resize_bicubic
from adaptsr_cli.report.comparison import Box, Pixels, find_square

Entry = TypeVar("Entry")

DETAIL_PX: Final = 480  # divides by all usual scales
MAX_IMAGES: Final = 12
_MAX_PICTURES: Final = 96  # of all images and models together: 66 MB of pixels
_CONTEXT_PX: Final = 160
_QUALITIES: Final = (95, 90, 85, 78, 70)

LOW: Final = "LR, bicubic"
TRUTH: Final = "HR"


@dataclass(frozen=True)
class ImageDetail:
    """The detail of one image as every model made it.

    Attributes:
        index: Of the image in the evaluation.
        gain: How much better the last model is than the first one; None where no metric tells.
        box: Where the detail lies.
        layers: Label -> (n, n, 3) uint8: bicubic, the models, and HR where there is one.
        context: The whole image, small; None where the detail is all of it.
    """

    index: int
    gain: float | None
    box: Box
    layers: Mapping[str, Pixels]
    context: Pixels | None


@dataclass(frozen=True)
class EncodedImageDetail:
    """The same as JPEG files."""

    index: int
    gain: float | None
    box: Box
    layers: Mapping[str, bytes]
    context: bytes | None

    @property
    def size_bytes(self) -> int:
        """Of all its pictures together."""
        return sum(map(len, self.layers.values())) + len(self.context or b"")


class BestAndWorst:
    """Keeps the details of the most improved and of the most harmed images while they are scored.

    Args:
        models: How many models are compared: the more, the fewer images.
    """

    def __init__(self, models: int) -> None:
        pictures = models + 2
        self._each_end = max(1, min(MAX_IMAGES, _MAX_PICTURES // pictures) // 2)
        self._kept: list[ImageDetail] = []

    def offer(
        self,
        index: int,
        gain: float | None,
        lr: Pixels,
        hr: Pixels | None,
        outputs: Mapping[str, Pixels],
    ) -> None:
        """Take the detail of an image if it is among the best or the worst so far.

        Args:
            index: Of the image.
            gain: See `ImageDetail`.
            lr: (h, w, 3) uint8.
            hr: (s h, s w, 3) uint8; None where there is no reference.
            outputs: Model -> the same size. An image whose outputs differ in size is not taken: there is nothing to
                slide between.
        """
        rivals = sorted([*(_order(kept.index, kept.gain) for kept in self._kept), _order(index, gain)])
        if _order(index, gain) not in _ends(rivals, self._each_end):
            return
        if len({image.shape for image in outputs.values()}) > 1:
            return
        self._kept = select([self._kept, [_cut(index, gain, lr, hr, outputs)]], self._each_end)

    @property
    def each_end(self) -> int:
        """How many images are kept at most of each end."""
        return self._each_end

    @property
    def details(self) -> list[ImageDetail]:
        """What was kept, the best first."""
        return self._kept


def _order(index: int, gain: float | None) -> tuple[float, int]:
    """What images are sorted by: the best first, of equal ones the earlier; without merit as they come."""
    return (-gain if gain is not None else 0.0, index)


def _ends(entries: list[Entry], each: int) -> list[Entry]:
    """The first and the last so many; all where they would meet."""
    return entries if len(entries) <= 2 * each else [*entries[:each], *entries[-each:]]


def select(shares: Sequence[Sequence[ImageDetail]], each_end: int) -> list[ImageDetail]:
    """The best and the worst of what several processes kept, best first.

    Args:
        shares: Of every process.
        each_end: How many of each end.
    """
    found = [detail for share in shares for detail in share]
    return _ends(sorted(found, key=lambda entry: _order(entry.index, entry.gain)), each_end)


def _cut(index: int, gain: float | None, lr: Pixels, hr: Pixels | None, outputs: Mapping[str, Pixels]) -> ImageDetail:
    """The detail in which the models differ most, a lone model from the truth or from plain interpolation."""
    height_px, width_px = next(iter(outputs.values())).shape[:2]
    scale = height_px // lr.shape[0]
    bicubic = resize_bicubic(lr, width_px, height_px)
    images = list(outputs.values())
    compared = images if len(images) > 1 else [*images, bicubic if hr is None else hr]
    side_lr_px = max(1, min(*lr.shape[:2], DETAIL_PX // scale))
    box = find_square(compared, scale, side_lr_px)
    wholes = {_free(LOW, outputs): bicubic, **outputs} | ({} if hr is None else {_free(TRUTH, outputs): hr})
    context = None
    if box.side_px < max(height_px, width_px):
        shrink = _CONTEXT_PX / max(height_px, width_px)
        size = (max(1, round(width_px * shrink)), max(1, round(height_px * shrink)))
        context = resize(images[-1], *size, "area")
    # Copies: a view would keep the whole image alive.
    layers = {label: box.cut(image).copy() for label, image in wholes.items()}
    return ImageDetail(index, gain, box, layers, context)


def _free(label: str, outputs: Mapping[str, Pixels]) -> str:
    """The label, or a longer one where a model is called so."""
    while label in outputs:
        label += " (given)"
    return label


def encode(details: Sequence[ImageDetail], most_bytes: int) -> tuple[int, list[EncodedImageDetail]]:
    """JPEG files with colour as sharp as brightness, of the best quality with which all fit.

    If even the lowest quality is too much, images are left out, beginning with those in the middle.

    Args:
        details: Best first.
        most_bytes: For all together.

    Returns:
        The quality, and the images that fit.
    """
    left = list(details)
    while True:
        for quality in _QUALITIES:
            encoded = [_encode(detail, quality) for detail in left]
            if sum(entry.size_bytes for entry in encoded) <= most_bytes:
                return quality, encoded
        del left[len(left) // 2]


def _encode(detail: ImageDetail, quality: int) -> EncodedImageDetail:
    context = None if detail.context is None else encode_jpeg(detail.context, 80)
    layers = {
        label: encode_jpeg(np.ascontiguousarray(image), quality, subsampling="4:4:4")
        for label, image in detail.layers.items()
    }
    return EncodedImageDetail(detail.index, detail.gain, detail.box, layers, context)
