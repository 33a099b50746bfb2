"""Options that several commands share, each declared once: type, range, help and flag."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from adaptsr_cli.data.sources import Align
from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.file_kinds import describe_irregular
from adaptsr_cli.options import Flag, with_home

DEFAULT_RUN: Final = Path("adaptsr-run")

FileFormat = Literal["safetensors", "pth"]

MIN_TILE_PX: Final = 16
AUTO: Final = "auto"


def as_many(value: Any) -> Any:
    """Let Python name one value or path where the command line may repeat the option."""
    if isinstance(value, str | Path):
        value = (value,)
    is_many = isinstance(value, Sequence) and all(isinstance(item, str | Path) for item in value)
    return tuple(map(str, value)) if is_many else value


def _as_text(value: Any) -> Any:
    """Let Python give a path where a name would do as well."""
    return str(value) if isinstance(value, Path) else value


def _join(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise UsageError(f"`{info.field_name}` is empty", "name one at least, or leave it out")
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


WITH_COMMAS: Final = BeforeValidator(_join)
"""Marks what the command line writes with commas between, and Python as a list too."""


def _read_tile(value: Any) -> Any:
    """Read ``auto``, ``0`` or a number of LR pixels, as text or number."""
    if value is None or value == "auto":
        return None
    if not str(value).isdecimal() or 0 < int(value) < MIN_TILE_PX:
        raise UsageError(
            f"`tile` {value!r} is not a valid tile size",
            f"give auto, 0, or a number of LR pixels from {MIN_TILE_PX} up",
        )
    return int(value)


def _with_folder_at_home(value: Any, info: ValidationInfo) -> Any:
    """``auto:~/FOLDER`` with the home folder, as options put it at the beginning of a value themselves."""
    if not (isinstance(value, str) and value.startswith(f"{AUTO}:")):
        return value
    folder = value.removeprefix(f"{AUTO}:")
    if not folder.strip():  # it would be the current folder
        raise UsageError(f"`{info.field_name}` {value} names no folder", "is a variable of the shell not set?")
    return f"{AUTO}:{with_home(folder)}"


def _read_sharpness(value: Any, info: ValidationInfo) -> Any:
    """Read ``auto``, ``auto:FOLDER`` or a number from 0 to 1, as text or number."""
    value = _with_folder_at_home(value, info)
    if value is None or (isinstance(value, str) and (value == AUTO or value.startswith(f"{AUTO}:"))):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise UsageError(
            f"`sharpness` {value!r} is not a setting", "give a number from 0 (faithful) to 1 (sharp), or auto"
        )
    return number


def _check_seed(seed: int) -> int:
    """Refuse what torch takes for no seed."""
    if seed >= 1 << 64:
        raise UsageError(f"`seed` {seed} is too large", "give a number of 64 bits")
    return seed


def _refuse_file(path: Path | None, info: ValidationInfo) -> Path | None:
    """Refuse a file in the place of a folder here, before there is work that could not be written down."""
    hint = "give a folder, or a name that is not there yet"
    try:
        is_folder = path is None or describe_irregular(path) == "a folder"
    except NotADirectoryError as error:
        raise UsageError(
            f"`{info.field_name}` {path} is no place for a folder: it leads through a file", hint
        ) from error
    except OSError:  # nothing is there, and where it cannot be made that says why
        return path
    if not is_folder:
        raise UsageError(f"`{info.field_name}` {path} is no folder", hint)
    return path


FOLDER: Final = AfterValidator(_refuse_file)
"""Marks the path of a folder that is made where it is not there yet."""

Run = Annotated[
    Path,
    FOLDER,
    Field(description="Run folder: every stage finds there what the last one made."),
    Flag(("--run", "--run-dir"), environment="ADAPTSR_RUN"),
]
Model = Annotated[
    str | None,
    BeforeValidator(_as_text),
    Field(description="Checkpoint file or catalogue name. Left out: the run's, else the embedded SAFMN x4."),
    Flag(("--model", "-n"), one_of_many=True),
]
ModelChoices = Annotated[
    tuple[str, ...],
    BeforeValidator(as_many),
    Field(
        description="What the model file does not tell, such as img_range=1, or network=netG where it holds several "
        "(adaptsr info shows what is assumed). Repeatable; the run remembers it."
    ),
    Flag(("--model-option",), metavar="NAME=VALUE"),
]
WeightsDir = Annotated[
    Path | None, FOLDER, Field(description="Folder of downloaded weights."), Flag(environment="ADAPTSR_WEIGHTS")
]
Offline = Annotated[bool, Field(description="Never open a connection."), Flag(("--offline",))]
Data = Annotated[
    tuple[str, ...],
    BeforeValidator(as_many),
    Field(
        description="Folder of LR/HR pairs in any usual layout, or of photos only. Repeatable; FOLDER:0.3 gives it a "
        "weight."
    ),
]
LrDir = Annotated[Path | None, Field(description="Folder of the LR images, with --hr-dir.")]
HrDir = Annotated[
    Path | None, Field(description="Folder of the HR images, with --lr-dir, in place of --data: pairs by file names.")
]
ListFile = Annotated[
    Path | None,
    Field(description="Text file in place of --data: a line is HR, LR (comma or tab), or the path of a photo."),
    Flag(("--list",)),
]
AlignOption = Annotated[
    Align, Field(description="shift corrects whole-pixel shifts between the sides and drops pairs that do not match.")
]
Val = Annotated[
    Path | None, Field(description="Folder of validation pairs. Left out: a fifth of the images is held out.")
]
Test = Annotated[
    Path | None,
    Field(description="Folder of pairs for the score alone. Left out: a further fifth of the images, from 15 on."),
]
Degrade = Annotated[
    str | None,
    BeforeValidator(_with_folder_at_home),
    Field(
        description="How LR is made from photos without pairs: auto (as the photos themselves look), auto:FOLDER (as "
        "the camera of the photos there, compared with these, takes them), pairs (as the real pairs among the data "
        "show the camera), realesrgan, phone, demo, bicubic, or a degradation.json. Left out: the run's, else auto."
    ),
]
CacheRam = Annotated[
    str | None,
    Field(description="Memory for decoded images, such as 8G."),
    Flag(default_text="a quarter of what is free, 4G at most"),
]
Batch = Annotated[int | None, Field(ge=1, description="Patches a step.")]
Patch = Annotated[int | None, Field(ge=8, description="Side of the HR patch in px.")]
Adapters = Annotated[
    tuple[Path, ...],
    BeforeValidator(as_many),
    Field(description="Adapter file. Repeatable."),
    Flag(("--adapter",)),
]
Tile = Annotated[
    int | None,
    BeforeValidator(_read_tile),
    Field(description="Tile side in LR px; 0 for the whole image, auto for what fits in memory."),
    Flag(("--tile", "-t"), default_text="auto", metavar="TILE", as_text=True),
]
Sharpness = Annotated[
    float | str | None,
    BeforeValidator(_read_sharpness),
    Field(
        description="How much of the run's perceptual adapter is added (`objective` both): 0 is the faithful model, 1 "
        "all of it; auto goes by the run's held-out images, auto:FOLDER by the photographs there too."
    ),
    Flag(default_text="0", metavar="0..1", as_text=True),
]
Device = Annotated[str, Field(description="auto, cpu, cuda or cuda:N.")]
PrecisionChoice = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], Field(description="Precision of products and convolutions."),
    Flag(("--precision",)),
]  # fmt: skip
Seed = Annotated[int, AfterValidator(_check_seed), Field(ge=0, description="Seed of everything random.")]
Force = Annotated[bool, Field(description="Replace what exists."), Flag(("--force",))]
Strict = Annotated[
    bool,
    Field(description="Refuse, before any work, images that cannot be scored; else they are named and left out."),
    Flag(("--strict",)),
]
METRICS_HELP: Final = (
    "Comma-separated: psnr, ssim, ms_ssim, delta_e (mean CIEDE2000), lpips_squeeze, lpips_alex, lpips_vgg, dists; "
    "niqe, sharpness and noise of the output alone."
)
Metrics = Annotated[str, WITH_COMMAS, Field(description=METRICS_HELP)]
