"""Where the files of a training lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingFolder:
    """The files of one training run."""

    root: Path

    @property
    def state(self) -> Path:
        """Adapter, optimiser and position after the last save."""
        return self.root / "state.safetensors"

    @property
    def good(self) -> Path:
        """The state to go back to when training fails: the start, later that of the best held-out score."""
        return self.root / "good.safetensors"

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.root / "log.jsonl"

    @property
    def samples(self) -> Path:
        """Some held-out images at every validation: LR | output | HR."""
        return self.root / "samples"

    @property
    def tensorboard(self) -> Path:
        """Event files, where they are wanted."""
        return self.root / "tensorboard"
