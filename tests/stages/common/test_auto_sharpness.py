"""The choice of a sharpness by photographs without ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from stages.common.test_dial import camera, run  # noqa: F401

from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.stages.common.auto_sharpness import find_worse


def test_what_rises_beyond_its_standard_error_is_worse() -> None:
    def pictures(*values: float) -> list[dict[str, float]]:
        return [{"steady": 1.0, "noise": value} for value in values]

    before = pictures(1.0, 2.0, 3.0)
    assert find_worse(before, pictures(1.2, 2.1, 3.2)) == "noise"
    assert find_worse(before, pictures(0.8, 1.9, 2.9)) is None
    assert find_worse(before, pictures(2.0, 2.0, 2.1)) is None  # one picture alone: its standard error is 0.3
    assert find_worse(before[:1], pictures(1.1)) == "noise"


def test_photographs_turn_the_dial(adaptsr: Command, run: Path) -> None:  # noqa: F811
    rng = np.random.default_rng(0)
    for name in range(3):
        write_rgb(Path(f"photos/{name}.png"), rng.integers(60, 200, (60, 70, 3), dtype=np.uint8))
    Path("photos/3.png").write_bytes(b"no picture")
    named = adaptsr("merge", "--run", run, "--sharpness", "auto:photos", "-o", "m.pth", "--format", "pth")
    assert named.code == 0, named.err
    assert "chosen by 3 photographs: " in named.err
    assert "photos/3.png is left out of the choice" in named.err
    own = adaptsr("upscale", "photos/0.png", "photos/1.png", "photos/2.png", "--run", run, "--sharpness", "auto")
    assert own.code == 0, own.err
    # By the same photographs it is the same setting.
    assert next(line for line in named.err.splitlines() if ", chosen by" in line) in own.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sharpness", "auto:empty"), "empty has none"),
        (("--sharpness", "auto:small"), "of at least 48 px each way"),
        (("--sharpness", "auto:none"), "none"),
    ],
)
def test_nothing_to_choose_by(adaptsr: Command, run: Path, words: tuple[str, ...], said: str) -> None:  # noqa: F811
    Path("empty").mkdir()
    write_rgb(Path("small/0.png"), np.full((20, 20, 3), 90, np.uint8))
    done = adaptsr("merge", "--run", run, *words, "-o", "m.pth", "--format", "pth")
    assert done.code in {1, 2}
    assert said in done.err
    assert "Traceback" not in done.err
    assert not Path("m.pth").exists()
