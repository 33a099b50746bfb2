"""The option types that commands share, so that each is spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptsr_cli.cli.session import Debug as Debug
from adaptsr_cli.cli.session import Json as Json
from adaptsr_cli.cli.text import run_flag as run_flag
from adaptsr_cli.errors import UsageError

Run = Annotated[
    Path,
    typer.Option(
        "--run", "--run-dir", envvar="ADAPTSR_RUN", help="Run folder: every stage finds there what the last one made."
    ),
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
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Folder of LR/HR pairs in any usual layout, or of photos only. Repeatable; FOLDER:0.3 gives it a weight.",
        show_default=False,
    ),
]
Hr = Annotated[Path | None, typer.Option("--hr", help="HR folder, with --lr, in place of --data: pairs by file names.")]
Lr = Annotated[Path | None, typer.Option("--lr", help="LR folder, with --hr.")]
LrOrRate = Annotated[
    list[str] | None,
    typer.Option(
        "--lr",
        help="A number: learning rate. A folder: the LR side, with --hr. May be given once each.",
        show_default=False,
    ),
]
ListFile = Annotated[
    Path | None,
    typer.Option("--list", help="Text file in place of --data: a line is HR, LR (comma or tab), or a photo's path."),
]
Align = Annotated[
    str | None,
    typer.Option(
        "--align",
        help="none, or shift: correct whole-pixel shifts between the sides, leave out hopeless pairs.",
        show_default="none",
    ),
]
Val = Annotated[
    Path | None,
    typer.Option("--val", help="Folder of pairs to watch. Left out: a fifth of the images is held out."),
]
Degrade = Annotated[
    str | None,
    typer.Option(
        "--degrade",
        help="How LR is made from photos without pairs: auto (as the photos themselves look), auto:FOLDER (as the "
        "camera's photos there look), realesrgan, phone, demo, bicubic, or a degradation.json. Left out: the run's, "
        "else auto.",
    ),
]
CacheRam = Annotated[
    str | None,
    typer.Option(
        "--cache-ram",
        help="Memory for decoded images, such as 8G.",
        show_default="a quarter of what is free, 4G at most",
    ),
]
CacheDisk = Annotated[
    str, typer.Option("--cache-disk", help="Disk for decoded images that memory has no room for; 0 for none.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="TOML file of these options, such as a run's training/config.toml; the command line wins."
    ),
]
Preset = Annotated[
    str | None, typer.Option("--preset", help="fast (minutes) or paper (100,000 iterations).", show_default="fast")
]
Iterations = Annotated[int | None, typer.Option("--iterations", min=1, help="Optimiser steps.", show_default=False)]
Minutes = Annotated[
    float | None,
    typer.Option("--minutes", min=0.01, help="Time budget; the schedule is fitted into it.", show_default=False),
]
Schedule = Annotated[
    str | None, typer.Option("--schedule", help="cosine, or the paper's steps. Left out: the preset's.")
]
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective",
        help="fidelity (L1), l1+fft, charbonnier, or perceptual (the paper's AdaptSR-GAN).",
        show_default="fidelity",
    ),
]
Ema = Annotated[
    float | None,
    typer.Option("--ema", help="Keep a moving average of the adapter, with this decay: 0.999.", show_default=False),
]
Patience = Annotated[
    int | None,
    typer.Option("--patience", min=1, help="Stop after so many validations without improvement.", show_default=False),
]
ValFreq = Annotated[
    int | None, typer.Option("--val-freq", min=1, help="Iterations between validations.", show_default=False)
]
SaveFreq = Annotated[
    int | None, typer.Option("--save-freq", min=1, help="Iterations between saved states.", show_default=False)
]
TensorBoard = Annotated[
    bool | None, typer.Option("--tensorboard", help="Write training/tensorboard/ too.", show_default=False)
]
Checkpointing = Annotated[
    bool | None,
    typer.Option(
        "--checkpointing", help="Compute every block twice to save memory; for small GPUs.", show_default=False
    ),
]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Patches a step.", show_default=False)]
Accumulate = Annotated[
    int | None,
    typer.Option("--accumulate", min=1, help="Compute each batch in so many parts, to save memory.", show_default="1"),
]
Patch = Annotated[int | None, typer.Option("--patch", min=8, help="Side of the HR patch in px.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
PrecisionChoice = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")]
PrecisionOrNone = Annotated[
    str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.", show_default="auto")
]
SeedOrNone = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything random.", show_default="0")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        help="Comma-separated: psnr, ssim, ms_ssim, delta_e (mean CIEDE2000), lpips_squeeze, lpips_alex, lpips_vgg, "
        "dists; niqe, sharpness and noise of the output alone.",
    ),
]
Tile = Annotated[
    str, typer.Option("--tile", "-t", help="Tile side in LR px, 0 for the whole image, auto for what fits.")
]

DEFAULT_RUN = Path("adaptsr-run")


def find_weights_dir(option: Path | None) -> Path:
    """Where downloaded weights lie: as the user said, or the usual place."""
    from adaptsr_cli.backbones.catalogue import weights_dir

    return weights_dir(option)


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
