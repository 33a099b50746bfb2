"""Charts of the report as plain numbers: lines, bars and ticks in percent of the plot, no drawing.

The page stretches them to its width and keeps the letters as they are, so they can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.report.series import series_of, smooth
from adaptsr_cli.units import plural

_MAX_POINTS: Final = 400  # more than the pixels of the line


@dataclass(frozen=True)
class Tick:
    """A number at an axis; `at` in percent of the axis, from the left or from the top."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """A line; `points` as SVG wants them, in percent of the plot; `style` is the class that colours it."""

    label: str
    style: str
    points: str


@dataclass(frozen=True)
class Bar:
    """A bar, in percent of the plot."""

    left: float
    top: float
    width: float
    height: float
    style: str
    title: str


@dataclass(frozen=True)
class Chart:
    """One plot.

    Attributes:
        title: Above it.
        summary: What it shows, for those who cannot see it.
        x_label: Below it.
    """

    title: str
    summary: str
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...] = ()
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float

    def at(self, value: float) -> float:
        """Percent of the way from low to high."""
        return 100 * (value - self.low) / (self.high - self.low)

    def ticks(self, count: int, *, upwards: bool) -> tuple[Tick, ...]:
        """Round numbers, about `count` of them."""
        rough = (self.high - self.low) / count
        power = 10.0 ** floor(log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * rough)
        digits = max(0, -floor(log10(step) + 1e-9))
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return tuple(
            Tick(_round(100 - place if upwards else place), f"{number * step:,.{digits}f}".replace("-", "−"))
            for number in range(first, last + 1)
            for place in (self.at(number * step),)
        )


def _round(value: float) -> float:
    return round(value, 2)


def _axis_of(values: Sequence[float]) -> _Axis:
    """From the lowest to the highest value with some air."""
    low, high = min(values), max(values)
    air = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return _Axis(low - air, high + air)


def _curve(label: str, style: str, axes: tuple[_Axis, _Axis], points: Sequence[tuple[float, float]]) -> Curve:
    across, up = axes
    kept = points[:: max(1, ceil(len(points) / _MAX_POINTS))]
    if kept[-1] != points[-1]:
        kept = [*kept, points[-1]]
    places = ((across.at(x), min(100.0, max(0.0, 100 - up.at(y)))) for x, y in kept)
    return Curve(label, style, " ".join(f"{x:.2f},{y:.2f}" for x, y in places))


def training_charts(log: Sequence[LogRow]) -> list[Chart]:
    """Loss, validation and learning rate over the iterations, as far as the log has them."""
    last = max((row.iteration for row in log), default=0)
    if last == 0:
        return []
    across = _Axis(0, last)
    ticks = across.ticks(4, upwards=False)
    charts = []
    scores = series_of(log, lambda row: row.val_psnr_y_db)
    if len(scores[0]) > 1:
        charts.append(_validation(across, ticks, *scores))
    losses = series_of(log, lambda row: row.loss)
    if len(losses[0]) > 1:
        charts.append(_loss(across, ticks, *losses))
    rates = series_of(log, lambda row: row.learning_rate)
    if len(rates[0]) > 1:
        up = _Axis(0, 1.08 * max(rates[1]) or 1.0)
        curve = _curve("learning rate", "rate", (across, up), list(zip(*rates, strict=True)))
        summary = f"Learning rate, {max(rates[1]):.2g} at most."
        charts.append(Chart("Learning rate", summary, "iteration", ticks, up.ticks(4, upwards=True), (curve,)))
    return charts


def _validation(across: _Axis, ticks: tuple[Tick, ...], iterations: list[int], scores: list[float]) -> Chart:
    up = _axis_of(scores)
    best = max(range(len(scores)), key=lambda place: scores[place])
    curves = [_curve("adapted", "good", (across, up), list(zip(iterations, scores, strict=True)))]
    said = f"best {scores[best]:.2f} dB at {iterations[best]:,}"
    if iterations[0] == 0:
        level = [(across.low, scores[0]), (across.high, scores[0])]
        curves.append(_curve(f"backbone {scores[0]:.2f} dB", "level", (across, up), level))
    title = "Validation PSNR-Y (dB)"
    return Chart(title, f"{title}: {said}.", "iteration", ticks, up.ticks(5, upwards=True), tuple(curves))


def _loss(across: _Axis, ticks: tuple[Tick, ...], iterations: list[int], losses: list[float]) -> Chart:
    high = sorted(losses)[int(0.99 * (len(losses) - 1))]  # single spikes do not set the range
    up = _axis_of([min(losses), high])
    axes = (across, _Axis(max(0.0, up.low), up.high))
    smoothed = [float(value) for value in smooth(losses)]
    curves = (
        _curve("each record", "faint", axes, list(zip(iterations, losses, strict=True))),
        _curve("moving average", "strong", axes, list(zip(iterations, smoothed, strict=True))),
    )
    summary = f"Training loss, from {smoothed[0]:.3g} to {smoothed[-1]:.3g}."
    return Chart("Training loss", summary, "iteration", ticks, axes[1].ticks(5, upwards=True), curves)


Line = tuple[str, str, Sequence[float], Sequence[float]]
"""Its label, the class that colours it, x and y."""


def line_chart(
    title: str,
    summary: str,
    x_label: str,
    lines: Sequence[Line],
    *,
    from_zero: bool = False,
) -> Chart:
    """Lines over one axis.

    Args:
        title: Above them.
        summary: What they show, for those who cannot see it.
        x_label: Below them.
        lines: At least one.
        from_zero: Whether the axis begins at 0; y must then not be below.
    """
    xs = [value for _, _, x, _ in lines for value in x]
    ys = [value for _, _, _, y in lines for value in y]
    across, up = _Axis(min(xs), max(xs)), _axis_of(ys)
    up = _Axis(0.0, up.high) if from_zero else up
    curves = tuple(_curve(label, style, (across, up), list(zip(x, y, strict=True))) for label, style, x, y in lines)
    return Chart(title, summary, x_label, across.ticks(4, upwards=False), up.ticks(5, upwards=True), curves)


def gain_chart(title: str, gains: Sequence[tuple[str, float]], better: str | None) -> Chart:
    """The difference of every image as bars, sorted.

    Args:
        title: Above it.
        gains: Text for the pointer, and difference.
        better: ``higher``, ``lower`` or None; harmed images have another colour.
    """
    ordered = sorted(gains, key=lambda entry: entry[1], reverse=better != "lower")
    values = [value for _, value in ordered]
    up = _axis_of([0.0, *values])
    zero, width = 100 - up.at(0), 100 / len(ordered)
    gap = 0.15 * width
    bars = []
    for place, (text, value) in enumerate(ordered):
        top = 100 - up.at(value)
        good = value >= 0 if better != "lower" else value <= 0
        style = "good" if good else "bad"
        bars.append(
            Bar(
                left=round(place * width + gap / 2, 3),
                top=round(min(top, zero), 3),
                width=round(width - gap, 3),
                height=round(max(abs(top - zero), 0.3), 3),
                style=style,
                title=text,
            )
        )
    summary = (
        f"{title}: {sum(bar.style == 'good' for bar in bars):,} of {plural(len(bars), 'image')} gain or stay equal."
    )
    x_label = "images, sorted; point at a bar for its name"
    return Chart(title, summary, x_label, (), up.ticks(5, upwards=True), bars=tuple(bars))
