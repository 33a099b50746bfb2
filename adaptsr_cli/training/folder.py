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
        """The state of the best held-out score, to go back to."""
        return self.root / "good.safetensors"

    @property
    def start(self) -> Path:
        """The state before the first step, to go back to where training fails early."""
        return self.root / "start.safetensors"

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
