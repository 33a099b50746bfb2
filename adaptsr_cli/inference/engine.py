"""Running a network over an image of any size in the memory that there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import batched
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.inference.tiles import RAMP_PX, Tile, TilePlan, plan_tiles
from adaptsr_cli.progress import Progress, Silent
from adaptsr_cli.runtime import Precision, autocast, free_memory_bytes
from adaptsr_cli.units import format_bytes

UNKNOWN_HALO_PX: Final = 32
"""Context around a tile for a network of which nobody knows how far it looks."""
