"""The tables of `auto_rate.py`: the default beside the best cells of a grid, by network and data and by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any, Final, Literal

TEST_SHARE: Final = 5  # every fifth pair is a test pair
GRID: Final = (
    *((method, rate) for rate in (5e-4, 2e-3, 2.5e-4, 1e-3, 4e-3) for method in ("lora", "full")),
)  # the likeliest first
MARGIN_DB: Final = 0.03
BEST_ON: Final = {"held_out_gain_db": "held-out crops", "gain_db": "test images"}
"""By what the cell of a grid that the default stands beside is chosen."""

WHOLE: Final = "whole grid"
BESIDE: Final = "rates beside"

Choice = Literal["auto", "lora", "full"]
Cell = tuple[Choice, float]
"""Method and rate."""
Row = dict[str, Any]
"""One training, as a line of the file of trials."""
Cells = Mapping[Cell, Row]
"""The trainings with one seed by their cells."""


def cell_of(row: Row) -> Cell | None:
    """Where in the grid a training stands: the default where its search ended, as which it ends bit for bit.

    None where no search found a rate, and where one was between rates of lora alone.
    """
    cell = row["found"] if row["trial"]["method"] == "auto" else row["trial"]
    if cell is None or cell["learning_rate"] is None:
        return None
    return cell["method"], float(f"{cell['learning_rate']:.4g}")


def cells_of(rows: Iterable[Row]) -> dict[Cell, Row]:
    """The trainings with one seed by their cells."""
    return {cell: row for row in rows if (cell := cell_of(row)) is not None}


def means_of(seeds: Sequence[Cells], name: str) -> dict[Cell, float]:
    """The mean gain over all seeds, of the cells that each of them has."""
    common = [cell for cell in seeds[0] if all(cell in cells for cells in seeds)] if seeds else []
    return {cell: mean(cells[cell][name] for cells in seeds) for cell in common}


def best_cell(seeds: Sequence[Cells], name: str) -> Cell:
    """The cell with the best mean over the seeds."""
    means = means_of(seeds, name)
    return max(means, key=lambda cell: means[cell])


def beside(cell: Cell) -> list[Cell]:
    """Half and twice its rate."""
    method, rate = cell
    return [(method, float(f"{rate * factor:.4g}")) for factor in (0.5, 2)]


def missing_beside(seeds: Sequence[Cells]) -> list[Cell]:
    """What not every seed has of the cells beside the best ones; of seeds that share no cell, all that any has."""
    shared = means_of(seeds, "gain_db")
    if not shared:
        return sorted({cell for cells in seeds for cell in cells})
    best = {best_cell(seeds, name) for name in BEST_ON}
    return [near for cell in sorted(best) for near in beside(cell) if near not in shared]


def extent_of(seeds: Sequence[Cells]) -> str:
    """Whether each seed has the whole grid, or else the rates beside the best ones; empty where it has neither."""
    shared = means_of(seeds, "gain_db")
    if shared.keys() >= set(GRID):
        return WHOLE
    return BESIDE if shared and not missing_beside(seeds) else ""


def climb(cells: Cells, begin: Cell, name: str) -> Cell:
    """The cell at which `--beside` ends in a whole grid."""
    best = max((cell for cell in (begin, *beside(begin)) if cell in cells), key=lambda cell: cells[cell][name])
    return begin if best == begin else climb(cells, best, name)


def to_markdown(rows: list[Row], before: list[Row], command: str) -> str:
    """Both tables, and what they come to.

    Args:
        rows: All trainings that count.
        before: Trainings that newer ones have replaced. They still tell what trainings come to beside each other.
        command: What the rows were made by.
    """
    groups = group(rows)
    every = [*groups.values(), *group(before).values()]
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    parts = [
        "Means over the seeds; a cell of the grid is one method and rate for all of them:",
        "\n".join(describe_means(groups)),
        "Each seed by itself, with the best cell for it:",
        "\n".join(describe_seeds(groups)),
    ]
    if before:
        parts += [
            "Means of older trainings, which newer ones have replaced:",
            "\n".join(describe_means(group(before))),
        ]
    parts += [
        describe_by_hand(every),
        describe_equal_rates(every),
        f"Made by `python benchmarks/{command}` on {machines}. PSNR-Y of whole test images, every\n"
        f"{TEST_SHARE}th pair, which neither the training nor the search has seen. A user's grid is judged by\n"
        "held-out crops, as the search is; chosen by the test images it has the luck of its draws. A\n"
        f"{WHOLE} has {len(GRID)} cells; the {BESIDE} are of the method that the search found, to both sides of\n"
        f"its rate as far as the gain rises{describe_climbs(every)}.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def group(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """The trainings of each network, data set, length and seed; other test pairs are a data set by themselves."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        trial = row["trial"]
        data, seed = trial["data"], trial["seed"]
        if fold := trial.get("fold", 0):
            data, seed = f"{data}, other test pairs", f"{seed}, fold {fold}"
        groups[trial["network"], data, trial["iterations"], seed].append(row)
    return groups


def describe_means(groups: Mapping[tuple[Any, ...], list[Row]]) -> list[str]:
    """A row for each network, data set and length, and what the differences come to."""
    places: dict[tuple[Any, ...], dict[int, list[Row]]] = defaultdict(dict)
    for (*place, seed), found in groups.items():
        if find_default(found) is not None:
            places[tuple(place)][seed] = found
    lines = begin_table("network", "data", "iterations", "seeds", "default")
    differences: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for (network, data, iterations), by_seed in places.items():
        default = mean(row["gain_db"] for found in by_seed.values() if (row := find_default(found)))
        seeds = [cells_of(found) for found in by_seed.values()]
        extent = extent_of(seeds)
        line = f"| {network} | {data} | {iterations} | {len(seeds)} | {default:+.3f} dB |"
        lines.append(line + compare(default, seeds, extent, (iterations,), differences))
    return [*lines, *describe_differences(differences)]


def describe_seeds(groups: Mapping[tuple[Any, ...], list[Row]]) -> list[str]:
    """A row for each network, data set, length and seed, and what the differences come to."""
    lines = begin_table(
        *("network", "data", "iterations", "seed", "default finds", "on held-out crops", "on test images"),
        *("lora alone finds", "on test images"),
    )
    differences: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    beside_lora: list[dict[str, float]] = []
    for (network, data, iterations, seed), found in groups.items():
        auto = find_default(found)
        lora = next((row for row in found if row["trial"]["method"] == "lora" and is_searched(row)), None)
        cells = cells_of(found)
        chosen = "" if auto is None else "preset's" if auto["found"] is None else describe(auto["found"])
        gain = " | " if auto is None else f"{auto['held_out_gain_db']:+.2f} dB | {auto['gain_db']:+.3f} dB"
        line = f"| {network} | {data} | {iterations} | {seed} | {chosen} | {gain} |"
        line += " | |" if lora is None else f" {describe(lora['found'])} | {lora['gain_db']:+.3f} dB |"
        if auto is not None and lora is not None:
            beside_lora.append({key: auto[key] - lora[key] for key in BEST_ON})
        extent = "" if auto is None else extent_of([cells])
        default = 0.0 if auto is None else auto["gain_db"]
        lines.append(line + compare(default, [cells], extent, (iterations,), differences))
    lines += describe_differences(differences)
    if beside_lora:
        gains = {key: [of[key] for of in beside_lora] for key in BEST_ON}
        texts = (
            f"{mean(of):+.3f} dB on {BEST_ON[key]} ({sum(gain > 0 for gain in of)} above)" for key, of in gains.items()
        )
        heading = f"Against lora alone, at the rate that its search finds, over {len(beside_lora)} cells: "
        lines += ["", heading + ", ".join(texts) + "."]
    return lines


def begin_table(*columns: str) -> list[str]:
    """The first two lines of a table that ends in `compare`'s cells."""
    shared = (text for images in BEST_ON.values() for text in (f"best on {images}", "difference"))
    heads = [*columns, *shared, "among"]
    return ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]


def compare(
    default: float,
    seeds: Sequence[Cells],
    extent: str,
    kind: tuple[Any, ...],
    differences: dict[tuple[Any, ...], list[float]],
) -> str:
    """The last cells of a row: the default beside the best cells; `differences` takes up its distances to them."""
    text = ""
    for name in BEST_ON:
        if not extent:
            text += " | |"
            continue
        best = best_cell(seeds, name)
        gain = means_of(seeds, "gain_db")[best]
        differences[(*kind, extent, name)].append(default - gain)
        text += f" {gain:+.3f} dB, {best[0]} {best[1]:.2g} | {default - gain:+.3f} dB |"
    return f"{text} {extent} |"


def describe_differences(differences: Mapping[tuple[Any, ...], list[float]]) -> list[str]:
    """A line for each length, extent, and way in which the best cells were chosen."""
    lines: list[str] = []
    for (iterations, extent, name), of in differences.items():
        lines += ["", f"{iterations} iterations, {extent}, against what is best on {BEST_ON[name]}: {summarize(of)}."]
    return lines


def summarize(differences: Sequence[float]) -> str:
    """Their mean, and how many of them miss the aim."""
    below = sum(value < -MARGIN_DB for value in differences)
    return f"{mean(differences):+.3f} dB on average, in {below} of {len(differences)} more than {MARGIN_DB:g} dB below"


def describe_by_hand(groups: Iterable[list[Row]]) -> str:
    """What is missed by who trains all cells of a grid, and keeps the best by held-out crops; empty without a grid."""
    missed = [
        cells[best_cell([cells], "held_out_gain_db")]["gain_db"] - cells[best_cell([cells], "gain_db")]["gain_db"]
        for cells in map(cells_of, groups)
        if extent_of([cells]) == WHOLE
    ]
    if not missed:
        return ""
    return (
        f"All {len(GRID)} trainings of a whole grid, the best by held-out crops kept, against what is best on test "
        f"images: {summarize(missed)}."
    )


def describe_climbs(groups: Iterable[list[Row]]) -> str:
    """In how many choices going on from rate to rate ends at the best cell of a whole grid; empty without a grid."""
    climbed = [
        climb(cells, begin, name) == best_cell([cells], name)
        for found in groups
        for cells in [cells_of(found)]
        if extent_of([cells]) == WHOLE and (auto := find_default(found)) is not None
        if (begin := cell_of(auto)) is not None
        for name in BEST_ON
    ]
    ends = f"; that ends at the best of a whole grid in {sum(climbed)} of {len(climbed)} choices"
    return ends if climbed else ""


def describe_equal_rates(groups: Iterable[list[Row]]) -> str:
    """By how much full updates end above low-rank ones at the same rate, which decides where a rate is given.

    Empty where no two trainings tell it.
    """
    gains: dict[float, list[float]] = defaultdict(list)
    for rows in groups:
        given = {
            (row["trial"]["method"], float(f"{row['trial']['learning_rate']:.4g}")): row["gain_db"]
            for row in rows
            if not is_searched(row)
        }
        for method, rate in given:
            if method == "full" and ("lora", rate) in given:
                gains[rate].append(given["full", rate] - given["lora", rate])
    texts = [
        f"{rate:.2g}: {mean(of):+.2f} dB ({sum(gain > 0 for gain in of)} of {len(of)} above)"
        for rate, of in sorted(gains.items())
        if len(of) > 1
    ]
    heading = "Full updates against low-rank ones at the same rate, on test images: "
    return heading + ", ".join(texts) + "." if texts else ""


def find_default(rows: Iterable[Row]) -> Row | None:
    """The training that chose by itself."""
    return next((row for row in rows if row["trial"]["method"] == "auto"), None)


def is_searched(row: Row) -> bool:
    """Whether a search found the rate."""
    return row["trial"]["learning_rate"] is None


def describe(cell: dict[str, Any]) -> str:
    """Method and rate of a cell."""
    return f"{cell['method']} {cell['learning_rate']:.2g}"
