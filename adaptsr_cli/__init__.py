"""adaptsr: rank-aware low-rank adaptation of super-resolution networks to real cameras.

The Python API: every command is a function, and its options are keyword arguments.

    import adaptsr_cli as adaptsr

    result = adaptsr.adapt(data="iphone/", run="adaptsr-run")
    sr = adaptsr.upscale_array(image, model="adaptsr-run/merged.safetensors")

Importing this package is cheap: the functions, and with them torch, are imported when the first of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptsr_cli.errors import (
    AdaptsrError,
    ArtifactError,
    BudgetError,
    BusyError,
    CheckpointError,
    DataError,
    DownloadError,
    ImageError,
    Interrupted,
    OutputExistsError,
    TrainingError,
    UsageError,
)

if TYPE_CHECKING:
    from adaptsr_cli.api import (
        SILENT,
        AdaptOptions,
        AdaptResult,
        AllocateOptions,
        AllocateResult,
        Backbone,
        EvaluateOptions,
        EvaluateResult,
        ExportOptions,
        ExportResult,
        MergeOptions,
        MergeResult,
        PairOptions,
        PairResult,
        Progress,
        ReallocateOptions,
        ReallocateResult,
        ScoreOptions,
        ScoreResult,
        TrainOptions,
        TrainResult,
        TruncateOptions,
        TruncateResult,
        UpscaleOptions,
        UpscaleResult,
        adapt,
        allocate,
        evaluate,
        export,
        load_backbone,
        merge,
        pair,
        reallocate,
        score,
        train,
        truncate,
        upscale,
        upscale_array,
        write_demo_pairs,
    )

__version__ = "0.1.0"

__all__ = [
    "SILENT",
    "AdaptOptions",
    "AdaptResult",
    "AdaptsrError",
    "AllocateOptions",
    "AllocateResult",
    "ArtifactError",
    "Backbone",
    "BudgetError",
    "BusyError",
    "CheckpointError",
    "DataError",
    "DownloadError",
    "EvaluateOptions",
    "EvaluateResult",
    "ExportOptions",
    "ExportResult",
    "ImageError",
    "Interrupted",
    "MergeOptions",
    "MergeResult",
    "OutputExistsError",
    "PairOptions",
    "PairResult",
    "Progress",
    "ReallocateOptions",
    "ReallocateResult",
    "ScoreOptions",
    "ScoreResult",
    "TrainOptions",
    "TrainResult",
    "TrainingError",
    "TruncateOptions",
    "TruncateResult",
    "UpscaleOptions",
    "UpscaleResult",
    "UsageError",
    "adapt",
    "allocate",
    "evaluate",
    "export",
    "load_backbone",
    "merge",
    "pair",
    "reallocate",
    "score",
    "train",
    "truncate",
    "upscale",
    "upscale_array",
    "write_demo_pairs",
]


def __getattr__(name: str) -> Any:
    """Import the API when one of its names is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from adaptsr_cli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
