"""Python API: one function for each command.

A function takes an options object, or the same options by keyword, or both (keywords take precedence). It shows nothing
unless it is given a `Progress`, raises an `AdaptsrError` where the command would exit with an error, and leaves the
random number generators of the calling program as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.photos import write_demo_pairs
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.runtime import random_state_kept
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.adapt.stage import AdaptResult, run_adapt
from adaptsr_cli.stages.allocate.options import AllocateOptions, ReallocateOptions
from adaptsr_cli.stages.allocate.reallocate import ReallocateResult, run_reallocate
from adaptsr_cli.stages.allocate.stage import AllocateResult, run_allocate
from adaptsr_cli.stages.common.models import ModelSpec, load_model
from adaptsr_cli.stages.common.network_options import NetworkOptions
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.stage import EvaluateResult, run_evaluate
from adaptsr_cli.stages.export.options import ExportOptions
from adaptsr_cli.stages.export.stage import ExportResult, run_export
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.stage import MergeResult, run_merge
from adaptsr_cli.stages.pair.options import PairOptions
from adaptsr_cli.stages.pair.stage import PairResult, run_pair
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import ScoreResult, run_score
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import TrainResult, run_train
from adaptsr_cli.stages.truncate.options import TruncateOptions
from adaptsr_cli.stages.truncate.stage import TruncateResult, run_truncate
from adaptsr_cli.stages.upscale.array import upscale_array
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import UpscaleResult, run_upscale

__all__ = [
    "SILENT",
    "AdaptOptions",
    "AdaptResult",
    "AllocateOptions",
    "AllocateResult",
    "Backbone",
    "EvaluateOptions",
    "EvaluateResult",
    "ExportOptions",
    "ExportResult",
    "MergeOptions",
    "MergeResult",
    "PairOptions",
    "PairResult",
    "Progress",
    "ReallocateOptions",
    "ReallocateResult",
    "ScoreOptions",
    "ScoreResult",
    "TrainOptions",
    "TrainResult",
    "TruncateOptions",
    "TruncateResult",
    "UpscaleOptions",
    "UpscaleResult",
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


@random_state_kept()
def score(options: ScoreOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any) -> ScoreResult:
    """Score every site of the backbone by its gradient (AdaptSR, Eq. 7).

    Args:
        options: What to score.
        progress: Where progress and remarks go.
        **fields: Fields of `ScoreOptions`, such as ``data="iphone/"``.

    Returns:
        The saliency and its file, ``saliency.json`` in the run folder.

    Raises:
        AdaptsrError: As `adaptsr score` would exit with an error.
    """
    return run_score(ScoreOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def allocate(
    options: AllocateOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any
) -> AllocateResult:
    """Spend a parameter budget on the ranks of the sites (AdaptSR, Algorithm 1, and other strategies).

    Args:
        options: The budget and how to spend it.
        progress: Where progress and remarks go.
        **fields: Fields of `AllocateOptions`, such as ``budget="8%"``.

    Returns:
        The rank map and its file, ``rank_map.json`` in the run folder.

    Raises:
        AdaptsrError: As `adaptsr allocate` would exit with an error.
    """
    return run_allocate(AllocateOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def reallocate(
    options: ReallocateOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any
) -> ReallocateResult:
    """Choose new ranks for a trained adapter, to train on from there.

    Args:
        options: The adapter and the budget.
        progress: Where progress and remarks go.
        **fields: Fields of `ReallocateOptions`, such as ``adapter="adaptsr-run/adapter.safetensors"``.

    Returns:
        The rank map, and what changed.

    Raises:
        AdaptsrError: As `adaptsr reallocate` would exit with an error.
    """
    return run_reallocate(ReallocateOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def train(options: TrainOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any) -> TrainResult:
    """Train the adapters, or resumes a training that was stopped.

    Args:
        options: What to train, on what, and for how long.
        progress: Where progress and remarks go.
        **fields: Fields of `TrainOptions`, such as ``data="iphone/"`` and ``iterations=300``.

    Returns:
        The adapter's file and the card of the training.

    Raises:
        AdaptsrError: As `adaptsr train` would exit with an error.
    """
    return run_train(TrainOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def merge(options: MergeOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any) -> MergeResult:
    """Fold adapters into the backbone's weights.

    Args:
        options: Which adapters, and how much of each.
        progress: Where progress and remarks go.
        **fields: Fields of `MergeOptions`, such as ``strength=0.8`` or ``sharpness=0.5``.

    Returns:
        The merged file, and how exactly it computes what backbone and adapters compute.

    Raises:
        AdaptsrError: As `adaptsr merge` would exit with an error.
    """
    return run_merge(MergeOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def truncate(
    options: TruncateOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any
) -> TruncateResult:
    """Make a trained adapter smaller.

    Args:
        options: The adapter, and the rank or budget to cut it down to.
        progress: Where progress and remarks go.
        **fields: Fields of `TruncateOptions`, such as ``to_rank=2``.

    Returns:
        The smaller adapter's file, and what was lost.

    Raises:
        AdaptsrError: As `adaptsr truncate` would exit with an error.
    """
    return run_truncate(TruncateOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def export(options: ExportOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any) -> ExportResult:
    """Write the adapted network in a file format of other programs, and compares that file with PyTorch.

    Args:
        options: Which network, and which format.
        progress: Where progress and remarks go.
        **fields: Fields of `ExportOptions`, such as ``to="onnx"``.

    Returns:
        The file, and how it compares.

    Raises:
        AdaptsrError: As `adaptsr export` would exit with an error.
    """
    return run_export(ExportOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def evaluate(
    options: EvaluateOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any
) -> EvaluateResult:
    """Score models by a named protocol; the command is `adaptsr eval`.

    Args:
        options: Which models, on which images, by which protocol and metrics.
        progress: Where progress and remarks go.
        **fields: Fields of `EvaluateOptions`, such as ``data="test/"``.

    Returns:
        The evaluation, and the files of scores, pictures and report.

    Raises:
        AdaptsrError: As `adaptsr eval` would exit with an error.
    """
    return run_evaluate(EvaluateOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def upscale(options: UpscaleOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any) -> UpscaleResult:
    """Upscale image files; for an array in memory see `upscale_array`.

    Args:
        options: Which files, by which model, and where the results go.
        progress: Where progress and remarks go.
        **fields: Fields of `UpscaleOptions`, such as ``inputs="in.png"``.

    Returns:
        What was written, skipped and failed. A file that fails raises nothing.

    Raises:
        AdaptsrError: As `adaptsr upscale` would exit before the first file.
    """
    return run_upscale(UpscaleOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def adapt(options: AdaptOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any) -> AdaptResult:
    """Scores, allocates, trains, merges and evaluates in one call; what the run folder has already is kept.

    Args:
        options: The options of all stages.
        progress: Where progress and remarks go.
        **fields: Fields of `AdaptOptions`, such as ``data="iphone/"``.

    Returns:
        What every stage made.

    Raises:
        AdaptsrError: As `adaptsr adapt` would exit with an error.
    """
    return run_adapt(AdaptOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def pair(options: PairOptions | None = None, /, *, progress: Progress = SILENT, **fields: Any) -> PairResult:
    """Make training pairs of photographs of the same scenes at two focal lengths.

    Args:
        options: The photographs, and where the pairs go.
        progress: Where progress and remarks go.
        **fields: Fields of `PairOptions`, such as ``photos="shots/"``.

    Returns:
        The folder, and what became of each shot. A shot that is refused raises nothing; see `PairResult.pairs`.

    Raises:
        AdaptsrError: As `adaptsr pair` would exit before the last shot.
    """
    return run_pair(PairOptions.resolve(options, fields), progress=progress)


@random_state_kept()
def load_backbone(
    model: str | Path | None = None,
    *,
    model_options: str | Sequence[str] = (),
    weights_dir: str | Path | None = None,
    offline: bool = False,
    progress: Progress = SILENT,
) -> Backbone:
    """Load a super-resolution network.

    Args:
        model: Checkpoint file, merged model, or catalogue name; None for the embedded SAFMN x4.
        model_options: What the file does not tell, such as ``["img_range=1"]``.
        weights_dir: Folder of downloaded weights.
        offline: Never open a connection.
        progress: Where progress and remarks go.

    Returns:
        The network, on the CPU, with what is known of it.

    Raises:
        CheckpointError: The file is not a super-resolution network that can be read.
        DownloadError: A network of the catalogue could not be fetched.
        UsageError: `model` is no path or name, or one of `model_options` is not NAME=VALUE or the network does not have
            it.
    """
    chosen = NetworkOptions.of(
        {"model": model, "model_options": model_options, "weights_dir": weights_dir, "offline": offline}
    )
    return load_model(
        ModelSpec.of(chosen.model, chosen.weights_dir, offline=chosen.offline, options=chosen.model_options), progress
    )
