"""Curves and samples for TensorBoard; the only file that imports it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.errors import UsageError


class TensorBoard:
    """An event file beside the log that says the same.

    Args:
        folder: Where the event files go.
        iteration: Where the run goes on; what an earlier sitting wrote after it is hidden.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError("`tensorboard` needs the package tensorboard", "pip install tensorboard") from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=iteration + 1)

    def add(self, row: LogRow) -> None:
        """Write one row of the log."""
        for name, value in {"loss": row.loss, "lr": row.learning_rate, "val/psnr_y_db": row.val_psnr_y_db}.items():
            if value is not None:
                self._writer.add_scalar(name, value, row.iteration)
        for name, value in (row.parts or {}).items():
            self._writer.add_scalar(f"loss/{name}", value, row.iteration)

    def add_sample(self, sample: np.ndarray, iteration: int) -> None:
        """Write a sample image, (H, W, 3) uint8."""
        self._writer.add_image("held-out", sample, iteration, dataformats="HWC")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
