"""How does a training end whose learning rate was given 10 and 100 times too high?

    python benchmarks/too_high.py --pairs iphone=FOLDER --network span_x4=FILE --good span_x4=full:2e-4

Every trial is a training at the good rate of its network times 1, 10 or 100, with that rate given as by ``--lr``; the
split and the scores are those of `auto_rate.py`. Trials are appended to ``benchmarks/results/too_high.jsonl`` as they
end, and those that are there are not run again; ``too_high.md`` is made of what is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from auto_rate import RESULTS, Trial, run_trial
from auto_rate_table import TEST_SHARE

from adaptsr_cli.io.cache_folder import CACHE_VARIABLE

TIMES: Final = (1, 10, 100)


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--good", action="append", default=[], help="NETWORK=METHOD:RATE, of which multiples are run")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    log = RESULTS / "too_high.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    with tempfile.TemporaryDirectory() as work, patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}):
        for good, data, times in product(options.good, options.pairs, TIMES):
            network, _, chosen = good.partition("=")
            method, _, rate = chosen.partition(":")
            trial = Trial(network, data.partition("=")[0], 0, options.iterations, method, float(rate) * times)
            if any(row["trial"] == asdict(trial) for row in rows):
                continue
            rows.append({"times": times, **run_trial(trial, Path(work), options)})
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1]["trial"], f"{rows[-1]['gain_db']:+.3f} dB", flush=True)
    (RESULTS / "too_high.md").write_text(to_markdown(rows), encoding="utf-8")


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """A row for each training."""
    lines = [
        "| network | data | method, rate given | times the good one | lowered | on held-out crops | on test images |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        trial = row["trial"]
        rate, lowered = trial["learning_rate"], []
        for cut in row["rate_cuts"]:
            rate *= cut["factor"]
            lowered.append(f"at {cut['iteration']} to {rate:.2g}")
        lines.append(
            f"| {trial['network']} | {trial['data']} | {trial['method']} {trial['learning_rate']:.2g} | {row['times']} "
            f"| {', '.join(lowered) or 'never'} | {row['held_out_gain_db']:+.2f} dB | {row['gain_db']:+.3f} dB |"
        )
    iterations = ", ".join(str(number) for number in sorted({row["trial"]["iterations"] for row in rows}))
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines += [
        "",
        f"Made by `python benchmarks/too_high.py` on {machines}; {iterations} iterations, one seed. PSNR-Y above the",
        f"backbone's on whole test images, every {TEST_SHARE}th pair.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
