"""A loaded super-resolution network, facts about its architecture, and its forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptsr_cli.artifacts.base import BackboneIdentity
from adaptsr_cli.io.checkpoints import Checkpoint

# A bound for very deep chains, whose far context counts for nothing: RRDB's kernels reach some 350 pixels, which would
# make a tile mostly margin. The widest EDSR (69) is still below it and so tiles exactly.
MAX_REACH_PX: Final = 80


@dataclass(frozen=True)
class Traits:
    """Facts about one architecture that its code does not tell.

    Attributes:
        never_adapt: Patterns (matched in full) of module names that are constants, never adapted.
        train_mode_classes: Names of module classes through which gradients flow in train mode only.
        fused_qkv: Patterns of names of Linear modules whose rows are three equal blocks, q, k and v in this order.
        tile_multiple_px: LR pixels to which the origin and size of a tile must be aligned for its pooling cells or
            windows to fall where they fall in the whole image.
        window_attribute: Name of the attribute of the network that holds its window size; on loading it goes into
            `tile_multiple_px`.
        halo_px: LR pixels of context that a tile needs on each side. Where a network has attention windows or
            global pooling no number is exact, and this is an overlap that is enough in practice. None: unknown.
        is_conv_chain: The network is a plain chain of convolutions, so that on loading `halo_px` becomes what their
            kernels reach, at most `MAX_REACH_PX`. On loading `halo_px` is also made a multiple of
            `tile_multiple_px`.
        looks_at_all: Something in the network goes by all pixels that it is given (pooling to one value, norms over the
            image, attention between channels), so that tiles are near the whole image's result, not equal to it. On
            loading it is also set where the network has such a layer of torch's.
        one_image_at_a_time: A batch of several images is not computed as each of them alone would be.
        channels_last: Whether the network runs faster on images whose channels lie together in memory.
        channels_last_on_cuda: Whether that holds on CUDA too where no gradient is wanted. SAFMN on 1 MP, H100: 101 and
            76 ms in fp32, 75 and 57 ms in bf16; EDSR 154 and 139, but 39 and 47; SwinIR the same.
        bf16: Known good in bfloat16.
        bf16_on_cpu: Networks x4 are trained as well in it on CPUs that compute in it, and faster, as was measured.
        fp16: Known good in float16 on CUDA.
    """

    never_adapt: tuple[str, ...] = ()
    train_mode_classes: tuple[str, ...] = ()
    fused_qkv: tuple[str, ...] = (r".*\.qkv",)
    tile_multiple_px: int = 1
    window_attribute: str | None = None
    halo_px: int | None = None
    is_conv_chain: bool = False
    looks_at_all: bool = False
    one_image_at_a_time: bool = False
    channels_last: bool = False
    channels_last_on_cuda: bool = True
    bf16: bool = True
    bf16_on_cpu: bool = False
    fp16: bool = False


_MEAN_SHIFTS: Final = (r"sub_mean", r"add_mean")

# Keyed by spandrel's architecture id. What is not listed has the defaults above.
TRAITS: Final[Mapping[str, Traits]] = {
    # Convolutions only: the halo is what the kernels reach.
    "Compact": Traits(is_conv_chain=True, fp16=True),
    "EDSR": Traits(never_adapt=_MEAN_SHIFTS, is_conv_chain=True, channels_last=True),
    "ESRGAN": Traits(is_conv_chain=True, fp16=True),
    "MoSR": Traits(is_conv_chain=True),
    # The large kernels are written into their own input in eval mode, which autograd forbids. RealPLKSR's GroupNorm
    # looks at the whole image, hence the fixed overlap.
    "PLKSR": Traits(train_mode_classes=("PLKConv2d", "RectSparsePLKConv2d", "SparsePLKConv2d"), halo_px=48),
    "SPAN": Traits(is_conv_chain=True, channels_last=True, fp16=True),
    "SwiftSRGAN": Traits(is_conv_chain=True, fp16=True),
    # Channel attention pools over the whole image: no halo is exact.
    "MoESR": Traits(looks_at_all=True, halo_px=48),
    "RCAN": Traits(never_adapt=_MEAN_SHIFTS, halo_px=48, channels_last=True),
    "RealCUGAN": Traits(looks_at_all=True, tile_multiple_px=4, halo_px=32),
    # In eval mode the experts of a batch are all chosen from its first image.
    "SeemoRe": Traits(halo_px=32, one_image_at_a_time=True),
    # Max pooling by 2, 4 and 8 in every block: cells must fall where they fall in the whole image. Its reach is some
    # 130 pixels; tiles with 32 differ from the whole by at most 0.2 grey levels (bundled x4 and published x2 weights).
    "SAFMN": Traits(tile_multiple_px=8, halo_px=32, channels_last=True, channels_last_on_cuda=False, bf16_on_cpu=True),
    # Attention windows: aligned tiles, and an overlap of two windows or more. Measured on published DCTLSA weights:
    # 1.1 grey levels at most with two windows, 0.1 with three.
    "ATD": Traits(fused_qkv=(r".*\.wqkv",), window_attribute="window_size", halo_px=48, channels_last=True),
    "CRAFT": Traits(tile_multiple_px=16, halo_px=48, channels_last=True),
    # Windows of 8 x 32 px, but attention between channels and pooled gates go by all pixels. See the figures in
    # benchmarks/results/tile_seams_genuine.md.
    "DAT": Traits(looks_at_all=True, tile_multiple_px=32, halo_px=64, channels_last=True),
    "DCTLSA": Traits(tile_multiple_px=16, halo_px=48, channels_last=True, bf16_on_cpu=True),
    "DITN": Traits(halo_px=32),
    "DRCT": Traits(window_attribute="window_size", halo_px=48, channels_last=True),
    "FDAT": Traits(tile_multiple_px=8, halo_px=32),
    # The rows of GRL's fused projection are q, k, v of the windows and then q, k, v of the stripes.
    "GRL": Traits(fused_qkv=(), tile_multiple_px=64, halo_px=64),
    "HAT": Traits(window_attribute="window_size", halo_px=48, channels_last=True),
    "OmniSR": Traits(tile_multiple_px=8, halo_px=32),
    "RGT": Traits(tile_multiple_px=32, halo_px=64, channels_last=True),
    "Swin2SR": Traits(window_attribute="window_size", halo_px=32, channels_last=True),
    "SwinIR": Traits(window_attribute="window_size", halo_px=32, channels_last=True),
}


def traits_of(architecture: str) -> Traits:
    """The facts about an architecture; the defaults for one that needs nothing special."""
    return TRAITS.get(architecture, Traits())


@dataclass(frozen=True)
class Backbone:
    """A super-resolution network, ready to be run or adapted.

    Attributes:
        model: The network: float32, in eval mode, no parameter wants a gradient. RGB in [0, 1] in and out.
        identity: Which weights these are.
        checkpoint: The file's own tensors, untouched.
        keys: Name of a parameter or buffer of the published network -> the key of the same tensor in
            `checkpoint.tensors`. A name that is missing here has no one tensor in the file. `model` has the same names,
            but for the factors of `backbones.products`.
        traits: The facts about the architecture, `halo_px` and `tile_multiple_px` being those of this network.
        multiple_px: Width and height of the input must be multiples of this.
        minimum_px: Width and height of the input must be at least this.
        square: The input must be square.
        arguments: What the network's constructor was given.
    """

    model: nn.Module
    identity: BackboneIdentity
    checkpoint: Checkpoint
    keys: Mapping[str, str]
    traits: Traits
    multiple_px: int
    minimum_px: int
    square: bool
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scale(self) -> int:
        """The upscaling factor."""
        return self.identity.scale

    @property
    def halo_px(self) -> int | None:
        """LR pixels of context that a tile needs on each side; None where nobody knows."""
        return self.traits.halo_px

    @property
    def trains_in_bf16_on_cpu(self) -> bool:
        """Whether bf16 is as good as fp32 for training on a CPU; SAFMN x2 lost by it, whose changes are smaller."""
        return self.traits.bf16_on_cpu and self.scale == 4

    @property
    def tile_multiple_px(self) -> int:
        """LR pixels to which tiles must be aligned."""
        return self.traits.tile_multiple_px

    def describe_tiles(self) -> str:
        """How tiles are laid, and whether they give what the whole image gives, in one line."""
        if self.halo_px is None:
            return "what overlap they need is not known"
        laid = f"at multiples of {self.tile_multiple_px} px, with {self.halo_px} px of overlap"
        if self.traits.looks_at_all:
            return f"{laid}; near the whole image, not equal: this network goes by all pixels that it is given"
        if self.traits.is_conv_chain and self.halo_px < MAX_REACH_PX:
            return f"{laid}; equal to the whole image"
        return f"{laid}; its reach ends or fades within it"

    def to(self, device: torch.device) -> Self:
        """Move the network to `device` (the checkpoint stays where it is)."""
        self.model.to(device)
        return self


def padded_size_px(backbone: Backbone, width_px: int, height_px: int) -> tuple[int, int]:
    """The smallest input size the network takes that is not below (`width_px`, `height_px`)."""
    multiple = backbone.multiple_px
    width, height = (-(-max(size, backbone.minimum_px) // multiple) * multiple for size in (width_px, height_px))
    return (max(width, height),) * 2 if backbone.square else (width, height)


def fit_to_network(backbone: Backbone, lr: Tensor) -> Tensor:
    """Extend images to the right and below to a size that the network takes; always a new tensor.

    Args:
        backbone: The network.
        lr: (B, 3, h, w).

    Returns:
        (B, 3, H, W) with H >= h and W >= w, the image in the upper left corner.
    """
    height_px, width_px = lr.shape[-2:]
    full_width_px, full_height_px = padded_size_px(backbone, width_px, height_px)
    right, bottom = full_width_px - width_px, full_height_px - height_px
    if not right and not bottom:
        return lr.clone()  # some networks (RCAN) multiply their input in place
    # Reflection goes no further than the image has pixels; the rest repeats the edge.
    near_right, near_bottom = min(right, width_px - 1), min(bottom, height_px - 1)
    reflected = functional.pad(lr, (0, near_right, 0, near_bottom), mode="reflect")
    return functional.pad(reflected, (0, right - near_right, 0, bottom - near_bottom), mode="replicate")


def super_resolve(backbone: Backbone, lr: Tensor) -> Tensor:
    """Run the network on images of any size. Differentiable; never changes `lr`.

    Args:
        backbone: The network.
        lr: (B, 3, h, w) float in [0, 1], on the network's device.

    Returns:
        (B, 3, scale * h, scale * w), about [0, 1] but not clamped.
    """
    if backbone.traits.one_image_at_a_time and len(lr) > 1:
        return torch.cat([super_resolve(backbone, image) for image in lr.split(1)])
    height_px, width_px = lr.shape[-2:]
    fitted = fit_to_network(backbone, lr)
    traits = backbone.traits
    if traits.channels_last and (traits.channels_last_on_cuda or lr.device.type != "cuda" or torch.is_grad_enabled()):
        # The layers hand the layout on, so it is enough that the input has it.
        fitted = fitted.contiguous(memory_format=torch.channels_last)
    sr: Tensor = backbone.model(fitted)
    return sr[..., : height_px * backbone.scale, : width_px * backbone.scale]


def set_differentiable(backbone: Backbone, on: bool) -> None:
    """Ready the network for gradients (`on`) or for plain inference.

    Everything stays in eval mode (dropout off, batch statistics fixed) but the modules that let gradients through
    only in train mode, such as PLKSR's large kernels. Those compute the same up to rounding.
    """
    backbone.model.eval()
    for module in backbone.model.modules():
        if type(module).__name__ in backbone.traits.train_mode_classes:
            module.train(on)


def looks_at_all(model: nn.Module) -> bool:
    """Whether a network has a layer of torch's that goes by all pixels it is given."""
    return any(
        isinstance(module, nn.GroupNorm | nn.InstanceNorm2d)
        or (isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)))
        for module in model.modules()
    )


def receptive_field_px(model: nn.Module) -> int:
    """How many pixels the kernels of a chain of convolutions reach to one side, at most.

    Convolutions behind the upsampling are counted as if they lay before it.

    Args:
        model: The network.
    """
    reach_px = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            height, width = (
                (size - 1) // 2 * step for size, step in zip(module.kernel_size, module.dilation, strict=True)
            )
            reach_px += max(height, width)
    return reach_px
