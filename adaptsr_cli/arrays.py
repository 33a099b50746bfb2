"""Types of NumPy arrays in signatures; shapes and ranges stand in the docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np

Uint8Array = np.ndarray[Any, np.dtype[np.uint8]]
Float32Array = np.ndarray[Any, np.dtype[np.float32]]
Float64Array = np.ndarray[Any, np.dtype[np.float64]]
Int64Array = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
FloatArray = np.ndarray[Any, np.dtype[Any]]
"""float32 or float64."""

AnyArray = np.ndarray[Any, np.dtype[Any]]
"""Of a type that the docstring names, or the type of an argument."""
