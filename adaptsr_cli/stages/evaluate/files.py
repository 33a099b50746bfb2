"""Files of an evaluation in the run folder: ``eval.json`` for the first one, ``eval-<name>.json`` for others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.base import Scalar
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.errors import OutputExistsError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.stages.common.run_folder import EvaluationFiles, RunFolder
from adaptsr_cli.stages.evaluate.images import ScoredSplit
from adaptsr_cli.stages.evaluate.models import EvaluatedModel
from adaptsr_cli.stages.evaluate.options import EvaluateOptions

_MOST_NAME: Final = 60
_DEGRADATION: Final = "degradation_sha256"


def choose_files(
    options: EvaluateOptions,
    run: RunFolder,
    split: ScoredSplit,
    fingerprint: str,
    models: Sequence[EvaluatedModel],
    made_with: Mapping[str, Scalar],
) -> EvaluationFiles:
    """The files that this evaluation is written to: those that it has already, else the first free ones.

    Evaluations of other data, of other models, by another protocol or degradation lie side by side. One of the run's
    own models is the same before and after the merge, so that the earlier scores are replaced, by `force`, and not left
    as the run's.

    Args:
        options: Say what is scored, by which protocol, and whether results may be replaced.
        run: Where the files lie.
        split: Which images of the data are scored.
        fingerprint: Identity of the images.
        models: What is scored.
        made_with: What else the scores depend on, as the provenance names it.

    Raises:
        OutputExistsError: The evaluation lies there as it was before models or images changed, or with metrics that
            are not asked for now, and `force` is not set.
        ArtifactError: A file of that name is no evaluation.
    """
    data, names = options.images.describe(), [model.name for model in models]
    for files in _list_names(run, options):
        if options.replaces_first or not files.scores.exists():
            return files
        known = read_document(files.scores, Evaluation)
        same_images = known.provenance.data_fingerprint == fingerprint
        same_data = same_images or (known.data, known.split) == (data, split)
        known_names = [model.name for model in known.models]
        shared = zip(known_names, names, strict=False) if options.scores_models_of_run else [(known_names, names)]
        if not same_data or known.protocol != options.protocol or any(old != new for old, new in shared):
            continue
        if known.provenance.options.get(_DEGRADATION, made_with[_DEGRADATION]) != made_with[_DEGRADATION]:
            continue  # older versions did not write it down
        same_models = [(model.name, model.sha256) for model in known.models] == [
            (model.name, model.sha256) for model in models
        ]
        lost = _metrics_of(known.provenance.options) - _metrics_of(made_with) - set(known.skipped_metrics)
        if options.force or (same_images and same_models and not lost):
            return files
        if same_images and same_models:
            raise OutputExistsError(
                f"{files.scores} holds scores by {', '.join(sorted(lost))} too",
                "name all `metrics` that it should hold, or set `force` to replace it",
            )
        change = "images" if not same_images else "weights" if known_names == names else "models"
        raise OutputExistsError(
            f"{files.scores} holds another evaluation ({', '.join(known_names)} on {known.data}, protocol "
            f"{known.protocol}), of other {change}",
            "set `force` to replace it, or use another `run`",
        )
    raise AssertionError("there are always free names")


def _metrics_of(made_with: Mapping[str, Scalar | tuple[Scalar, ...]]) -> set[str]:
    return set(str(made_with.get("metrics") or "").split(",")) - {""}


def _list_names(run: RunFolder, options: EvaluateOptions) -> Iterator[EvaluationFiles]:
    """The names to try, in order: without the data set, with it, with it and a number."""
    yield run.evaluation_files("")
    name = name_data(options)
    yield run.evaluation_files(name)
    number = 2
    while True:
        yield run.evaluation_files(f"{name}-{number}")
        number += 1


def name_data(options: EvaluateOptions) -> str:
    """A short name of the data set and its split for file names: ``Set5``, ``camera-all``."""
    images = options.images
    paths = [folder.path for folder in images.folders] or [path for path in (images.list_file, images.hr) if path]
    words = [_name_folder(path) for path in paths]
    words += [options.split] if options.split is not None else []
    name = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(words)).strip("-.")
    return name[:_MOST_NAME] or "data"


def _name_folder(path: Path) -> str:
    """Its last part that says more than a side of pairs or a split: ``Set5`` of ``Set5/HR``."""
    parts = [part for part in path.resolve().parts if part not in {"", "/"}]
    telling = [part for part in parts if part.lower() not in {"hr", "lr", "test", "val", "data"}]
    last = Path(parts[-1]).stem if parts else "data"
    return last if not telling or parts[-1] == telling[-1] else f"{telling[-1]}-{last}"
