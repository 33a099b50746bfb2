"""What upscayl takes as it is: a folder of ncnn models, each with a name that tells its scale."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from adaptsr_cli.errors import UsageError

FOLDER: Final = "models"
_SCALES: Final = (2, 3, 4)
# upscayl looks for "2x", "x2" and the like anywhere in the name, and takes the first that it thinks of.
_TELLS_A_SCALE: Final = re.compile(r"\dx|x\d", re.IGNORECASE)


def upscayl_model(folder: Path, name: str, scale: int) -> Path:
    """The ``.param`` file of a model in upscayl's folder of custom models.

    Args:
        folder: Where the folder ``models`` lies or will lie.
        name: What people call it; signs other than letters, digits, ``-`` and ``_`` become ``_``.
        scale: Of the network.

    Raises:
        UsageError: The name tells a scale of its own, or upscayl has no such scale.
    """
    if scale not in _SCALES:
        raise UsageError(f"upscayl has no models of x{scale}", "export to onnx or openvino")
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")
    if not clean or _TELLS_A_SCALE.search(clean):
        raise UsageError(
            f"upscayl would read a scale out of the model's name {name!r}",
            "give `name` without a number beside an x; the scale is put before it",
        )
    return folder / FOLDER / f"{scale}x_{clean}.param"
