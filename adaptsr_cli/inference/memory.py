"""Memory estimates for upscaling: host memory of an image, device memory of a tile."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.io.formats.kind import Outline
from adaptsr_cli.io.images import holds_16_bit

# All in bytes a pixel, measured by `benchmarks/upscale_memory.py` and on noise, which no encoder makes smaller.
_READ: Final = 40  # of the input: the file, what the decoder holds, and copies on the way
_CLEAR: Final = 80  # of an input with transparency: its colour is extended in floats
_BAND: Final = 24  # floats of a row of tiles, once as the network gives them and once as they are joined
_MASK: Final = 8  # interpolating transparency
_PILLOW: Final = 4  # its own copy of the picture, or ours with transparency beside the colour
_FRAME: Final = 12  # copies of each frame of an animation, by which Pillow finds what changes
_SLACK: Final = 1 + 1 / 32  # what allocators and libraries take beside
# What these hold beside the picture until the file is whole; AVIF more on small pictures than on large ones.
_ENCODERS: Final = {".webp": 44, ".avif": 92, ".heic": 92, ".heif": 92, ".hif": 92, ".jxl": 92}


_OUT_OF_MEMORY: Final = (
    "out of memory",
    "not enough memory",
    "DefaultCPUAllocator",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether that is what went wrong on the device."""
    return isinstance(error, torch.OutOfMemoryError) or any(mark in str(error) for mark in _OUT_OF_MEMORY)


def picture_bytes(outline: Outline, target: Path, *, scale: int, outscale: float, band_px: int) -> int:
    """The most host memory that reading, upscaling and writing one picture takes, in bytes.

    Reading is done before the result begins, and the network's rows and the mask's floats are gone before it is
    encoded. So of these only the greatest counts, beside the input and the rounded result, which are held all the time.

    Not counted is what the network takes for its tiles, which does not depend on the size.

    Args:
        outline: The input.
        target: The result's file; its suffix counts.
        scale: The network's factor.
        outscale: The final factor.
        band_px: LR pixels in work at a time; see `Upscaler.most_band_px`.
    """
    lr_px = outline.width_px * outline.height_px
    sr_px, resized_px = lr_px * scale**2, lr_px * outscale**2
    channels, depth = 3 + outline.alpha, 1 + outline.deep
    read = _READ * lr_px
    held = channels * depth * outline.frames * (lr_px + resized_px)
    band: float = _BAND * band_px * scale**2
    mask: float = _MASK * sr_px if outline.alpha else 0
    if outscale != scale:  # the network's whole result as floats, then with a channel on its way to the new size
        band = 12 * sr_px + max(band, 8 * (sr_px + resized_px))
        mask += 8 * (sr_px + resized_px)
    work = max(band, mask) + (_CLEAR * lr_px if outline.alpha else 0)
    encoder = _encoder_px_bytes(outline, target) * resized_px
    return math.ceil(_SLACK * max(held + max(work, encoder), outline.frames * read))


def _encoder_px_bytes(outline: Outline, target: Path) -> int:
    """What encoding takes beside the picture, in bytes a pixel."""
    suffix, depth = target.suffix.lower(), 1 + outline.deep
    channels = 3 + outline.alpha
    joined = channels * depth if outline.alpha else 0
    if suffix in {".tif", ".tiff"}:
        return joined  # a page at a time
    if outline.deep and holds_16_bit(target) and suffix not in _ENCODERS:
        return joined + 2 * channels * depth  # the file, twice while it grows
    narrowed = channels * depth if outline.deep else 0
    several = _FRAME if outline.frames > 1 else 0
    return outline.frames * (narrowed + several + _ENCODERS.get(suffix, _PILLOW))


def greediest_module_bytes(backbone: Backbone, device: torch.device, probe_px: int) -> int:
    """The most that one module takes in and gives out, in bytes, on an image of `probe_px` squared."""
    most = 0

    def record(_module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal most
        outputs = output if isinstance(output, tuple) else (output,)
        sizes = (value.numel() * value.element_size() for value in (*inputs, *outputs) if isinstance(value, Tensor))
        most = max(most, sum(sizes))

    handles = [module.register_forward_hook(record) for module in backbone.model.modules()]
    try:
        with torch.inference_mode():
            super_resolve(backbone, torch.zeros(1, 3, probe_px, probe_px, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return most
