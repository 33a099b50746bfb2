"""The option types that commands share, so that each is spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptsr_cli.errors import UsageError

Run = Annotated[
    Path,
    typer.Option("--run", envvar="ADAPTSR_RUN", help="Run folder: every stage finds there what the last one made."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-n", help="Checkpoint file or catalogue name. Left out: the run's, else the embedded SAFMN x4."
    ),
]
WeightsDir = Annotated[
    Path | None,
    typer.Option("--weights-dir", envvar="ADAPTSR_WEIGHTS", help="Where downloaded weights lie.", show_default=False),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never open a connection.")]
Data = Annotated[Path, typer.Option("--data", help="Folder of LR/HR pairs in any usual layout, or of photos only.")]
Val = Annotated[
    Path | None,
    typer.Option("--val", help="Folder of pairs to watch. Left out: a fifth of the images is held out."),
]
Degrade = Annotated[
    str | None,
    typer.Option("--degrade", help="How LR is made from photos without pairs: realesrgan, phone, demo, bicubic."),
]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Patches a step.", show_default=False)]
Patch = Annotated[int | None, typer.Option("--patch", min=8, help="Side of the HR patch in px.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
PrecisionChoice = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Metrics = Annotated[
    str, typer.Option("--metrics", help="Comma-separated: psnr, ssim, lpips_squeeze, lpips_alex, lpips_vgg.")
]
Tile = Annotated[
    str, typer.Option("--tile", "-t", help="Tile side in LR px, 0 for the whole image, auto for what fits.")
]

DEFAULT_RUN = Path("adaptsr-run")


def parse_tile(text: str) -> int | None:
    """Reads ``auto``, ``0`` or a number of LR pixels.

    Raises:
        UsageError: Anything else.
    """
    if text == "auto":
        return None
    if not text.isdigit() or 0 < int(text) < 16:
        raise UsageError(f"--tile {text!r} is no tile size", "give auto, 0, or a number of LR pixels from 16 up")
    return int(text)


def run_flag(run: Path) -> str:
    """What to append to a suggested command so that it means the same run folder."""
    return "" if run == DEFAULT_RUN else f" --run {run}"
