"""A run folder as ``info`` tells it: what the stages have made in it, and what of it is outdated."""

from __future__ import annotations

from pathlib import Path

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.run_folder import RunFolder


def list_made(place: Path) -> list[Path]:
    """What the stages have made in a run folder or its training folder, in their order; anything else as it is."""
    run, around = RunFolder(place), RunFolder(place.parent)
    if run.record.is_file():
        planned = (run.record, run.degradation, run.saliency, run.rank_map)
        trained = (*_list_training(run), run.adapter, run.perceptual.adapter)
        made = [*planned, *trained, run.find_merged(), *_list_scores(place)]
    elif place == around.training.root and around.record.is_file():
        made = list(_list_training(around))
    else:
        made = []
    return [path for path in made if path is not None and path.is_file()] or [place]


def _list_training(run: RunFolder) -> tuple[Path, ...]:
    """Where training writes what it has found."""
    return run.split, run.search, run.card, run.guard


def tell_outdated(place: Path, progress: Progress) -> None:
    """Warn where a run's merged model is older than its adapters, or an evaluation is of an earlier merged model.

    Of anything else, and of damaged files, nothing is said.

    Args:
        place: A run folder, or a file.
        progress: Told.
    """
    run = RunFolder(place)
    merged = run.find_merged() if run.record.is_file() else None
    if merged is None:
        return
    from adaptsr_cli.backbones.loader import load_backbone
    from adaptsr_cli.stages.common.merged_model import read_merged_header
    from adaptsr_cli.stages.common.models import network_sha256
    from adaptsr_cli.stages.common.run_merged import warn_of_later_adapters

    try:
        backbone = load_backbone(merged)
        header = read_merged_header(backbone)
    except AdaptsrError:
        return  # told where the file is described
    warn_of_later_adapters(run, merged, header, progress)
    sha256 = network_sha256(backbone.identity)
    for scores in _list_scores(place):
        if _is_of_earlier(scores, merged, sha256):
            progress.warn(
                f"{scores} was made before {merged} as it is now: `adaptsr eval --force` on the same images replaces it"
            )


def _list_scores(place: Path) -> list[Path]:
    """The evaluations in a run folder, the first one first."""
    return sorted(place.glob("eval*.json"), key=lambda path: path.stem)


def _is_of_earlier(scores: Path, merged: Path, sha256: str) -> bool:
    """Whether an evaluation is of the run's merged model, with other weights.

    Args:
        scores: The evaluation.
        merged: The file of the merged model.
        sha256: Of its weights now.
    """
    try:
        models = read_document(scores, Evaluation).models
    except AdaptsrError:
        return False
    known = [model.sha256 for model in models if (model.name, model.source) == ("merged", merged.name)]
    return bool(known) and sha256 not in known
