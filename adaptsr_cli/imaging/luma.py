"""Weights of the luma of ITU-R BT.601, full range."""

from __future__ import annotations

from typing import Final

import numpy as np

LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
"""Of red, green and blue. The scores use the limited range of MATLAB's ``rgb2ycbcr`` (`adaptsr_cli.metrics.fidelity`),
and Real-ESRGAN's noise torchvision's 0.2989 (`adaptsr_cli.imaging.degrade`): other numbers on purpose."""
