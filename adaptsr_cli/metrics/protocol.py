"""Named scoring protocols, and scoring of one image by one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.artifacts.evaluation import ProtocolParameters
from adaptsr_cli.artifacts.metrics import METRICS
from adaptsr_cli.errors import DataError, UsageError, nearest
from adaptsr_cli.metrics.fidelity import SSIM_SIGMA_PX, SSIM_WINDOW_PX, luma, psnr_db, single_luma, ssim

# The smallest trunk (5 MB); the net is printed with every score, so nobody takes it for another.
_ALIASES: Final = {"lpips": "lpips_squeeze"}

# Equal images have infinite PSNR, which no mean and no JSON can hold.
MAX_PSNR_DB: Final = 100.0


@dataclass(frozen=True)
class Protocol:
    """How images are prepared before they are scored.

    Attributes:
        name: As given to ``--protocol``.
        crops_border: Whether a border as wide as the scale is left out on every side.
        scores_luma: Whether PSNR and SSIM are computed on Y, besides RGB.
        single_precision: Whether Y passes through float32, as in BasicSR, where `paper` keeps float64.
        lr_crop_px: Side of the centre crop of the LR image that the network is given; None for the whole image.
        has_reference: Whether outputs are compared with something; else they are only measured by themselves.
    """

    name: str
    crops_border: bool
    scores_luma: bool = True
    single_precision: bool = False
    lr_crop_px: int | None = None
    has_reference: bool = True

    def border_px(self, scale: int) -> int:
        """The width of the border that is left out, in HR pixels."""
        return scale if self.crops_border else 0

    def luma(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 to Y, (H, W) float64 or float32 in [16, 235]."""
        return single_luma(rgb) if self.single_precision else luma(rgb)

    def crop_lr(self, lr: np.ndarray) -> np.ndarray:
        """The part of the LR image that the network is given.

        Args:
            lr: (h, w, 3).

        Raises:
            DataError: It is smaller than the crop.
        """
        return lr if self.lr_crop_px is None else self._crop_centre(lr, 1)

    def crop_hr(self, image: np.ndarray, scale: int) -> np.ndarray:
        """The part of an image of HR size that belongs to `crop_lr`.

        An image that is of the crop's size already is taken as it is: other systems' outputs are often stored so.

        Args:
            image: (H, W, 3), the reference or an output made of the whole LR image.
            scale: Upscaling factor.

        Raises:
            DataError: It is smaller than the crop.
        """
        return image if self.lr_crop_px is None else self._crop_centre(image, scale)

    def _crop_centre(self, image: np.ndarray, scale: int) -> np.ndarray:
        assert self.lr_crop_px is not None
        side = self.lr_crop_px * scale
        height, width = image.shape[:2]
        if min(height, width) < side:
            raise DataError(
                f"an image of {_size_text(image)} px is too small for protocol {self.name}, "
                f"which takes the {side}x{side} px in the middle",
                "use larger images, or `protocol` paper",
            )
        # Floor on the LR grid, so that LR and HR show the same.
        top = (height // scale - self.lr_crop_px) // 2 * scale
        left = (width // scale - self.lr_crop_px) // 2 * scale
        return image[top : top + side, left : left + side]

    def parameters(self, scale: int) -> ProtocolParameters:
        """Everything that the scores depend on, for ``eval.json``."""
        return ProtocolParameters(
            reference=self.has_reference,
            border_px=self.border_px(scale),
            lr_crop_px=self.lr_crop_px,
            channels=("y", "rgb") if self.scores_luma else ("rgb",),
            luma=None if not self.scores_luma else "bt601-16-235-float32" if self.single_precision else "bt601-16-235",
            output_type="uint8",
            ssim_window_px=SSIM_WINDOW_PX,
            ssim_sigma_px=SSIM_SIGMA_PX,
            ssim_downsampling=False,
            average="mean of per-image scores",
        )

    def describe(self, scale: int) -> str:
        """One line for people with the name, printed with every score."""
        if not self.has_reference:
            return f"{self.name}: output rounded to uint8 and measured whole and by itself, mean of per-image scores"
        crop = f"centre crop of {self.lr_crop_px} px LR, " if self.lr_crop_px else ""
        border = f"border of {scale} px left out" if self.crops_border else "no border left out"
        in_float32 = " in float32" if self.single_precision else ""
        channels = f"Y of BT.601 in 16-235{in_float32} and RGB" if self.scores_luma else "RGB alone"
        return (
            f"{self.name}: {crop}output rounded to uint8, {border}, {channels}, "
            f"SSIM by an {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX} Gaussian of sigma {SSIM_SIGMA_PX} without downsampling, "
            "mean of per-image scores"
        )


PAPER: Final = Protocol("paper", crops_border=True)
RGB: Final = Protocol("rgb", crops_border=True, scores_luma=False)
# calculate_psnr and calculate_ssim of BasicSR with crop_border = scale and test_y_channel: true.
BASICSR: Final = Protocol("basicsr", crops_border=True, single_precision=True)
# StableSR and the diffusion networks after it: pairs of 128 and 512 px, PSNR and SSIM on Y of the whole crop.
STABLESR: Final = Protocol("stablesr", crops_border=False, lr_crop_px=128)
WHOLE: Final = Protocol("whole", crops_border=False)
# For photographs of which no better picture exists: they are what the networks are given.
NO_REFERENCE: Final = Protocol("no-reference", crops_border=False, scores_luma=False, has_reference=False)
PROTOCOLS: Final[Mapping[str, Protocol]] = {
    protocol.name: protocol for protocol in (PAPER, RGB, BASICSR, STABLESR, WHOLE, NO_REFERENCE)
}


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UsageError: There is none.
    """
    try:
        return PROTOCOLS[name.strip().lower()]
    except KeyError:
        hint = nearest(name, PROTOCOLS) or f"known: {', '.join(PROTOCOLS)}"
        raise UsageError(f"`protocol` {name!r} is unknown", hint) from None


def default_metrics(protocol: str) -> str:
    """What is measured where nothing is said, as `parse_metrics` reads it.

    Raises:
        UsageError: There is no such protocol.
    """
    return "psnr,ssim,lpips_squeeze" if find_protocol(protocol).has_reference else "niqe,sharpness,noise"


def parse_metrics(text: str) -> tuple[str, ...]:
    """Read ``psnr,ssim,lpips``: names of `METRICS` in the order given, each once.

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
        raise UsageError("`metrics` is empty", f"known: {', '.join(METRICS)}")
    return tuple(chosen)


def score_images(
    sr: np.ndarray,
    hr: np.ndarray,
    *,
    protocol: Protocol,
    scale: int,
    metrics: Sequence[str],
    others: Callable[[np.ndarray, np.ndarray], Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """Score one image against its reference.

    Args:
        sr: (H, W, 3) uint8, what the model made.
        hr: (H, W, 3) uint8, the reference.
        protocol: How both are prepared.
        scale: Upscaling factor, the width of the border left out.
        metrics: Names of `METRICS`; here only ``psnr`` and ``ssim`` are computed.
        others: What scores the others, of two (H, W, 3) uint8 images without the border: the method `score` of
            `adaptsr_cli.metrics.measures.Measures`.

    Returns:
        ``psnr_y_db`` and ``psnr_rgb_db`` in dB (at most 100, which equal images get), ``ssim_y`` and ``ssim_rgb``,
        those on Y where the protocol has Y, and what `others` answers.

    Raises:
        DataError: The sizes differ, or too little is left inside the border.
    """
    sr, hr = _crop(sr, hr, protocol.border_px(scale), needed_px=SSIM_WINDOW_PX if "ssim" in metrics else 1)
    scores: dict[str, float] = {}
    sides = {"rgb": (sr, hr)}
    if protocol.scores_luma:
        sides = {"y": (protocol.luma(sr), protocol.luma(hr)), **sides}
    for channels, (first, second) in sides.items():
        if "psnr" in metrics:
            scores[f"psnr_{channels}_db"] = min(psnr_db(first, second), MAX_PSNR_DB)
        if "ssim" in metrics:
            scores[f"ssim_{channels}"] = ssim(first, second)
    if others is not None:
        scores.update(others(sr, hr))
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
            "use larger images, or `protocol` whole, or `metrics` psnr",
        )
    window = (slice(border_px, border_px + height), slice(border_px, border_px + width))
    return sr[window], hr[window]


def _size_text(image: np.ndarray) -> str:
    """The size of an image for people, width first."""
    return f"{image.shape[1]}x{image.shape[0]}"
