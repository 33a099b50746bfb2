"""Decoded contents of an image file: pixels, transparency, colour profile, EXIF, pages or frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.attached.policy import KeepPolicy
from adaptsr_cli.io.attached.record import NOTHING, Attachments

_PIECE_ROWS: Final = 64
_OVERSHOOT: Final = 0.002  # what filters and rounding leave outside of the range


FIRST_FRAME_ONLY: Final = "is an animation: only its first frame is used"
"""The remark on a file of a format of which no more is read."""


@dataclass(frozen=True)
class Animation:
    """Timing of the frames of a picture.

    Attributes:
        durations_ms: How long each frame stands; the poster, which is no frame, has an entry too.
        loops: How often the whole is played; 0 for ever.
        poster: The first picture is only for programs that know no animation (PNG).
    """

    durations_ms: tuple[float, ...]
    loops: int = 0
    poster: bool = False


@dataclass(frozen=True)
class Picture:
    """Decoded contents of an image file.

    Attributes:
        colour: (H, W, 3) uint8 or uint16; grey is repeated to three channels.
        alpha: (H, W) of the same type, or None where the file has no transparency. Colour is not multiplied by it.
        grey: Whether the file was grey; it is then written as grey again.
        icc: The colour profile that the numbers are in, or None.
        exif: EXIF with its ``Exif`` prefix; the orientation is already applied and its tag cleared.
        further: The other pages of a TIFF, or frames of an animation.
        animation: The timing of the frames; None for a single picture and for pages.
        remarks: What the user should know of how the file was read.
        attached: What else the file says of the picture.
        damage: What is wrong with the data of the file, if it was to be decoded all the same.
        gain_map: A JPEG that makes HDR of the picture, turned like it.
        cicp: The code points of H.273 that the numbers are in, where no profile says it: HDR, and colours told by nclx
            or PNG's cICP; None for sRGB.
    """

    colour: AnyArray
    alpha: AnyArray | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    further: tuple[Picture, ...] = ()
    animation: Animation | None = None
    remarks: tuple[str, ...] = ()
    damage: str | None = None
    cicp: tuple[int, int, int, int] | None = None
    gain_map: bytes | None = None
    attached: Attachments = NOTHING

    @property
    def frames(self) -> tuple[Picture, ...]:
        """All pages or frames, the first included, each as a picture of its own."""
        return (replace(self, further=(), animation=None), *self.further)


def keep_beside(picture: Picture, policy: KeepPolicy) -> Picture:
    """The picture, all its pages or frames included, with what goes along by a policy."""
    exif, attached = policy.apply(picture.exif, picture.attached)
    further = tuple(keep_beside(frame, policy) for frame in picture.further)
    return replace(picture, exif=exif, attached=attached, further=further)


def picture_of(
    layers: AnyArray,
    *,
    grey: bool,
    icc: bytes | None = None,
    exif: bytes | None = None,
    cicp: tuple[int, int, int, int] | None = None,
    remarks: tuple[str, ...] = (),
) -> Picture:
    """Make a picture of the channels that a file stores.

    Args:
        layers: (H, W, C) uint8 or uint16: grey, grey and alpha, RGB, or RGB and alpha.
        grey: Whether to write it as grey again.
        icc: The colour profile.
        exif: EXIF, its orientation cleared.
        cicp: Code points of H.273.
        remarks: What the user should know.
    """
    alpha = np.ascontiguousarray(layers[..., -1]) if layers.shape[2] in {2, 4} else None
    colour = layers[..., :3] if layers.shape[2] >= 3 else layers[..., :1].repeat(3, axis=2)
    return Picture(np.array(colour, order="C"), alpha, grey, icc, exif, cicp=cicp, remarks=remarks)


def layers_of(picture: Picture) -> AnyArray:
    """Return the channels to store, (H, W, C): grey or RGB, and alpha where there is one."""
    colour = picture.colour[..., :1] if picture.grey else picture.colour
    layers = colour if picture.alpha is None else np.concatenate([colour, picture.alpha[..., None]], axis=2)
    return np.ascontiguousarray(layers)


def to_8_bit(samples: AnyArray) -> AnyArray:
    """Round uint16 to uint8, 65535 to 255; uint8 is given back as it is."""
    if samples.dtype == np.uint8:
        return samples
    eighth: AnyArray = np.empty(samples.shape, np.uint8)
    # In pieces: on the way each sample takes several times what is kept of it.
    for start in range(0, len(samples), _PIECE_ROWS):
        eighth[start : start + _PIECE_ROWS] = (samples[start : start + _PIECE_ROWS].astype(np.uint32) + 128) // 257
    return eighth


def stretch(samples: AnyArray, bits: int) -> AnyArray:
    """Bring uint16 of which only the lower `bits` are used, 9 to 15, to the whole range; 16 is given back."""
    if bits == 16:
        return samples
    most = (1 << bits) - 1
    stretched: AnyArray = ((samples.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)
    return stretched


def quantise(samples: AnyArray, path: Path) -> AnyArray:
    """Bring floating-point samples in [0, 1] to the whole range of uint16.

    Args:
        samples: (H, W, C) of any floating-point type.
        path: Where they are from.

    Raises:
        ImageError: Samples that are no numbers, or outside of the range by more than rounding.
    """
    check_range(samples, f"cannot read {path}")
    whole: AnyArray = np.empty(samples.shape, np.uint16)
    for start in range(0, len(samples), _PIECE_ROWS):
        piece = samples[start : start + _PIECE_ROWS].astype(np.float32)
        whole[start : start + _PIECE_ROWS] = np.rint(piece.clip(0, 1) * 65535)
    return whole


def check_range(samples: AnyArray, complaint: str) -> None:
    """Refuse floating-point samples that are no picture's.

    Args:
        samples: Of any shape.
        complaint: What cannot be done with them.

    Raises:
        ImageError: Samples that are no numbers, or outside of [0, 1] by more than rounding.
    """
    least, most = float(samples.min()), float(samples.max())
    if not (least >= -_OVERSHOOT and most <= 1 + _OVERSHOOT):
        raise ImageError(
            f"{complaint}: its floating-point samples reach from {least:g} to {most:g}, a picture's from 0 to 1",
            "scale it to 0 to 1, HDR by tone mapping, or give it 16 bits",
        )


def divide_by_alpha(colour: AnyArray, alpha: AnyArray) -> AnyArray:
    """Undo the multiplication of the colour by the transparency.

    Args:
        colour: (H, W, C) uint8 or uint16.
        alpha: (H, W, 1) of the same type.
    """
    whole = int(np.iinfo(colour.dtype).max)
    most = np.maximum(alpha, 1).astype(np.uint32)
    straight = (colour.astype(np.uint32) * whole + most // 2) // most
    divided: AnyArray = np.minimum(straight, whole).astype(colour.dtype)
    return divided


def narrow(picture: Picture) -> Picture:
    """The picture, all its pages or frames included, with 8 bits a channel."""
    return replace(
        picture,
        colour=to_8_bit(picture.colour),
        alpha=None if picture.alpha is None else to_8_bit(picture.alpha),
        further=tuple(narrow(frame) for frame in picture.further),
    )


def orient(layers: AnyArray, orientation: int) -> AnyArray:
    """Turn (H, W, C) as the eight EXIF orientations say; any other number turns nothing."""
    if orientation in {5, 6, 7, 8}:
        layers = layers.transpose(1, 0, 2)  # (W, H, C)
    if orientation in {2, 3, 6, 7}:
        layers = layers[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        layers = layers[::-1]
    return layers
