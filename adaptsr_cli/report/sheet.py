"""Comparison sheet: details of all models side by side, with error maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from adaptsr_cli.report.comparison import (
    TILE_PX,
    Box,
    ComparisonRow,
    Pixels,
    best_model,
    check_row,
    choose_detail,
    error_limit,
    errors_of,
    magnify,
    metrics_shown,
    tiles_of,
)
from adaptsr_cli.report.metric_names import metric_label, metric_text
from adaptsr_cli.report.page import DPI, MARGIN_IN, MUTED, SHADES, axes_in, page_of, text_in, write_heading

_LINE_IN = 0.14
_SHADING = LinearSegmentedColormap.from_list("errors", ("#ffffff", *SHADES))
_EXPLANATION = (
    "In the box: where the models differ most, enlarged by repeating pixels; below it how far each pixel is from HR. "
    "Scores are of the whole image, the best of a line is bold."
)


def draw_comparison(
    path: Path, rows: Sequence[ComparisonRow], protocol: str, luma: Callable[[Pixels], NDArray[np.floating]]
) -> None:
    """Draw the comparison sheet: a line per image with LR, every output and HR, the errors and the scores below.

    Each line shows the square where the models differ most, enlarged by repeating pixels, and where it lies in the
    image. The best score of a line is set bold. All error maps of a sheet have one scale.

    Args:
        path: The PNG to write.
        rows: The images, at least one, all with the same outputs.
        protocol: What the scores mean, in a line for people.
        luma: (H, W, 3) uint8 to Y, (H, W) in [0, 255], on which errors are shown.

    Raises:
        AdaptsrError: The file cannot be written.
        ValueError: Outputs of another size than HR; the caller should have scored them.
    """
    for row in rows:
        check_row(row)
    keys = metrics_shown(rows)
    boxes = [choose_detail(row) for row in rows]
    errors = [errors_of(row, box, luma) for row, box in zip(rows, boxes, strict=True)]
    norm = Normalize(0, error_limit(errors), clip=True)
    tile, gap = TILE_PX / DPI, 0.12
    columns = 3 + max((len(row.outputs) for row in rows), default=0)
    width = columns * (tile + gap) - gap + 2 * MARGIN_IN
    letters = int((width - 2 * MARGIN_IN) / 0.074)
    texts = [*wrap(_EXPLANATION, letters), *wrap(f"Protocol {protocol}.", letters, break_on_hyphens=False)]
    top = 0.8 + 0.18 * len(texts)
    pitch = 2 * tile + gap + _LINE_IN * max(len(keys), 1) + 0.3
    with page_of(path, width, top + len(rows) * pitch + 0.1) as figure:
        write_heading(figure, "Comparison", *texts)
        for line, (row, box) in enumerate(zip(rows, boxes, strict=True)):
            above = top + line * pitch
            beside = above + tile + gap  # where the error maps begin
            below = beside + tile + 0.05
            _draw_context(axes_in(figure, MARGIN_IN, above, tile, tile), row, box)
            text_in(figure, MARGIN_IN, above + tile + 0.05, _fit(row.name, 28), fontsize=8)
            _draw_scale(figure, MARGIN_IN + tile + gap, beside, norm)
            for place, (name, pixels) in enumerate(tiles_of(row, box), start=1):
                left = MARGIN_IN + place * (tile + gap)
                if line == 0:
                    text_in(figure, left, above - 0.2, _fit(name, 22), fontweight="bold")
                _draw_tile(figure, left, above, pixels)
                if name in errors[line]:
                    coloured = _SHADING(norm(magnify(errors[line][name])))[..., :3]
                    _draw_tile(figure, left, beside, np.rint(255 * coloured).astype(np.uint8))
                captions = below if name in row.outputs else above + tile + 0.05
                for offset, (text, best) in enumerate(_captions(row, name, keys)):
                    weight = "bold" if best else "normal"
                    text_in(figure, left, captions + offset * _LINE_IN, text, fontsize=8, fontweight=weight)


def _draw_scale(figure: Figure, left_in: float, top_in: float, norm: Normalize) -> None:
    """What the colours of the error maps mean, in the place below LR, which has no error."""
    text_in(figure, left_in, top_in + 0.3, "error in Y, grey levels", fontsize=8, color=MUTED)
    axes = axes_in(figure, left_in, top_in + 0.5, 1.6, 0.14)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=_SHADING, aspect="auto", extent=(0, float(norm.vmax or 1), 0, 1))
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(length=2, labelsize=8)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _captions(row: ComparisonRow, name: str, keys: Sequence[str]) -> list[tuple[str, bool]]:
    """The lines below a tile, and whether each is the best of its row: scores, or the size of LR and HR."""
    if name not in row.outputs:
        height, width = (row.lr if name == "LR" else row.hr).shape[:2]
        return [(f"{width} x {height} px", False)]
    scores = row.scores.get(name, {})
    return [
        (f"{metric_label(key)} {metric_text(key, scores[key])}", name == best_model(row, key))
        for key in keys
        if key in scores
    ]


def _fit(text: str, limit: int) -> str:
    """The text on one line, its middle left out where it is too long; bytes that are no UTF-8 as escapes."""
    text = " ".join(text.split()).encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-(limit - limit // 2 - 1) :]}"


def _draw_tile(figure: Figure, left_in: float, top_in: float, pixels: Pixels) -> None:
    """A tile, its pixels one to one, placed in inches from the top left corner of the page.

    Without axes: those of all tiles took half of a sheet's time.
    """
    bottom = figure.bbox.height - DPI * top_in - pixels.shape[0]
    figure.figimage(pixels, round(DPI * left_in), round(bottom), origin="upper")


def _draw_context(axes: Axes, row: ComparisonRow, box: Box) -> None:
    """The whole of HR, small, with the detail marked."""
    height, width = row.hr.shape[:2]
    axes.imshow(row.hr, interpolation="antialiased", aspect="equal")
    axes.set_anchor("NW")
    for colour, line_width in (("black", 3.0), ("#ffd400", 1.5)):  # seen on light and on dark ground
        corner = (box.left_px - 0.5, box.top_px - 0.5)
        axes.add_patch(Rectangle(corner, box.side_px, box.side_px, fill=False, edgecolor=colour, linewidth=line_width))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()
