"""Searches that are kept for later trainings on the same network and images, in whatever run folder.

They lie in the cache folder, each under a name made of everything that the best rate depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.errors import AdaptsrError, ArtifactError
from adaptsr_cli.io.cache_folder import cache_dir
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.setup import TrainingInputs, make_fingerprint

_SEARCHES: Final = 9
"""Counts the ways of searching: what an older way has found is searched for anew."""

_FREE: Final = frozenset({"method", "learning_rate", "iterations", "minutes", "patience", "val_freq", "save_freq"})
"""What is searched for, and what only decides how long a training goes on."""


def recall_search(
    options: TrainOptions, inputs: TrainingInputs, methods: Sequence[Method], progress: Progress
) -> SearchRecord | None:
    """What an earlier search has found; None where there is none, where it is damaged or not wanted, and with `force`.

    Args:
        options: What the user asked for.
        inputs: What is trained on what.
        methods: Between which to choose.
        progress: Told of a file that cannot be used.
    """
    if not options.seeks_rate or options.force:
        return None
    # By one process, so that all do the same.
    return inputs.world.from_main(lambda: _read(_path(options, inputs, methods), progress))


def _read(path: Path, progress: Progress) -> SearchRecord | None:
    if not path.exists():
        return None
    try:
        record = read_document(path, SearchRecord)
    except ArtifactError as error:
        progress.warn(f"what an earlier search has found is ignored: {error.message}")
        return None
    return None if record.winner is None else record.model_copy(update={"is_reused": True})


def covers(record: SearchRecord | None, iterations: int) -> bool:
    """Whether a search was made for a training at least half as long, so that its trials were not much shorter.

    With a time to keep no two plans are of quite the same length.
    """
    return record is not None and 2 * record.planned_iterations >= iterations


def keep_search(
    record: SearchRecord, options: TrainOptions, inputs: TrainingInputs, methods: Sequence[Method], progress: Progress
) -> None:
    """Keep what a search has found; that this is not possible does not stop the training."""
    try:
        write_document(_path(options, inputs, methods), record)
    except AdaptsrError as error:
        progress.warn(f"what the search has found is not kept for other runs: {error.message}")


def _path(options: TrainOptions, inputs: TrainingInputs, methods: Sequence[Method]) -> Path:
    """The file of a search, named by everything that decides what it finds."""
    settled = options.model_copy(update={"method": methods[0], "minutes": None})
    parts = make_fingerprint(settled, inputs, SILENT).model_dump(mode="json")
    parts["config"] = {name: value for name, value in parts["config"].items() if name not in _FREE}
    parts |= {"methods": list(methods), "searches": _SEARCHES}
    name = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    return cache_dir() / "searches" / f"{name}.json"
