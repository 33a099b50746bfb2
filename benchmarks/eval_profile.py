"""Where the time of ``adaptsr eval`` goes: the networks, the trunk of LPIPS, PSNR and SSIM, reading, and the rest.

    python benchmarks/eval_profile.py --data BSD100 --weights-dir DIR [--model FILE ...] [--output RESULT.md]

LPIPS's trunk is a network too, and listed by itself. `PSNR and SSIM` holds the conversion to Y.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.metrics import protocol
from adaptsr_cli.metrics.perceptual import Lpips
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.evaluate import stage
from adaptsr_cli.stages.evaluate.options import EvaluateOptions

ROOT = Path(__file__).resolve().parents[1]

Function = Callable[..., Any]


class Clock:
    """Adds up the time spent inside of functions, by what they are for; no two of them call each other."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def timed(self, what: str, function: Function) -> Function:
        """The function, its time added to `what`."""

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[what] += time.perf_counter() - start
                self.calls[what] += 1

        return run


PARTS: tuple[tuple[str, Any, str], ...] = (
    ("SR networks", Upscaler, "run"),
    ("LPIPS trunk", Lpips, "features"),
    ("LPIPS comparison", Lpips, "compare"),
    ("PSNR and SSIM", protocol, "psnr_db"),
    ("PSNR and SSIM", protocol, "ssim"),
    ("PSNR and SSIM", protocol.Protocol, "luma"),
    ("reading images", Mixture, "read"),
    ("opening data and networks", stage, "open_pairs"),
    ("opening data and networks", stage, "open_networks"),
    ("bootstrap and tests", stage, "_summarise"),
    ("drawing the sheet", stage, "draw_comparison"),
)


def main() -> None:
    """Profiles one evaluation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights-dir", type=Path, required=True)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--metrics", default="psnr,ssim,lpips_squeeze")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        for what, owner, name in PARTS:
            setattr(owner, name, clock.timed(what, getattr(owner, name)))
        evaluation_options = EvaluateOptions(
            run=Path(folder),
            data=(str(options.data),),
            weights_dir=options.weights_dir,
            models=tuple(options.model or ["safmn-x4-bicubic"]),
            metrics=options.metrics,
        )
        start = time.perf_counter()
        evaluation = stage.run_evaluate(evaluation_options).evaluation
        whole = time.perf_counter() - start
    clock.seconds["everything else"] = whole - sum(clock.seconds.values())
    lines = [
        f"Made by `python benchmarks/eval_profile.py` on {describe_machine(pick_device('auto'))}; "
        f"{len(evaluation.models)} models, {len(evaluation.images)} images, {options.metrics}.",
        "",
        "| part | calls | time | share |",
        "|---|---|---|---|",
        *(
            f"| {what} | {clock.calls[what] or ''} | {seconds:.2f} s | {seconds / whole:.1%} |"
            for what, seconds in clock.seconds.most_common()
        ),
        f"| all | | {whole:.2f} s | |",
    ]
    print("\n".join(lines))
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
