"""What training minimises."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import l1_loss


def fidelity_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 loss (AdaptSR, Section 4.1), computed in fp32.

    Args:
        sr: (B, 3, H, W) network output, any float type, not clamped.
        hr: (B, 3, H, W) float32 in [0, 1].

    Returns:
        A scalar in the same unit as the images.
    """
    return l1_loss(sr.float(), hr)
