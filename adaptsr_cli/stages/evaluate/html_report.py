"""The HTML report: what the run folder tells, gathered and written as ``report.html``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.base import HEADER, Provenance
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.atomic import write_bytes
from adaptsr_cli.io.documents import parse_document, read_document
from adaptsr_cli.io.headers import read_metadata
from adaptsr_cli.progress import Progress
from adaptsr_cli.report.gallery import ImageDetail
from adaptsr_cli.report.html import Adaptation, ReportContent, render_report
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.training.log import read_log

Found = TypeVar("Found")


def write_report(
    run: RunFolder,
    path: Path,
    evaluation: Evaluation,
    details: Sequence[ImageDetail],
    machine: str,
    progress: Progress,
    *,
    adapted: bool,
) -> None:
    """Write the page of an evaluation, in place of an earlier one.

    Args:
        run: Where the story of the adaptation lies.
        path: Where the page is written.
        evaluation: The scores.
        details: The details to show, best first.
        machine: Where it was evaluated.
        progress: Told what the page has to do without.
        adapted: Whether a scored model holds the run's adapter, so that the story is its own.
    """
    adaptation = _read_adaptation(run, progress) if adapted else None
    write_bytes(path, render_report(ReportContent(evaluation, details, adaptation, machine)))


def _read_adaptation(run: RunFolder, progress: Progress) -> Adaptation | None:
    """What the run folder tells; a damaged artifact is warned of and left out, since the scores stand without it."""

    def read(path: Path, how: Callable[[Path], Found]) -> Found | None:
        if not path.exists():
            return None
        try:
            return how(path)
        except ArtifactError as error:
            progress.warn(f"{run.report.name} goes without {path.name}: {error}")
            return None

    record = read(run.record, lambda path: read_document(path, RunRecord))
    if record is None:
        return None
    saliency = read(run.saliency, lambda path: read_document(path, Saliency))
    rank_map = read(run.rank_map, lambda path: read_document(path, RankMap))
    adapter = read(run.adapter, _read_adapter_header)
    if rank_map is not None and adapter is not None and not rank_map.is_of(adapter):
        progress.note(f"{run.report.name} goes without {run.rank_map.name}: {run.adapter.name} has other ranks")
        rank_map = None
    if saliency is not None and not (rank_map is not None and rank_map.is_by(saliency)):
        saliency = None
    camera = read(run.degradation, lambda path: read_document(path, DegradationRecord))
    guard = read(run.guard, lambda path: read_document(path, GuardRecord))
    card = read(run.card, lambda path: read_document(path, RunCard))
    on_top = read(run.perceptual.card, lambda path: read_document(path, RunCard))
    sharp = on_top.describe() if on_top is not None else ()
    steps: list[tuple[str, Provenance]] = [
        (name, made.provenance)
        for name, made in (("score", saliency), ("allocate", rank_map), ("train", adapter))
        if made is not None
    ]
    return Adaptation(
        backbone=record.backbone,
        rank_map=rank_map,
        adapter=adapter,
        log=read(run.training.log, read_log) or (),
        search=read(run.search, lambda path: read_document(path, SearchRecord)),
        card=(*(card.describe() if card else ()), *(f"On top of it: {line}" for line in sharp[:1])),
        camera=camera.estimate if camera is not None else None,
        guard=guard,
        steps=steps,
    )


def _read_adapter_header(path: Path) -> AdapterHeader:
    """The header of an adapter without its tensors.

    Raises:
        ArtifactError: It is none.
    """
    return parse_document(read_metadata(path).get(HEADER, "{}"), AdapterHeader, str(path))
