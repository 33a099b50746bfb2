"""Figures of a run: rank heatmap, saliency, training curves.

Figures are objects of their own, drawn by Agg: no pyplot, no window, and nothing of the user's matplotlib settings.
The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.saliency import Saliency, SiteSaliency
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.imaging.luma import LUMA
from adaptsr_cli.report.page import (
    INK,
    MARGIN_IN,
    MUTED,
    NOTHING,
    SHADES,
    axes_in,
    page_of,
    page_width,
    text_in,
    write_heading,
)
from adaptsr_cli.report.panels import CELL_HEIGHT_IN, CELL_WIDTH_IN, Page, Panel, pack, panels_of
from adaptsr_cli.report.series import series_of, smooth
from adaptsr_cli.report.site_grid import arrange_sites
from adaptsr_cli.units import format_params

_HEADING_IN = 1.05
_PLOT_IN = (4.6, 3.2)
_PLOT_GUTTER_IN = 0.8
_SPREAD_TEXT = "score of every site, ± one standard deviation over the batches"
# Okabe and Ito's palette, told apart by all common forms of colour blindness
_BLUE, _ORANGE, _GREEN, _PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_COLOURS = (_BLUE, _ORANGE, _GREEN, _PURPLE)
_KIND_COLOURS = {"conv": _BLUE, "attention": _ORANGE, "mlp": _GREEN, "linear": _PURPLE}


def _draw_cells(figure: Figure, page: Page, top_in: float, norm: Normalize, text: Callable[[float], str]) -> None:
    """Draw the panels of a heatmap with a number in every cell; nothing is drawn where no site is."""
    shades = LinearSegmentedColormap.from_list("shades", SHADES)
    for placement in page.placements:
        panel, left, top = placement.panel, MARGIN_IN + placement.left_in, top_in + placement.top_in
        text_in(figure, left, top, panel.title, color=MUTED)
        cells_width, cells_height = len(panel.columns) * CELL_WIDTH_IN, len(panel.rows) * CELL_HEIGHT_IN
        axes = axes_in(figure, left + panel.gutter_in, top + panel.header_in, cells_width, cells_height)
        _draw_panel(axes, panel, shades, norm, text)


def _draw_panel(axes: Axes, panel: Panel, shades: Colormap, norm: Normalize, text: Callable[[float], str]) -> None:
    """Draw one panel into axes of its size."""
    axes.set(xlim=(0, len(panel.columns)), ylim=(len(panel.rows), 0))
    axes.grid(visible=False)
    for row, column in zip(*np.nonzero(np.isfinite(panel.values)), strict=True):
        value = float(panel.values[row, column])
        colour = shades(norm(value)) if value > 0 else to_rgba(NOTHING)
        luminance = float(np.dot(colour[:3], LUMA))
        ink = MUTED if value == 0 else "white" if luminance < 0.45 else INK
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=1))
        axes.text(column + 0.5, row + 0.52, text(value), ha="center", va="center", fontsize=8, color=ink)
    for rule in panel.rules:
        axes.axhline(rule, color=MUTED, linewidth=0.9)
    axes.set_yticks(np.arange(len(panel.rows)) + 0.5, panel.rows)
    axes.set_xticks(np.arange(len(panel.columns)) + 0.5, panel.columns, rotation=45, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK, pad=3)
    axes.spines[:].set_visible(False)


def draw_rank_heatmap(path: Path, rank_map: RankMap) -> None:
    """Draw the ranks as blocks x modules (AdaptSR, Figure 5).

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
    width, height = page_width(page.width_in, title, *lines), page.height_in + _HEADING_IN + MARGIN_IN
    highest = max((site.rank for site in sites), default=1)
    with page_of(path, width, height) as figure:
        write_heading(figure, title, *lines)
        _draw_cells(figure, page, _HEADING_IN, Normalize(0, max(highest, 1)), lambda rank: f"{rank:.0f}")


def draw_saliency(path: Path, saliency: Saliency) -> None:
    """Draw the scores as blocks x modules, in percent of the largest, and their spread over the batches.

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
    plot_left = MARGIN_IN + page.width_in + _PLOT_GUTTER_IN
    width = page_width(page.width_in + _PLOT_GUTTER_IN + _PLOT_IN[0], title, *lines)
    plot_height = min(max(page.height_in - 0.9, _PLOT_IN[1]), 1.6 * _PLOT_IN[1])
    height = max(page.height_in, plot_height + 0.9) + _HEADING_IN + MARGIN_IN
    with page_of(path, width, height) as figure:
        write_heading(figure, title, *lines)
        _draw_cells(figure, page, _HEADING_IN, norm, _percent)
        text_in(figure, plot_left, _HEADING_IN, _SPREAD_TEXT, color=MUTED)
        plot = axes_in(figure, plot_left, _HEADING_IN + 0.3, _PLOT_IN[0], plot_height)
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
    """Draw loss, validation and learning rate over the iterations.

    Args:
        path: The PNG to write.
        log: The rows in any order; a repeated iteration counts as last written. The validation at iteration 0 is
            the backbone's and becomes the dashed line.

    Raises:
        AdaptsrError: The file cannot be written.
    """
    losses = series_of(log, lambda row: row.loss)
    rates = series_of(log, lambda row: row.learning_rate)
    scores = series_of(log, lambda row: row.val_psnr_y_db)
    last = max((row.iteration for row in log), default=0) or 1
    with page_of(path, 8.6, 7.2) as figure:
        places = ((0.45, 2.2), (3.2, 2.2), (5.95, 0.75))  # top and height of each panel
        panels = [axes_in(figure, 0.75, top, 7.55, height) for top, height in places]
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


def draw_search(path: Path, record: SearchRecord) -> None:
    """Draw the gains of the trials over their learning rates: one line for each method and round.

    Args:
        path: The PNG to write.
        record: What the search found.

    Raises:
        AdaptsrError: The file cannot be written.
    """
    rounds = sorted({score.iteration for trial in record.trials for score in trial.scores})
    with page_of(path, 6.6, 4.2) as figure:
        axes = axes_in(figure, 0.85, 0.55, 5.45, 3.0)
        for method, colour in zip(dict.fromkeys(trial.method for trial in record.trials), _COLOURS, strict=False):
            for end, style in zip(rounds, ("-", "--", ":"), strict=False):
                points = sorted(
                    (score.learning_rate or trial.learning_rate, score.gain_db)
                    for trial in record.trials
                    for score in trial.scores
                    if trial.method == method and score.iteration == end and score.gain_db is not None
                )
                if points:
                    label = f"{method}, {end} steps"
                    axes.plot(*zip(*points, strict=True), style, color=colour, marker="o", markersize=4, label=label)
        winner = record.winner
        if winner is not None and (gain_db := winner.scores[-1].gain_db) is not None:
            axes.plot(winner.last_rate, gain_db, "o", color=INK, markersize=11, fillstyle="none", label="goes on")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("learning rate")
        axes.set_title("Held-out gain (dB)", loc="left", fontsize=10, fontweight="bold")
        axes.margins(y=0.12)
        if axes.get_legend_handles_labels()[1]:  # none where every trial failed
            axes.legend(frameon=False, fontsize=8)


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
        axes.text(0.5, 0.5, "no validation yet", ha="center", va="center", transform=axes.transAxes, color=MUTED)
        return
    axes.plot(iterations, scores, color=_GREEN, marker="o", markersize=3.5, linewidth=1.6, label="adapted")
    best = int(np.argmax(scores))
    label = f"best: {scores[best]:.2f} dB at {iterations[best]:,}"
    axes.plot(iterations[best], scores[best], "o", color=_GREEN, markersize=9, fillstyle="none", label=label)
    if iterations[0] == 0:
        axes.axhline(scores[0], color=_ORANGE, linestyle="--", label=f"backbone: {scores[0]:.2f} dB")
    axes.margins(y=0.12)
    _legend_above(axes)
