"""Conversion of numbers to sRGB, and of linear light to a curve that a network knows.

Networks are trained on sRGB. Numbers of a wide gamut (Display P3, Adobe RGB) are as sRGB with less colour to a network,
so they go through as they are and keep their profile. Linear light is another matter: edges and noise look different in
it. Its numbers are brought to sRGB's curve, and the profile with them.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.io.colour.code_points import LINEAR, SRGB, is_known, make_profile, name_hdr, settle
from adaptsr_cli.io.colour.dcf import REMARK, make_adobe_rgb, says_adobe_rgb
from adaptsr_cli.io.colour.icc import is_linear, read_cicp, read_curve, read_luminance, read_space, with_srgb_curve
from adaptsr_cli.io.high_bit_depth import transform_colours
from adaptsr_cli.io.pictures import Picture

LINEAR_REMARK: Final = "its linear light is converted to sRGB's tone curve, which networks know"
UNFIT_INK: Final = (
    "its colour profile is not for CMYK: it is left out, and the colours are converted by a plain formula"
)
_FITTING: Final = {True: ("GRAY", "RGB"), False: ("RGB",)}


def settle_colours(picture: Picture) -> Picture:
    """The picture with numbers as a network knows them and a description that is true of them.

    A profile that is damaged or for other channels is left out, code points that stand for sRGB too, and linear light
    is converted. What was changed is among the remarks.
    """
    frames = [_settle_frame(frame) for frame in picture.frames]
    remarks = dict.fromkeys((*picture.remarks, *(remark for frame in frames for remark in frame.remarks)))
    first, *further = (replace(frame, remarks=()) for frame in frames)
    return replace(first, further=tuple(further), animation=picture.animation, remarks=tuple(remarks))


def _settle_frame(frame: Picture) -> Picture:
    icc, points, remarks = frame.icc, frame.cicp, list(frame.remarks)
    if icc is not None:
        space = read_space(icc)
        within = read_cicp(icc)
        if space not in _FITTING[frame.grey]:
            kind = f"for {space}, which its pixels are not" if space else "damaged"
            remarks.append(f"its colour profile is {kind}: it is left out, and the colours are taken for sRGB")
            icc = None
        elif within is not None and name_hdr(within):
            points = points or within
    if icc is None and points is None and not frame.grey and frame.exif and says_adobe_rgb(frame.exif):
        icc = make_adobe_rgb()
        remarks.append(REMARK)
    points = settle(points) if points is not None else None
    if points is not None and not is_known(points):
        remarks.append(f"its colours are of an unknown kind (code points {points[0]}, {points[1]}), taken for sRGB")
        points = None
    if name_hdr(points):
        icc = None  # the code points say it all, and a profile of HDR is but an approximation
    elif points is not None and icc is not None:
        points = None
    frame = replace(frame, icc=icc, cicp=points, remarks=tuple(remarks))
    if points is not None and points[1] == LINEAR:
        frame = replace(frame, cicp=settle((points[0], SRGB, 0, 1)))
        return _encode_light(frame, None)
    if icc is not None and is_linear(icc):
        described = with_srgb_curve(icc)
        return _encode_light(replace(frame, icc=described), icc) if described else frame
    return frame


def _encode_light(frame: Picture, icc: bytes | None) -> Picture:
    """Bring numbers that are light, or nearly so by their profile, to sRGB's curve."""
    most = np.iinfo(frame.colour.dtype).max
    light = np.linspace(0, 1, most + 1)
    curve = read_curve(icc) if icc else None
    if curve is not None:
        light = np.clip(curve(light), 0, 1)
    table = np.rint(encode_srgb(light) * most).astype(frame.colour.dtype)
    return replace(frame, colour=table[frame.colour], remarks=(*frame.remarks, LINEAR_REMARK))


def encode_srgb(light: AnyArray) -> AnyArray:
    """Light to sRGB's numbers, both in [0, 1]."""
    encoded: AnyArray = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)
    return encoded


def convert_to_srgb(picture: Picture) -> Picture:
    """The picture, all its pages or frames included, in sRGB; what lies outside of its gamut is cut off.

    Raises:
        ImageError: More than 8 bits a channel, and imagecodecs is not installed.
        ValueError: A profile that lcms does not understand.
    """
    further = tuple(_convert_frame(frame) for frame in picture.further)
    return replace(_convert_frame(replace(picture, further=())), further=further)


def _convert_frame(frame: Picture) -> Picture:
    icc = frame.icc
    if icc is None and frame.cicp is not None:
        icc = make_profile(frame.cicp, grey=False)
    if icc is None:
        return frame
    grey_profile = read_space(icc) == "GRAY"
    source = frame.colour[..., :1] if grey_profile else frame.colour
    colour = to_srgb(source, icc)
    if frame.grey:
        colour = colour[..., :1].repeat(3, axis=2) if grey_profile else colour
    return replace(frame, colour=colour, icc=None, cicp=None, grey=frame.grey and grey_profile)


def to_srgb(samples: AnyArray, icc: bytes) -> AnyArray:
    """Convert samples by their profile.

    Args:
        samples: (H, W, C) uint8 or uint16 of grey, RGB or CMYK (0 for no ink).
        icc: A profile of C channels.

    Returns:
        (H, W, 3) of the same type.
    """
    curve = read_curve(icc) if samples.shape[2] == 1 else None
    if curve is not None:  # lcms joins grey's curves with sRGB's in a coarse table, which is far off in the shadows
        most = np.iinfo(samples.dtype).max
        light = read_luminance(icc, np.clip(curve(np.linspace(0, 1, most + 1)), 0, 1))
        table: AnyArray = np.rint(encode_srgb(light) * most).astype(samples.dtype)
        return table[samples].repeat(3, axis=2)
    if samples.dtype != np.uint8:
        return transform_colours(samples, icc)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[samples.shape[2]]
    return np.asarray(convert_image(Image.frombytes(mode, samples.shape[1::-1], samples.tobytes()), icc))


def cmyk_to_srgb(samples: AnyArray, icc: bytes | None) -> AnyArray:
    """Convert (H, W, 4) uint8 or uint16 of CMYK, 0 for no ink, to sRGB; without a profile by the plain formula."""
    if icc is not None:
        return to_srgb(samples, icc)
    most = int(np.iinfo(samples.dtype).max)
    light = most - samples.astype(np.uint32)
    plain: AnyArray = ((light[..., :3] * light[..., 3:] + most // 2) // most).astype(samples.dtype)
    return plain


def convert_image(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert an image of Pillow's to RGB in sRGB; CMYK without a profile by the plain formula.

    Raises:
        ValueError: A damaged profile.
    """
    if image.mode == "CMYK" and icc is None:
        return image.convert("RGB")
    try:
        source: Any = (
            ImageCms.createProfile("LAB") if image.mode == "LAB" else ImageCms.ImageCmsProfile(BytesIO(icc or b""))
        )
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(f"its {image.mode} colour profile is damaged") from error
    assert isinstance(converted, Image.Image)
    return converted
