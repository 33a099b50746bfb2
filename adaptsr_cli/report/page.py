"""Page for figures: style, colours, and positions in inches. One of four files that import matplotlib."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names

from adaptsr_cli.io.atomic import replace_atomically

DPI: Final = 120
MARGIN_IN: Final = 0.3
INK, MUTED, FAINT, NOTHING = "#1b1f24", "#59636e", "#d6dade", "#eceef0"
# light to dark of ColorBrewer's YlGnBu: order survives grey print and colour blindness
SHADES = ("#f1f9c4", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#132f6b")
_FACE: Final = "DejaVu Sans"  # travels with matplotlib, so pictures look the same everywhere
# For letters in names of images that it lacks: faces of the systems' own, of which those that are there are used.
_EAST_ASIAN_FACES: Final = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "IPAGothic",
    "NanumGothic",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # a dollar sign in a file name is a dollar sign
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": NOTHING,
    "axes.axisbelow": True,
}


@contextmanager
def page_of(path: Path, width_in: float, height_in: float) -> Iterator[Figure]:
    """A white page with our style; on leaving it is written to `path` as PNG, whole or not at all."""
    style: dict[Any, Any] = {key: value for key, value in rcParamsDefault.items() if not key.startswith("backend")}
    with rc_context(style | _STYLE | {"font.family": _faces()}), warnings.catch_warnings(), _quiet_about_weights():
        # Names may hold letters that no face has; they are drawn as boxes, which needs no remark.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        yield figure
        with replace_atomically(path) as temporary:
            # matplotlib would write its version into the file, and the picture should not depend on it
            canvas.print_png(temporary, metadata={"Software": None})


def _faces() -> list[str]:
    """The faces to draw a letter with: the first one that has it."""
    there = set(get_font_names())
    return [_FACE, *(face for face in _EAST_ASIAN_FACES if face in there)]


@contextmanager
def _quiet_about_weights() -> Iterator[None]:
    """Leave unsaid that a face of the system's has no bold letters."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def axes_in(figure: Figure, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
    """Axes placed in inches from the top left corner of the page."""
    width, height = figure.get_size_inches()
    box = (left_in / width, 1 - (top_in + height_in) / height, width_in / width, height_in / height)
    return figure.add_axes(box)


def text_in(figure: Figure, left_in: float, top_in: float, text: str, **style: Any) -> None:
    """Text placed in inches from the top left corner of the page."""
    width, height = figure.get_size_inches()
    figure.text(left_in / width, 1 - top_in / height, text, **{"va": "top", **style})


def write_heading(figure: Figure, title: str, *lines: str) -> None:
    """Title and further lines at the top left."""
    text_in(figure, MARGIN_IN, 0.2, title, fontsize=13, fontweight="bold")
    for number, line in enumerate(lines):
        text_in(figure, MARGIN_IN, 0.48 + 0.18 * number, line, color=MUTED)


def page_width(content_in: float, title: str, *lines: str) -> float:
    """Width of a page that holds its content and its heading, margins included."""
    return max(content_in, 0.125 * len(title), *(0.074 * len(line) for line in lines)) + 2 * MARGIN_IN
