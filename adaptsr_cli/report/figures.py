"""The pictures: rank heatmap, saliency, training curves, comparison sheet. The only file that talks to matplotlib.

Figures are objects of their own, drawn by Agg: no pyplot, no window, and nothing of the user's matplotlib settings.
The same input gives the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from adaptsr_cli.artifacts import LogRow, RankMap, Saliency, SiteSaliency
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.ranking.heatmap import arrange_sites
from adaptsr_cli.report.comparison import (
    TILE_PX,
    Box,
    ComparisonRow,
    Pixels,
    best_model,
    check_row,
    choose_detail,
    metrics_shown,
    tiles_of,
)
from adaptsr_cli.report.metric_names import metric_label, metric_text
from adaptsr_cli.report.panels import CELL_HEIGHT_IN, CELL_WIDTH_IN, Page, Panel, pack, panels_of
from adaptsr_cli.report.series import series_of, smooth
from adaptsr_cli.units import format_params

_DPI = 120
_MARGIN_IN = 0.3
_HEADING_IN = 1.05
_PLOT_IN = (4.6, 3.2)
_PLOT_GUTTER_IN = 0.8
_LINE_IN = 0.14
_SPREAD_TEXT = "score of every site, ± one standard deviation over the batches"
_COMPARISON_TEXT = (
    "In the box: where the models differ most, enlarged by repeating pixels. "
    "Scores are of the whole image, the best of a line is bold."
)
_INK, _MUTED, _FAINT, _NOTHING = "#1b1f24", "#59636e", "#d6dade", "#eceef0"
# Okabe and Ito's palette, told apart by all common forms of colour blindness
_BLUE, _ORANGE, _GREEN, _PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_KIND_COLOURS = {"conv": _BLUE, "attention": _ORANGE, "mlp": _GREEN, "linear": _PURPLE}
# light to dark of ColorBrewer's YlGnBu: order survives grey print and colour blindness
_SHADES = ("#f1f9c4", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#132f6b")
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # travels with matplotlib, so pictures look the same everywhere
    "font.size": 9,
    "text.parse_math": False,  # a dollar sign in a file name is a dollar sign
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _NOTHING,
    "axes.axisbelow": True,
}


@contextmanager
def _page(path: Path, width_in: float, height_in: float) -> Iterator[Figure]:
    """A white page with our style; on leaving it is written to `path` as PNG, whole or not at all."""
    style: dict[Any, Any] = {key: value for key, value in rcParamsDefault.items() if not key.startswith("backend")}
    with rc_context(style | _STYLE), warnings.catch_warnings():
        # Names may hold letters that the face lacks; they are drawn as boxes, which needs no remark.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width_in, height_in), dpi=_DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        yield figure
        with replace_atomically(path) as temporary:
            # matplotlib would write its version into the file, and the picture should not depend on it
            canvas.print_png(temporary, metadata={"Software": None})


def _axes_in(figure: Figure, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
    """Axes placed in inches from the top left corner of the page."""
    width, height = figure.get_size_inches()
    box = (left_in / width, 1 - (top_in + height_in) / height, width_in / width, height_in / height)
    return figure.add_axes(box)


def _text_in(figure: Figure, left_in: float, top_in: float, text: str, **style: Any) -> None:
    """Text placed in inches from the top left corner of the page."""
    width, height = figure.get_size_inches()
    figure.text(left_in / width, 1 - top_in / height, text, **{"va": "top", **style})


def _heading(figure: Figure, title: str, *lines: str) -> None:
    """Title and further lines at the top left."""
    _text_in(figure, _MARGIN_IN, 0.2, title, fontsize=13, fontweight="bold")
    for number, line in enumerate(lines):
        _text_in(figure, _MARGIN_IN, 0.48 + 0.18 * number, line, color=_MUTED)


def _page_width(content_in: float, title: str, *lines: str) -> float:
    """Width of a page that holds its content and its heading, margins included."""
    return max(content_in, 0.125 * len(title), *(0.074 * len(line) for line in lines)) + 2 * _MARGIN_IN


def _draw_cells(figure: Figure, page: Page, top_in: float, norm: Normalize, text: Callable[[float], str]) -> None:
    """Draws the panels of a heatmap with a number in every cell; nothing is drawn where no site is."""
    shades = LinearSegmentedColormap.from_list("shades", _SHADES)
    for placement in page.placements:
        panel, left, top = placement.panel, _MARGIN_IN + placement.left_in, top_in + placement.top_in
        _text_in(figure, left, top, panel.title, color=_MUTED)
        cells_width, cells_height = len(panel.columns) * CELL_WIDTH_IN, len(panel.rows) * CELL_HEIGHT_IN
        axes = _axes_in(figure, left + panel.gutter_in, top + panel.header_in, cells_width, cells_height)
        _draw_panel(axes, panel, shades, norm, text)


def _draw_panel(axes: Axes, panel: Panel, shades: Colormap, norm: Normalize, text: Callable[[float], str]) -> None:
    """Draws one panel into axes of its size."""
    axes.set(xlim=(0, len(panel.columns)), ylim=(len(panel.rows), 0))
    axes.grid(visible=False)
    for row, column in zip(*np.nonzero(np.isfinite(panel.values)), strict=True):
        value = float(panel.values[row, column])
        colour = shades(norm(value)) if value > 0 else to_rgba(_NOTHING)
        luminance = float(np.dot(colour[:3], (0.299, 0.587, 0.114)))
        ink = _MUTED if value == 0 else "white" if luminance < 0.45 else _INK
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=1))
        axes.text(column + 0.5, row + 0.52, text(value), ha="center", va="center", fontsize=8, color=ink)
    for rule in panel.rules:
        axes.axhline(rule, color=_MUTED, linewidth=0.9)
    axes.set_yticks(np.arange(len(panel.rows)) + 0.5, panel.rows)
    axes.set_xticks(np.arange(len(panel.columns)) + 0.5, panel.columns, rotation=45, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=_INK, pad=3)
    axes.spines[:].set_visible(False)


def draw_rank_heatmap(path: Path, rank_map: RankMap) -> None:
    """Draws the ranks as blocks x modules (AdaptSR, Figure 5).

    Args:
        path: The PNG to write.
        rank_map: The allocation.

    Raises:
        AdaptsrError: The file cannot be written.
    """
    sites = rank_map.sites
    page = pack(panels_of(arrange_sites(sites), lambda site: site.rank))
    used = sum(site.rank > 0 for site in sites)
    backbone = rank_map.backbone
    title = f"LoRA ranks: {backbone.architecture} x{backbone.scale}, {rank_map.strategy}"
    lines = (
        f"{rank_map.total_params:,} of a budget of {rank_map.budget_params:,} parameters",
        f"{rank_map.total_params / backbone.params:.1%} of the backbone's {format_params(backbone.params)}; "
        f"{used} of {len(sites)} sites adapted",
    )
    width, height = _page_width(page.width_in, title, *lines), page.height_in + _HEADING_IN + _MARGIN_IN
    highest = max((site.rank for site in sites), default=1)
    with _page(path, width, height) as figure:
        _heading(figure, title, *lines)
        _draw_cells(figure, page, _HEADING_IN, Normalize(0, max(highest, 1)), lambda rank: f"{rank:.0f}")


def draw_saliency(path: Path, saliency: Saliency) -> None:
    """Draws the scores as blocks x modules, in percent of the largest, and their spread over the batches.

    Args:
        path: The PNG to write.
        saliency: The scores.

    Raises:
        AdaptsrError: The file cannot be written.
    """
    sites = saliency.sites
    highest = max((site.score for site in sites), default=0.0) or 1.0
    page = pack(panels_of(arrange_sites(sites), lambda site: 100 * site.score / highest))
    backbone = saliency.backbone
    title = f"Saliency: {backbone.architecture} x{backbone.scale}, {saliency.criterion}"
    batches = f"{saliency.batches} batch{'' if saliency.batches == 1 else 'es'} of {saliency.batch}"
    agreement = "" if saliency.mean_spearman is None else f", mean rank correlation {saliency.mean_spearman:.2f}"
    lines = (
        f"{len(sites)} sites, {batches}{agreement}",
        f"cells: percent of the largest score, {highest:.3g}",
    )
    lowest = min((site.score for site in sites if site.score > 0), default=highest)
    norm = LogNorm(100 * max(lowest / highest, 1e-3), 100.001, clip=True)
    plot_left = _MARGIN_IN + page.width_in + _PLOT_GUTTER_IN
    width = _page_width(page.width_in + _PLOT_GUTTER_IN + _PLOT_IN[0], title, *lines)
    plot_height = min(max(page.height_in - 0.9, _PLOT_IN[1]), 1.6 * _PLOT_IN[1])
    height = max(page.height_in, plot_height + 0.9) + _HEADING_IN + _MARGIN_IN
    with _page(path, width, height) as figure:
        _heading(figure, title, *lines)
        _draw_cells(figure, page, _HEADING_IN, norm, _percent)
        _text_in(figure, plot_left, _HEADING_IN, _SPREAD_TEXT, color=_MUTED)
        plot = _axes_in(figure, plot_left, _HEADING_IN + 0.3, _PLOT_IN[0], plot_height)
        _draw_spread(plot, sorted(sites, key=lambda site: -site.score))


def _percent(value: float) -> str:
    """A percentage in three characters at most."""
    if value >= 9.95 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.05 else "<.1"


def _draw_spread(axes: Axes, sites: Sequence[SiteSaliency]) -> None:
    """Scores in descending order on a log axis, with one standard deviation over the batches."""
    for kind, colour in _KIND_COLOURS.items():
        places = [place for place, site in enumerate(sites, start=1) if site.kind == kind and site.score > 0]
        if not places:
            continue
        scores = np.array([sites[place - 1].score for place in places])
        spread = np.array([sites[place - 1].score_std for place in places])
        below = np.minimum(spread, 0.9 * scores)  # a log axis has no zero
        bars = np.stack([below, spread])
        axes.errorbar(
            places,
            scores,
            bars,
            fmt="o",
            markersize=3.5,
            color=colour,
            elinewidth=0.8,
            ecolor=to_rgba(colour, 0.45),
            label=f"{kind} ({len(places)})",
        )
    if any(site.score > 0 for site in sites):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False, loc="upper right")
    axes.set_xlabel("sites, largest score first")


def draw_curves(path: Path, log: Sequence[LogRow]) -> None:
    """Draws loss, validation and learning rate over the iterations.

    Args:
        path: The PNG to write.
        log: The rows in any order; a repeated iteration counts as last written. The validation at iteration 0 is
            the backbone's and becomes the dashed line.

    Raises:
        AdaptsrError: The file cannot be written.
    """
    losses = series_of(log, lambda row: row.loss)
    rates = series_of(log, lambda row: row.lr)
    scores = series_of(log, lambda row: row.val_psnr_y_db)
    last = max((row.iteration for row in log), default=0) or 1
    with _page(path, 8.6, 7.2) as figure:
        places = ((0.45, 2.2), (3.2, 2.2), (5.95, 0.75))  # top and height of each panel
        panels = [_axes_in(figure, 0.75, top, 7.55, height) for top, height in places]
        _draw_loss(panels[0], *losses)
        _draw_validation(panels[1], *scores)
        panels[2].plot(*rates, color=_PURPLE, drawstyle="steps-post")
        panels[2].set(xlabel="iteration", ylim=(0, None))
        panels[2].yaxis.set_major_formatter("{x:g}")
        for axes, title in zip(panels, ("Training loss", "Validation PSNR-Y (dB)", "Learning rate"), strict=True):
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
            axes.set_xlim(-0.01 * last, 1.01 * last)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter("{x:,.0f}")


def _draw_loss(axes: Axes, iterations: list[int], losses: list[float]) -> None:
    """Raw loss faint, smoothed loss strong; single spikes do not set the range."""
    axes.plot(iterations, losses, color=_BLUE, alpha=0.25, linewidth=0.8, label="each record")
    if len(losses) < 2:
        return
    axes.plot(iterations, smooth(losses), color=_BLUE, linewidth=1.8, label="moving average")
    low, high = min(losses), float(np.quantile(losses, 0.99))
    margin = 0.08 * (high - low) or 0.1 * high or 1.0
    axes.set_ylim(max(0.0, low - margin), high + margin)
    _legend_above(axes)


def _legend_above(axes: Axes) -> None:
    """A legend in the line of the title, where it hides no data."""
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.01, 0.98), ncols=3, borderaxespad=0)


def _draw_validation(axes: Axes, iterations: list[int], scores: list[float]) -> None:
    """Validation scores, the best marked, and the backbone's level."""
    if not scores:
        axes.text(0.5, 0.5, "no validation yet", ha="center", va="center", transform=axes.transAxes, color=_MUTED)
        return
    axes.plot(iterations, scores, color=_GREEN, marker="o", markersize=3.5, linewidth=1.6, label="adapted")
    best = int(np.argmax(scores))
    label = f"best: {scores[best]:.2f} dB at {iterations[best]:,}"
    axes.plot(iterations[best], scores[best], "o", color=_GREEN, markersize=9, fillstyle="none", label=label)
    if iterations[0] == 0:
        axes.axhline(scores[0], color=_ORANGE, linestyle="--", label=f"backbone: {scores[0]:.2f} dB")
    axes.margins(y=0.12)
    _legend_above(axes)


def draw_comparison(path: Path, rows: Sequence[ComparisonRow]) -> None:
    """Draws the comparison sheet: a line per image with LR, every output and HR, and the scores below.

    Each line shows the square where the models differ most, enlarged by repeating pixels, and where it lies in the
    image. The best score of a line is set bold.

    Args:
        path: The PNG to write.
        rows: The images, at least one, all with the same outputs.

    Raises:
        AdaptsrError: The file cannot be written.
        ValueError: Outputs of another size than HR; the caller should have scored them.
    """
    for row in rows:
        check_row(row)
    keys = metrics_shown(rows)
    tile, gap, top = TILE_PX / _DPI, 0.12, 1.05
    pitch = tile + _LINE_IN * max(len(keys), 1) + 0.25
    columns = 3 + max((len(row.outputs) for row in rows), default=0)
    width = columns * (tile + gap) - gap + 2 * _MARGIN_IN
    with _page(path, width, top + len(rows) * pitch + 0.1) as figure:
        _heading(figure, "Comparison", _COMPARISON_TEXT)
        for line, row in enumerate(rows):
            box = choose_detail(row)
            above = top + line * pitch
            below = above + tile + 0.05
            _draw_context(_axes_in(figure, _MARGIN_IN, above, tile, tile), row, box)
            _text_in(figure, _MARGIN_IN, below, _fit(row.name, 28), fontsize=8)
            for place, (name, pixels) in enumerate(tiles_of(row, box), start=1):
                left = _MARGIN_IN + place * (tile + gap)
                if line == 0:
                    _text_in(figure, left, above - 0.2, _fit(name, 22), fontweight="bold")
                _draw_tile(_axes_in(figure, left, above, tile, tile), pixels)
                for offset, (text, best) in enumerate(_captions(row, name, keys)):
                    weight = "bold" if best else "normal"
                    _text_in(figure, left, below + offset * _LINE_IN, text, fontsize=8, fontweight=weight)


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


def _draw_tile(axes: Axes, pixels: Pixels) -> None:
    """Pixels one to one: the axes have exactly the size of the tile."""
    axes.imshow(pixels, interpolation="none", aspect="auto")
    axes.set_axis_off()


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
