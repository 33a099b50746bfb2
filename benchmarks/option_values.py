"""Is one value of an option of `train` better than another, everything else the same?

    python benchmarks/option_values.py optimizer adam muon --pairs cam1=FOLDER --network safmn_x4= \\
        --cell safmn_x4=full:1e-3 [--seeds 0 1]
    python benchmarks/option_values.py schedule cosine constant --others optimizer=adam ...

Each cell, a method and its rate for a network, is trained once with each value; ``64@240`` is the value 64 for 240
iterations, as in ``patch 128@60 64@240`` at equal numbers of pixels. The split and the scores are those of
`auto_rate.py`. Trials are appended to ``benchmarks/results/option_NAME.jsonl`` as they end, and those that are there
are not run again; ``option_NAME.md`` is made of what is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from auto_rate import RESULTS, Trial, run_trial
from auto_rate_table import TEST_SHARE

from adaptsr_cli.io.cache_folder import CACHE_VARIABLE


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("option", help="as a field: learning_rate")
    parser.add_argument("values", nargs=2, help="the one before, and the one that is to be better")
    parser.add_argument("--others", nargs="*", default=[], help="NAME=VALUE of further options")
    parser.add_argument("--pairs", action="append", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--cell", action="append", default=[], help="NETWORK=METHOD:RATE, or NETWORK=auto")
    parser.add_argument("--iterations", nargs="+", type=int, default=[60])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    others = dict(text.split("=", 1) for text in options.others)
    log = RESULTS / f"option_{options.option}.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    with tempfile.TemporaryDirectory() as work, patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}):
        for iterations, seed, cell, data, chosen in product(
            options.iterations, options.seeds, options.cell, options.pairs, options.values
        ):
            network, _, trained = cell.partition("=")
            method, _, rate = trained.partition(":")
            value, _, length = chosen.partition("@")
            trial = Trial(
                network, data.partition("=")[0], seed, int(length or iterations), method, float(rate) if rate else None
            )
            what = {"value": value, "others": others, "trial": asdict(trial)}
            if any(what.items() <= row.items() for row in rows):
                continue
            row = {**what, **run_trial(trial, Path(work), options, **{options.option: value}, **others)}
            rows.append(row)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(value, row["trial"], f"{row['gain_db']:+.3f} dB", flush=True)
    log.with_suffix(".md").write_text(to_markdown(rows, options.option, *options.values), encoding="utf-8")


def to_markdown(rows: list[dict[str, Any]], option: str, before: str, after: str) -> str:
    """A row for each cell: both values, and how far the second one is ahead."""
    counted = any(row.get("broken_colours") for row in rows)
    alike = all(row["others"] == rows[0]["others"] for row in rows)
    lines = [
        f"| network | data | method, rate | iterations | seed | held-out crops: {before}, {after} "
        f"| test images: {before}, {after} | difference |"
        + (f" broken colours: published, {before}, {after} |" if counted else ""),
        "|---|---|---|---|---|---|---|---|" + ("---|" if counted else ""),
    ]
    found = {}
    for row, value in product(rows, (before, after)):
        name, _, length = value.partition("@")
        if row["value"] == name and length in ("", str(row["trial"]["iterations"])):
            cell = row["trial"] | ({"iterations": None} if length else {})
            found[value, json.dumps([row["others"], cell])] = row
    differences = []
    for key in dict.fromkeys(key for _, key in found):
        if (before, key) not in found or (after, key) not in found:
            continue
        pair = [found[value, key] for value in (before, after)]
        trial = pair[0]["trial"]
        how = ", ".join(dict.fromkeys(method_of(row) for row in pair))
        if pair[0]["others"] and not alike:
            how += f" ({describe_others(pair[0]['others'])})"
        differences.append(pair[1]["gain_db"] - pair[0]["gain_db"])
        scores = " | ".join(
            ", ".join(f"{row[name]:+.3f}" for row in pair) + " dB" for name in ("held_out_gain_db", "gain_db")
        )
        lines.append(
            f"| {trial['network']} | {trial['data']} | {how} "
            f"| {', '.join(dict.fromkeys(str(row['trial']['iterations']) for row in pair))} "
            f"| {trial['seed']} | {scores} | {differences[-1]:+.3f} dB |" + (f" {broken_of(pair)} |" if counted else "")
        )
    fixed = describe_others(rows[0]["others"]) if alike else ""
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines += [
        "",
        f"{after} above {before} on test images: {mean(differences):+.3f} dB on average, "
        f"in {sum(value > 0 for value in differences)} of {len(differences)}.",
        "",
        f"Made by `python benchmarks/option_values.py {option} {before} {after}`{f' with {fixed}' if fixed else ''} on "
        f"{machines}. PSNR-Y above the backbone's; test images: every {TEST_SHARE}th pair, whole.",
    ]
    return "\n".join(lines) + "\n"


def describe_others(others: dict[str, str]) -> str:
    """Further options that were set."""
    return ", ".join(f"`{name}` {value}" for name, value in others.items())


def broken_of(pair: list[dict[str, Any]]) -> str:
    """How many colours of the chart break in the published network and in the two adapted ones."""
    found = [row.get("broken_colours") for row in pair]
    return ", ".join(map(str, (found[0][0], *(after for _, after in found)))) if all(found) else ""


def method_of(row: dict[str, Any]) -> str:
    """Method and rate, as given or as the search found them; ``auto`` where a training was too short for a search."""
    chosen = row["found"] or row["trial"]
    rate = chosen["learning_rate"]
    return ("auto: " if row["found"] else "") + chosen["method"] + ("" if rate is None else f" {rate:.2g}")


if __name__ == "__main__":
    main()
