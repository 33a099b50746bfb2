"""Calls of ``upscale`` with a tiny network, for its tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from networks import save_tiny

from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import UpscaleResult, upscale_and_tell

Run = Callable[..., tuple[UpscaleResult, Silent]]


def make_run(tmp_path: Path) -> Run:
    """Upscales with a tiny network of x2 into ``out/``."""
    model = save_tiny("span_x2", tmp_path / "model.safetensors")

    def call(
        *inputs: Path,
        world: World = SINGLE_PROCESS,
        model: Path = model,
        tell: Callable[[UpscaleResult], None] = lambda result: None,
        **options: object,
    ) -> tuple[UpscaleResult, Silent]:
        progress = Silent()
        settings = {"output": tmp_path / "out", "device": "cpu", "recursive": True, "precision": "fp32", **options}
        chosen = UpscaleOptions(run=tmp_path / "run", model=str(model), inputs=inputs, **settings)  # type: ignore[arg-type]
        return upscale_and_tell(chosen, tell, progress=progress, world=world), progress

    return call


def photo(seed: int, height: int = 9, width: int = 8) -> np.ndarray:
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
