"""Fixtures that all tests share. Tiny seeded networks are built in `tests/networks.py`."""

from __future__ import annotations

import os

# The networks here are tiny: threads would only wait for one another, on a busy machine for minutes. numpy and torch
# read it when they are imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from adaptsr_cli.cli.app import main
from adaptsr_cli.io.images import resize_bicubic, write_rgb
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import ScoreResult, score_backbone


def find_shared() -> Path | None:
    """The folder of real images and genuine weights beside the checkout, if there is one."""
    named = os.environ.get("ADAPTSR_TEST_DATA")
    place = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return place if (place / "data").is_dir() else None


@pytest.fixture
def shared() -> Path:
    """The folder of real images and genuine weights; the test is skipped where it is missing."""
    place = find_shared()
    if place is None:
        pytest.skip("no folder ../shared with real images and weights (or ADAPTSR_TEST_DATA)")
    return place


@pytest.fixture(autouse=True)
def _fresh_seed(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every test starts from the same random state, without the user's settings and with an empty cache of its own."""
    torch.manual_seed(0)
    # `mktemp` would make the folder, and list thousands of others for its number, for the few tests that use one.
    monkeypatch.setenv("ADAPTSR_CACHE", str(tmp_path_factory.getbasetemp() / "caches" / uuid.uuid4().hex))
    for name in ("ADAPTSR_RUN", "ADAPTSR_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked ``gpu`` where no CUDA device is."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


SELF_SCORING = ("adaptsr_cli.stages.train.rank_plan", "adaptsr_cli.stages.adapt.steps")
"""Where a saliency that is missing is made: in 20 batches of 8 patches, far longer than the trainings of the tests."""


def score_little(options: ScoreOptions, *others: Any) -> ScoreResult:
    """Two batches of two patches, as no test of a training depends on good ranks."""
    return score_backbone(options.model_copy(update={"batches": 2, "batch": 2}), *others)


CHART_SIDE = "adaptsr_cli.metrics.colour_chart._SIDE_LR_PX"
"""The side of a colour on the chart that every evaluation ends with, of which a third is enough for most tests."""


def score_little_in(patch: pytest.MonkeyPatch) -> None:
    """Puts `score_little` in its places."""
    for module in SELF_SCORING:
        patch.setattr(f"{module}.score_backbone", score_little)


RENDERER = "adaptsr_cli.report.page.FigureCanvasAgg.print_png"
"""What makes the pixels of a page with figures, in most of the time that a short command takes."""


AXES = "matplotlib.figure.Figure.add_axes"
"""What makes axes, whose ticks and labels take most of the time that a page still takes then."""


class BlankAxes:
    """Axes that take whatever is drawn into them, and show nothing."""

    def __getattr__(self, name: str) -> BlankAxes:
        return self

    def __call__(self, *_: object, **__: object) -> BlankAxes:
        return self

    def __getitem__(self, place: object) -> BlankAxes:
        return self


def render_blank(canvas: FigureCanvasAgg, path: Path, **_: object) -> None:
    """An empty page of the right size."""
    Image.new("L", canvas.get_width_height()).save(path, "PNG")


@pytest.fixture
def rendered_pages() -> None:
    """For tests that look at the pages that a command of `adaptsr` has drawn; in others they are blank."""


@pytest.fixture
def adaptsr(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Command:
    """Runs the command line in this process, in an empty folder, as the installed script would.

    But with `score_little`, a small chart of colours and, without `rendered_pages`, blank pages.
    """
    if "rendered_pages" not in request.fixturenames:
        monkeypatch.setattr(RENDERER, render_blank)
        monkeypatch.setattr(AXES, lambda figure, place: BlankAxes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTSR_WEIGHTS", str(tmp_path / "no-weights"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(CHART_SIDE, 8)
    score_little_in(monkeypatch)

    def run(*words: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["adaptsr", *(str(word) for word in words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder of six small LR/HR pairs whose camera blurs and darkens: something that can be learnt."""
    return write_pairs(tmp_path / "camera", count=6)


def write_pairs(folder: Path, *, count: int, scale: int = 4, side_px: int = 96, seed: int = 0) -> Path:
    """Writes smooth random pictures as HR and their darkened, shrunk copies as LR; of another seed others."""
    for index in range(count):
        coarse = np.random.default_rng(seed + index).integers(40, 255, (8, 8, 3), dtype=np.uint8)
        hr = resize_bicubic(coarse, side_px, side_px)
        lr = resize_bicubic(hr, side_px // scale, side_px // scale) // 8 * 7
        write_rgb(folder / "hr" / f"{index:03d}.png", hr)
        write_rgb(folder / "lr" / f"{index:03d}.png", lr)
    return folder


def noise(*shape: int, depth: int = 8, seed: int = 0) -> np.ndarray:
    """Random pixels of that shape, uint8, or uint16 for a depth of more than 8 bits."""
    kind = np.uint8 if depth == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**depth, shape, dtype=kind)
