"""View models of the report: artifacts arranged as rows and cells, not yet as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.rank_map import RankMap, SiteRank
from adaptsr_cli.report.charts import Chart, gain_chart
from adaptsr_cli.report.findings import counts_text, gain, interval_text, judge, leading_metric, signed
from adaptsr_cli.report.gallery import EncodedImageDetail
from adaptsr_cli.report.metric_names import metric_label, name_metric, rank_values
from adaptsr_cli.report.site_grid import arrange_sites
from adaptsr_cli.report.tables import arrange
from adaptsr_cli.units import format_params, plural

_SHADES: Final = 7  # steps of the heatmap's colours, of which the style sheet has as many


@dataclass(frozen=True)
class ScoreRow:
    """A model in a table of scores: text, mark (1 best, 2 second best) and interval of each metric."""

    model: str
    cells: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class TestRow:
    """A paired test in words."""

    model: str
    against: str
    metric: str
    difference: str
    interval: str
    counts: str
    p_value: str
    verdict: str | None


@dataclass(frozen=True)
class ScoreTable:
    """The means of all models, and the tests against the first one; `test_name` says of which test the p-values are."""

    metrics: tuple[str, ...]
    rows: tuple[ScoreRow, ...]
    tests: tuple[TestRow, ...]
    test_name: str


def score_table(evaluation: Evaluation) -> ScoreTable:
    """Means with best and second best marked, as papers do, and every paired test."""
    keys, rows = arrange(evaluation)
    lines = []
    for row in rows:
        cells = []
        for cell in row.cells:
            spread, digits = row.model.spread[cell.key], name_metric(cell.key).digits
            interval = ""
            if spread.ci95_low is not None and spread.ci95_high is not None:
                interval = f"{spread.ci95_low:.{digits}f} to {spread.ci95_high:.{digits}f}"
            cells.append((cell.text, cell.place, interval))
        lines.append(ScoreRow(row.model.name, tuple(cells)))
    tests = tuple(
        TestRow(
            model=test.model,
            against=test.against,
            metric=metric_label(test.metric),
            difference=signed(test.metric, test.mean_difference),
            interval=interval_text(test) or "one image",
            counts=counts_text(test),
            p_value="" if test.p_value is None else f"{test.p_value:.2g}",
            verdict=judge(test),
        )
        for test in evaluation.comparisons
    )
    old = any(test.test == "wilcoxon" for test in evaluation.comparisons)
    test_name = "Wilcoxon's signed-rank test" if old else "paired permutation test"
    return ScoreTable(tuple(_heading(key) for key in keys), tuple(lines), tests, test_name)


def _heading(key: str) -> str:
    name = name_metric(key)
    return f"{name.label}{f' ({name.unit})' if name.unit else ''} {name.arrow}".rstrip()


@dataclass(frozen=True)
class Layer:
    """One picture of a card; `role` is ``left``, ``right``, or empty where it is not shown at first."""

    place: int
    label: str
    jpeg: bytes
    role: str


@dataclass(frozen=True)
class Card:
    """One image with its pictures and scores.

    Attributes:
        gain: With sign and unit; None where there is nothing to compare.
        good: Whether it improved or stayed equal.
        scores: Metric -> texts of the models, and which of them are best.
        frame: The detail within the whole image: left, top, width and height in percent.
    """

    name: str
    size: str
    detail: str
    gain: str | None
    good: bool
    models: tuple[str, ...]
    scores: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]
    layers: tuple[Layer, ...]
    context: bytes | None
    frame: tuple[float, float, float, float]


def picture_cards(evaluation: Evaluation, details: Sequence[EncodedImageDetail]) -> list[tuple[str, list[Card]]]:
    """The images in groups with headings: the most improved first, then the most harmed."""
    if (
        len(evaluation.models) < 2
        or any(entry.gain is None for entry in details)
        or not any(entry.gain for entry in details)
    ):
        return [("Images", [_card(evaluation, entry) for entry in details])] if details else []
    half = (len(details) + 1) // 2
    gains = [entry.gain for entry in details if entry.gain is not None]
    all_shown = len(details) == len(evaluation.images)
    cut = sum(gain >= 0 for gain in gains) if all_shown else half
    above, below = details[:cut], details[cut:]
    groups = []
    if above:
        groups.append(("Most improved first" if gains[0] > 0 else "Least harmed first", above))
    if below:
        groups.append(("Most harmed first" if gains[-1] < 0 else "Least improved first", below[::-1]))
    return [(title, [_card(evaluation, entry) for entry in entries]) for title, entries in groups]


def _card(evaluation: Evaluation, detail: EncodedImageDetail) -> Card:
    image = evaluation.images[detail.index]
    models = tuple(image.models)
    key = leading_metric(evaluation.models[0].metrics)
    box = detail.box
    scores = []
    for metric in dict.fromkeys(metric for found in image.models.values() for metric in found):
        told = {model: found[metric] for model, found in image.models.items() if metric in found}
        places = dict(zip(told, rank_values(metric, list(told.values())), strict=True)) if len(told) > 1 else {}
        texts = tuple(
            (f"{told[model]:.{name_metric(metric).digits}f}" if model in told else "–", places.get(model) == 1)
            for model in models
        )
        scores.append((metric_label(metric), texts))
    compared = len(models) > 1 and key is not None and detail.gain is not None
    labels = list(detail.layers)  # plain interpolation comes first
    left, right = (models[0], models[-1]) if len(models) > 1 else (labels[0], models[0])
    roles = {left: "left", right: "right"}
    width, height = image.width_px, image.height_px
    return Card(
        name=image.name,
        size=f"{width:,} × {height:,} px",
        detail=f"{box.side_px} × {box.side_px} px",
        gain=signed(key, _difference(image.models, key)) if compared and key is not None and detail.gain else None,
        good=detail.gain is None or detail.gain >= 0,
        models=models,
        scores=tuple(scores),
        layers=tuple(
            Layer(place, label, detail.layers[label], roles.get(label, "")) for place, label in enumerate(labels)
        ),
        context=detail.context,
        frame=(
            100 * box.left_px / width,
            100 * box.top_px / height,
            100 * box.side_px / width,
            100 * box.side_px / height,
        ),
    )


def _difference(scores: Mapping[str, Mapping[str, float]], key: str) -> float:
    first, *_, last = scores.values()  # those between may lack the metric
    return last[key] - first[key]


@dataclass(frozen=True)
class ImageTable:
    """The scores of every image.

    Attributes:
        groups: Metric and its columns.
        rows: Name and, for every column, value and text.
        left_out: How many images are not in it.
        hashes: Name, role and SHA-256 of every file, of the images that are in it.
    """

    groups: tuple[tuple[str, tuple[str, ...]], ...]
    rows: tuple[tuple[str, tuple[tuple[float, str] | None, ...]], ...]
    left_out: int
    hashes: tuple[tuple[str, str, str], ...]


def image_table(evaluation: Evaluation, most_rows: int) -> ImageTable:
    """The scores of every image by every metric, with the difference of the last model to the first one.

    Args:
        evaluation: The scores.
        most_rows: Of more images the best and the worst are kept.
    """
    models = tuple(model.name for model in evaluation.models)
    keys = tuple(evaluation.models[0].metrics)
    columns = (*models, "difference") if len(models) > 1 else models
    order = _by_gain(evaluation)
    kept = order if len(order) <= most_rows else [*order[: most_rows // 2], *order[-(most_rows // 2) :]]
    rows = []
    for index in kept:
        image = evaluation.images[index]
        cells: list[tuple[float, str] | None] = []
        for key in keys:
            values = [image.models[model].get(key) for model in models]
            digits = name_metric(key).digits
            cells += [None if value is None else (value, f"{value:.{digits}f}") for value in values]
            if len(models) > 1:
                before, after = values[0], values[-1]
                difference = None if before is None or after is None else after - before
                cells.append(None if difference is None else (difference, signed(key, difference, unit=False)))
        rows.append((image.name, tuple(cells)))
    hashes = tuple(
        (evaluation.images[index].name, role, digest)
        for index in sorted(kept)
        for role, digest in evaluation.images[index].file_sha256.items()
    )
    groups = tuple((_heading(key), columns) for key in keys)
    return ImageTable(groups, tuple(rows), len(order) - len(kept), hashes)


def _by_gain(evaluation: Evaluation) -> list[int]:
    """The images, most improved first; those without a score last."""
    key = leading_metric(evaluation.models[0].metrics)
    gains = [gain(image.models, key) for image in evaluation.images]
    return sorted(range(len(gains)), key=lambda at: (-m if (m := gains[at]) is not None else float("inf"), at))


def gain_charts(evaluation: Evaluation, most_bars: int) -> list[Chart]:
    """The difference of every image by the leading metric; nothing for one model or one image."""
    key = leading_metric(evaluation.models[0].metrics)
    if key is None or len(evaluation.models) < 2:
        return []
    first, last = evaluation.models[0].name, evaluation.models[-1].name
    told = [image for image in evaluation.images if key in image.models[first] and key in image.models[last]]
    gains = []
    for image in told[:most_bars]:
        difference = _difference(image.models, key)
        gains.append((f"{_short(image.name)}: {signed(key, difference)}", difference))
    if len(gains) < 2:
        return []
    unit = f", {name_metric(key).unit}" if name_metric(key).unit else ""
    title = f"{metric_label(key)}{unit}: {last} less {first}"
    return [gain_chart(title, gains, name_metric(key).better)]


def _short(name: str, limit: int = 80) -> str:
    return name if len(name) <= limit else f"{name[: limit // 2]}…{name[-limit // 2 + 1 :]}"


@dataclass(frozen=True)
class HeatTable:
    """Ranks as blocks x modules; a cell is site name, rank and shade, None where no site is."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, int, int] | None, ...]], ...]


def heat_tables(rank_map: RankMap | None) -> list[HeatTable]:
    """The ranks as the paper's Figure 5 shows them, and what lies outside of blocks."""
    if rank_map is None:
        return []
    highest = max((site.rank for site in rank_map.sites), default=1) or 1
    arrangement = arrange_sites(rank_map.sites)

    def cell(site: SiteRank | None) -> tuple[str, int, int] | None:
        if site is None:
            return None
        return site.name, site.rank, -(-site.rank * _SHADES // highest)

    tables = [
        HeatTable(
            f"Blocks {grid.pattern}",
            grid.modules,
            tuple((label, tuple(map(cell, row))) for label, row in zip(grid.labels, grid.cells, strict=True)),
        )
        for grid in arrangement.grids
    ]
    if arrangement.outside:
        rows = tuple((site.name, (cell(site),)) for site in arrangement.outside)
        tables.append(HeatTable("Outside of blocks" if tables else "Sites", ("rank",), rows))
    return tables


def describe_adapter(adapter: AdapterHeader | None, rank_map: RankMap | None) -> list[tuple[str, str]]:
    """What was put on the backbone, as terms and texts."""
    facts = []
    if adapter is not None:
        facts.append(
            (
                "Adapter",
                f"{adapter.method} on {plural(len(adapter.sites), 'site')}, kept at iteration {adapter.iteration:,}",
            )
        )
    if rank_map is not None:
        share = rank_map.total_params / rank_map.backbone.params
        facts.append(("Parameters planned", f"{format_params(rank_map.total_params)} ({share:.1%} of the backbone)"))
        used = sum(site.rank > 0 for site in rank_map.sites)
        spent = f"{rank_map.total_params:,} of {rank_map.budget_params:,} parameters, {used} of {len(rank_map.sites)}"
        facts.append(("Budget", f"{spent} sites, {rank_map.strategy}"))
    return facts


def describe_protocol(evaluation: Evaluation) -> list[tuple[str, str]]:
    """All that the scores depend on, as terms and texts."""
    parameters = evaluation.parameters.model_dump(mode="json", exclude_none=True)
    return [
        (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in parameters.items()
    ]
