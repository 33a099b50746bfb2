"""What exactly a score means: the named protocols, and scoring one image by one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.errors import DataError, UsageError, nearest
from adaptsr_cli.metrics.fidelity import SSIM_WINDOW_PX, luma, psnr_db, ssim

METRICS: Final = ("psnr", "ssim", "lpips_squeeze", "lpips_alex", "lpips_vgg")
# The smallest trunk (5 MB); the net is printed with every score, so nobody takes it for another.
_ALIASES: Final = {"lpips": "lpips_squeeze"}

# Equal images have infinite PSNR, which no mean and no JSON can hold.
MOST_PSNR_DB: Final = 100.0


@dataclass(frozen=True)
class Protocol:
    """How images are prepared before they are scored.

    Attributes:
        name: As given to ``--protocol``.
        crops_border: Whether a border as wide as the scale is left out on every side.
    """

    name: str
    crops_border: bool

    def border_px(self, scale: int) -> int:
        """The width of the border that is left out, in HR pixels."""
        return scale if self.crops_border else 0

    def describe(self, scale: int) -> str:
        """One line for people, printed with every score."""
        border = f"border of {scale} px left out" if self.crops_border else "no border left out"
        return (
            f"output rounded to uint8, {border}, Y of BT.601 in 16-235 and RGB, "
            "SSIM by an 11x11 Gaussian of sigma 1.5 without downsampling, mean of per-image scores"
        )


PAPER: Final = Protocol("paper", crops_border=True)
WHOLE: Final = Protocol("whole", crops_border=False)
PROTOCOLS: Final[Mapping[str, Protocol]] = {protocol.name: protocol for protocol in (PAPER, WHOLE)}


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UsageError: There is none.
    """
    try:
        return PROTOCOLS[name.strip().lower()]
    except KeyError:
        hint = nearest(name, PROTOCOLS) or f"known: {', '.join(PROTOCOLS)}"
        raise UsageError(f"--protocol {name!r} is unknown", hint) from None


def parse_metrics(text: str) -> tuple[str, ...]:
    """Reads ``psnr,ssim,lpips``: names of `METRICS` in the order given, each once.

    ``lpips`` alone means ``lpips_squeeze``; ``lpips:alex`` and ``lpips-alex`` are read as ``lpips_alex``.

    Raises:
        UsageError: No name, or one that is not known.
    """
    chosen: list[str] = []
    for word in text.split(","):
        written = word.strip()
        if not written:
            continue
        name = written.lower().replace(":", "_").replace("-", "_")
        name = _ALIASES.get(name, name)
        if name not in METRICS:
            known = (*METRICS, *_ALIASES)
            raise UsageError(f"metric {written!r} is unknown", nearest(name, known) or f"known: {', '.join(METRICS)}")
        if name not in chosen:
            chosen.append(name)
    if not chosen:
        raise UsageError("--metrics names no metric", f"known: {', '.join(METRICS)}")
    return tuple(chosen)


def score_images(
    sr: np.ndarray,
    hr: np.ndarray,
    *,
    protocol: Protocol,
    scale: int,
    metrics: Sequence[str],
    perceptual: Callable[[np.ndarray, np.ndarray], Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """Scores one image against its reference.

    Args:
        sr: (H, W, 3) uint8, what the model made.
        hr: (H, W, 3) uint8, the reference.
        protocol: How both are prepared.
        scale: Upscaling factor, the width of the border left out.
        metrics: Names of `METRICS`; here only ``psnr`` and ``ssim`` are computed.
        perceptual: What scores the others, of two (H, W, 3) uint8 images without the border: the method `score` of
            `adaptsr_cli.metrics.perceptual.PerceptualMetrics`.

    Returns:
        ``psnr_y_db`` and ``psnr_rgb_db`` in dB (at most 100, which equal images get), ``ssim_y`` and ``ssim_rgb``,
        and what `perceptual` answers.

    Raises:
        DataError: The sizes differ, or too little is left inside the border.
    """
    sr, hr = _crop(sr, hr, protocol.border_px(scale), needed_px=SSIM_WINDOW_PX if "ssim" in metrics else 1)
    scores: dict[str, float] = {}
    sr_luma, hr_luma = luma(sr), luma(hr)
    if "psnr" in metrics:
        scores["psnr_y_db"] = min(psnr_db(sr_luma, hr_luma), MOST_PSNR_DB)
    if "ssim" in metrics:
        scores["ssim_y"] = ssim(sr_luma, hr_luma)
    if "psnr" in metrics:
        scores["psnr_rgb_db"] = min(psnr_db(sr, hr), MOST_PSNR_DB)
    if "ssim" in metrics:
        scores["ssim_rgb"] = ssim(sr, hr)
    if perceptual is not None:
        scores.update(perceptual(sr, hr))
    return scores


def _crop(sr: np.ndarray, hr: np.ndarray, border_px: int, needed_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Both images without the border, once they are known to be comparable."""
    if sr.dtype != np.uint8 or hr.dtype != np.uint8:
        raise TypeError(f"scores are defined on uint8 images, not on {sr.dtype} and {hr.dtype}")
    if sr.shape != hr.shape:
        raise DataError(
            f"the output is {_size_text(sr)} px but its reference is {_size_text(hr)} px",
            "compare images of one size; a reference is the low-resolution size times the scale",
        )
    height, width = (size - 2 * border_px for size in sr.shape[:2])
    if min(height, width) < needed_px:
        raise DataError(
            f"an image of {_size_text(sr)} px is too small to be scored: inside a border of {border_px} px "
            f"at least {needed_px} px must be left",
            "use larger images, or --protocol whole, or --metrics psnr",
        )
    window = (slice(border_px, border_px + height), slice(border_px, border_px + width))
    return sr[window], hr[window]


def _size_text(image: np.ndarray) -> str:
    """The size of an image for people, width first."""
    return f"{image.shape[1]}x{image.shape[0]}"
