"""The tables of ``without_pairs.jsonl``: one for each network and kind of camera, then the guard's record."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.camera_scenes import CAMERAS, CHOSEN, DRAWN, FEW, SIMULATED  # noqa: E402
from benchmarks.guard_record import record_of_guard  # noqa: E402

Row = dict[str, Any]

KIND_CHOSEN: Final = f", simulated cameras, {FEW} LR photographs each"
KIND_DRAWN: Final = ", cameras drawn at random"


def to_markdown(
    rows: Sequence[Row], names: Sequence[str], beside: tuple[str, str], training: str, from_one_pair: str
) -> str:
    """Gain over the backbone for each kind of training and camera, mean over seeds, and the guard's record.

    Args:
        rows: All lines.
        names: The kinds of training, as they are to be listed.
        beside: The default, and that which it is a share of: each trial beside that of the same camera and seed.
        training: By which the trials were made whose share is given for all networks together.
        from_one_pair: What trainings on one pair are called.
    """
    lines = [
        "Made by `python benchmarks/without_pairs.py`. PSNR-Y on held-out real pairs, gain over the backbone in dB:",
        "mean and standard deviation over seeds, which also choose the held-out scenes; in brackets how many seeds.",
    ]
    for group in dict.fromkeys(map(_group_of, rows)):
        these = [row for row in rows if _group_of(row) == group]
        network, kind, made_by = group
        settings = ", ".join(
            dict.fromkeys(f"{row['iterations']} iterations, {row['photographs']} sharp photographs" for row in these)
        )
        table = _table_of(these, names)
        if kind == KIND_DRAWN:  # many cameras, few kinds of training
            table = [list(column) for column in zip(*table, strict=True)]
            table[1:] = [[f"{camera}: {_described(camera)}", *cells] for camera, *cells in table[1:]]
        heading = ["| " + " | ".join(table[0]) + " |", "|---" * len(table[0]) + "|"]
        lines += ["", f"**{network}{kind}** ({made_by}; {settings})", "", *heading]
        lines += ["| " + " | ".join(row) + " |" for row in table[1:]]
        lines += _share_of(these, *beside)
    real = [row for row in rows if row["training"] == training and row["camera"] in CAMERAS]
    lines += ["", f"Real cameras and all networks together, {training}:", *_share_of(real, *beside)]
    return "\n".join([*lines, *record_of_guard(rows, from_one_pair)]) + "\n"


def _table_of(rows: Sequence[Row], names: Sequence[str]) -> list[list[str]]:
    """A heading of cameras, and for each kind of training its name and its gain on each."""
    cameras = [camera for camera in (*CAMERAS, *SIMULATED) if any(row["camera"] == camera for row in rows)]
    table = [["trained on", *cameras]]
    for name in names:
        trials = [row for row in rows if row["row"] == name]
        if trials:
            table.append([name, *(_cell(trials, camera, 1) for camera in cameras)])
        if any("as_trained_psnr_y_db" in row for row in trials):
            table.append([f"{name}, without its guard", *(_cell(trials, camera, None) for camera in cameras)])
    return table


def _share_of(rows: Sequence[Row], name: str, whole: str) -> list[str]:
    gains: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
    for row in rows:
        trial = tuple(row[key] for key in ("network", "camera", "seed", "iterations", "photographs"))
        gains[trial][row["row"]] = row["psnr_y_db"][1] - row["psnr_y_db"][0]
    both = np.array([[found[name], found[whole]] for found in gains.values() if {name, whole} <= found.keys()])
    if len(both) < 2:
        return []
    part, of = both.mean(axis=0)
    return [
        "",
        f"{name.capitalize()} gains {part:+.2f} dB where the {whole} gains {of:+.2f} dB, over the {len(both)} trials "
        f"that have both: {part / of:.2f} of it. The least that it gains is {both[:, 0].min():+.3f} dB.",
    ]


def _group_of(row: Row) -> tuple[str, str, str]:
    """The table that a line belongs to: network, the kind of its camera, and how was trained."""
    kind = KIND_DRAWN if row["camera"] in DRAWN else KIND_CHOSEN if row["camera"] in CHOSEN else ""
    return row["network"], kind, row["training"]


def _described(camera: str) -> str:
    """A drawn camera in words."""
    drawn = DRAWN[camera]
    quality = f", JPEG {drawn.qualities[0]}" if drawn.qualities[0] else ""
    return f"{drawn.transfer.describe()}, noise {drawn.noise.levels:.1f} levels{quality}"


def _cell(trials: Sequence[Row], camera: str, place: int | None) -> str:
    """Mean gain, spread and count; of the adapter as trained where `place` is None."""
    gains = []
    for row in trials:
        if row["camera"] == camera and (place is not None or "as_trained_psnr_y_db" in row):
            after = row["psnr_y_db"][place] if place is not None else row["as_trained_psnr_y_db"]
            gains.append(after - row["psnr_y_db"][0])
    spread = f" ± {np.std(gains, ddof=1):.2f}" if len(gains) > 1 else ""
    return f"{np.mean(gains):+.2f}{spread} ({len(gains)})" if gains else ""
