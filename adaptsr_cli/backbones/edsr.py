"""EDSR, which spandrel lacks, for both official key styles (Lim et al., Enhanced Deep Residual Networks, 2017).

Both styles compute the same: pixels are taken to 0-255 and the mean colour of DIV2K is subtracted, a chain of
residual blocks without normalisation works on them, sub-pixel convolutions enlarge, and the mean is added again.
Here the scaling happens inside the modules, so they take and give [0, 1] like all others.

* EDSR-PyTorch: ``sub_mean head body tail add_mean``; the mean shifts are 1x1 convolutions that lie in the file.
* BasicSR: ``conv_first body conv_after_body upsample conv_last``; the mean is a constant of the code. mmagic's has the
  same names but in ``upsample``, and takes white as 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptsr_cli.backbones.architectures import Architecture, ImageModelDescriptor, KeyCondition, get_seq_len
from adaptsr_cli.backbones.hyperparameters import DIV2K_MEAN_RGB, read_pixel_range

PIXEL_RANGE: Final = 255.0

# The wide network does not train without damped residuals (section 3.3), the others have none. No file tells.
_WIDE: Final = 256
_WIDE_RESIDUAL_SCALE: Final = 0.1


class MeanShift(nn.Module):
    """A per-pixel 3x3 colour matrix and offset. Buffers, because it is a constant, not something to adapt."""

    weight: Tensor
    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(3).reshape(3, 3, 1, 1))
        self.register_buffer("bias", torch.zeros(3))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, H, W)."""
        return functional.conv2d(pixels, self.weight, self.bias)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, under the names of EDSR-PyTorch."""

    def __init__(self, width: int, kernel_size: int, residual_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _same_conv(width, width, kernel_size), nn.ReLU(), _same_conv(width, width, kernel_size)
        )
        self.residual_scale = residual_scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        change: Tensor = self.body(features)
        return features + self.residual_scale * change


class NamedResidualBlock(nn.Module):
    """Two convolutions and a shortcut, under the names of BasicSR."""

    def __init__(self, width: int, kernel_size: int, residual_scale: float) -> None:
        super().__init__()
        self.conv1 = _same_conv(width, width, kernel_size)
        self.conv2 = _same_conv(width, width, kernel_size)
        self.residual_scale = residual_scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        change: Tensor = self.conv2(functional.relu(self.conv1(features)))
        return features + self.residual_scale * change


class EDSR(nn.Module):
    """EDSR under the names of EDSR-PyTorch.

    Args:
        scale: 3 or a power of two.
        width: Channels of the body.
        blocks: Residual blocks.
        kernel_size: Of all convolutions.
        residual_scale: Factor on what a block adds.
        pixel_range: What white is inside the network: 255, or 1 where the mean shifts in the file say so.
    """

    def __init__(
        self, scale: int, width: int, blocks: int, kernel_size: int, residual_scale: float, pixel_range: float
    ) -> None:
        super().__init__()
        self.pixel_range = pixel_range
        self.sub_mean, self.add_mean = MeanShift(), MeanShift()
        self.head = nn.Sequential(_same_conv(3, width, kernel_size))
        self.body = nn.Sequential(
            *(ResidualBlock(width, kernel_size, residual_scale) for _ in range(blocks)),
            _same_conv(width, width, kernel_size),
        )
        self.tail = nn.Sequential(_enlarger(scale, width, kernel_size), _same_conv(width, 3, kernel_size))

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, scale * H, scale * W)."""
        shallow = self.head(self.sub_mean(lr * self.pixel_range))
        sr: Tensor = self.add_mean(self.tail(shallow + self.body(shallow)))
        return sr / self.pixel_range


class BasicsrEDSR(nn.Module):
    """EDSR under the names of BasicSR.

    Args:
        scale: 3 or a power of two.
        width: Channels of the body.
        blocks: Residual blocks.
        kernel_size: Of all convolutions.
        residual_scale: Factor on what a block adds.
        pixel_range: What white is inside the network: 255 in BasicSR, 1 in mmagic.
    """

    mean: Tensor

    def __init__(
        self,
        scale: int,
        width: int,
        blocks: int,
        kernel_size: int,
        residual_scale: float,
        pixel_range: float = PIXEL_RANGE,
    ) -> None:
        super().__init__()
        self.pixel_range = pixel_range
        mean = torch.tensor(DIV2K_MEAN_RGB).reshape(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.conv_first = _same_conv(3, width, kernel_size)
        self.body = nn.Sequential(*(NamedResidualBlock(width, kernel_size, residual_scale) for _ in range(blocks)))
        self.conv_after_body = _same_conv(width, width, kernel_size)
        self.upsample = _enlarger(scale, width, kernel_size)
        self.conv_last = _same_conv(width, 3, kernel_size)

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, scale * H, scale * W)."""
        shallow = self.conv_first((lr - self.mean) * self.pixel_range)
        deep = shallow + self.conv_after_body(self.body(shallow))
        sr: Tensor = self.conv_last(self.upsample(deep))
        return sr / self.pixel_range + self.mean


def _same_conv(channels_in: int, channels_out: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2)


def _enlarger(scale: int, width: int, kernel_size: int) -> nn.Sequential:
    """Sub-pixel convolutions: one of factor 3, or as many of factor 2 as `scale` needs."""
    factors = [3] if scale == 3 else [2] * round(math.log2(scale))
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [_same_conv(width, width * factor**2, kernel_size), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


def _basicsr_key(key: str) -> str:
    """The key of mmagic's network as BasicSR's: ``upsample.1.upsample_conv.bias`` -> ``upsample.2.bias``."""
    found = re.fullmatch(r"upsample\.(\d+)\.upsample_conv\.(\w+)", key)
    return f"upsample.{2 * int(found[1])}.{found[2]}" if found else key


def _read_scale(state: Mapping[str, Tensor], enlarger: str) -> int:
    """The scale that the sub-pixel convolutions under the name `enlarger` make together."""
    scale = 1
    for index in range(0, get_seq_len(state, enlarger), 2):
        channels_out, channels_in = state[f"{enlarger}.{index}.weight"].shape[:2]
        scale *= math.isqrt(channels_out // channels_in)
    return scale


class EDSRArch(Architecture[nn.Module]):
    """Recognises and loads both key styles."""

    def __init__(self) -> None:
        super().__init__(
            id="EDSR",
            detect=KeyCondition.has_any(
                KeyCondition.has_all(
                    "sub_mean.bias",
                    "head.0.weight",
                    "body.0.body.0.weight",
                    "body.0.body.2.weight",
                    "tail.0.0.weight",
                    "tail.1.weight",
                ),
                KeyCondition.has_all(
                    "conv_first.weight",
                    "body.0.conv1.weight",
                    "body.0.conv2.weight",
                    "conv_after_body.weight",
                    KeyCondition.has_any("upsample.0.weight", "upsample.0.upsample_conv.weight"),
                    "conv_last.weight",
                ),
            ),
        )

    def load(self, state_dict: dict[str, Any]) -> ImageModelDescriptor[nn.Module]:
        """Build the network that the keys and shapes describe, and fills it."""
        pytorch_style = "head.0.weight" in state_dict
        mmagic_style = "upsample.0.upsample_conv.weight" in state_dict
        if mmagic_style:  # convolution and shuffle are one module there
            state_dict = {_basicsr_key(key): tensor for key, tensor in state_dict.items()}
        first = state_dict["head.0.weight" if pytorch_style else "conv_first.weight"]
        width, channels, kernel_size = first.shape[:3]
        scale = _read_scale(state_dict, "tail.0" if pytorch_style else "upsample")
        blocks = get_seq_len(state_dict, "body") - pytorch_style  # that style's last one is the closing convolution
        residual_scale = _WIDE_RESIDUAL_SCALE if width >= _WIDE else 1.0
        model: nn.Module
        if pytorch_style:
            pixel_range = read_pixel_range(state_dict["sub_mean.bias"])
            model = EDSR(
                scale=scale,
                width=width,
                blocks=blocks,
                kernel_size=kernel_size,
                residual_scale=residual_scale,
                pixel_range=pixel_range,
            )
        else:
            model = BasicsrEDSR(
                scale=scale,
                width=width,
                blocks=blocks,
                kernel_size=kernel_size,
                residual_scale=residual_scale,
                pixel_range=1.0 if mmagic_style else PIXEL_RANGE,
            )
        return ImageModelDescriptor(
            model,
            state_dict,
            architecture=self,
            purpose="SR",
            tags=[f"{width}nf", f"{blocks}nb"],
            supports_half=False,
            supports_bfloat16=True,
            scale=scale,
            input_channels=channels,
            output_channels=3,
        )
