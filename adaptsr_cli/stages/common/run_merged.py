"""The run's merged model: found, loaded, and held against the adapters that the run has now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.merged_model import read_merged_header
from adaptsr_cli.stages.common.models import ModelSpec, load_model
from adaptsr_cli.stages.common.run_command import run_command
from adaptsr_cli.stages.common.run_folder import RunFolder


def load_merged(run: RunFolder, choice: ModelSpec, progress: Progress) -> Backbone | None:
    """Load the run's merged model; None where there is none.

    Args:
        run: The run folder.
        choice: Its options; the name is not used.
        progress: Told which network was loaded, and warned where the run was trained further since it was merged.

    Raises:
        CheckpointError: The file is no usable network.
        ArtifactError: Its header is damaged.
    """
    path = run.find_merged()
    if path is None:
        return None
    merged = load_model(replace(choice, name=str(path)), progress)
    warn_of_later_adapters(run, path, read_merged_header(merged), progress)
    return merged


def warn_of_later_adapters(run: RunFolder, merged: Path, header: MergedHeader | None, progress: Progress) -> None:
    """Warn where the run was trained further since it was merged.

    Args:
        run: The run folder.
        merged: Its merged model.
        header: Of that model; None where its file says nothing.
        progress: Told of each adapter that came later.
    """
    command = run_command(run, "merge", "--force")
    for adapter in _adapters_of(run, header):
        if _was_replaced(adapter, merged, header):
            progress.warn(f"{merged} was made before {adapter} as it is now: `{command}` comes first")


def holds_adapter(header: MergedHeader | None, run: RunFolder) -> bool:
    """Whether the run's adapter, as it is now, is in the model, so that what the run tells of training is true of it.

    Args:
        header: Of the model; None where its file says nothing.
        run: The run folder.
    """
    return header is not None and run.adapter.exists() and file_sha256(run.adapter) in header.sha256s


def _adapters_of(run: RunFolder, header: MergedHeader | None) -> list[Path]:
    """Those of the run that such a merged model is made from."""
    is_sharp = header is not None and header.blend is not None and header.blend.perceptual is not None
    return [run.adapter, *([run.perceptual.adapter] if is_sharp else [])]


def _was_replaced(adapter: Path, merged: Path, header: MergedHeader | None) -> bool:
    """Whether the adapter came after the merged model and is not in it.

    One that is older may be left out on purpose: other adapters were merged, or a truncated one. A ``.pth`` of an
    earlier version says nothing of what is in it.
    """
    if not adapter.exists() or adapter.stat().st_mtime_ns <= merged.stat().st_mtime_ns:
        return False
    return header is None or file_sha256(adapter) not in header.sha256s
