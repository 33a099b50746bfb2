"""A run folder as ``info`` tells it: what the stages have made in it, and what of it is outdated."""

from __future__ import annotations

from pathlib import Path

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.run_folder import RunFolder


def list_made(place: Path) -> list[Path]:
    """What the stages have made in a run folder, in their order; anything else as it is."""
    run = RunFolder(place)
    if not run.record.is_file():
        return [place]
    planned = (run.record, run.degradation, run.saliency, run.rank_map)
    trained = (run.split, run.search, run.card, run.guard, run.adapter, run.perceptual.adapter)
    scores = sorted(place.glob("eval*.json"), key=lambda path: path.stem)
    made = (*planned, *trained, run.find_merged(), *scores)
    return [path for path in made if path is not None and path.is_file()]


def tell_outdated(place: Path, progress: Progress) -> None:
    """Warn where a run's merged model is older than its adapters; of anything else, and of a damaged one, say nothing.

    Args:
        place: A run folder, or a file.
        progress: Told.
    """
    run = RunFolder(place)
    merged = run.find_merged() if run.record.is_file() else None
    if merged is None or not run.adapter.exists():
        return
    from adaptsr_cli.io.checkpoints import read_checkpoint_file
    from adaptsr_cli.stages.common.run_merged import warn_of_later_adapters

    try:
        text = read_checkpoint_file(merged).metadata.get(HEADER)
        header = None if text is None else parse_document(text, MergedHeader, str(merged))
    except AdaptsrError:
        return  # told where the file is described
    warn_of_later_adapters(run, merged, header, progress)
