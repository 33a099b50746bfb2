"""The run folder: where every stage finds what the one before it made."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adaptsr_cli import __version__
from adaptsr_cli.artifacts.base import HEADER, Provenance, Scalar
from adaptsr_cli.errors import ArtifactError, OutputExistsError, UsageError
from adaptsr_cli.io.headers import read_metadata
from adaptsr_cli.io.lock import LOCK_NAME, hold_folder
from adaptsr_cli.stages.common.places import Folder, find_obstacle
from adaptsr_cli.training.folder import TrainingFolder

_PAGE_MARK: Final = b'name="generator" content="adaptsr '
_HEAD_BYTES: Final = 4096


@dataclass(frozen=True)
class EvaluationFiles:
    """What ``eval`` writes of one data set.

    Attributes:
        scores: ``eval.json``.
        comparison: The comparison sheet.
        report: The page to look at and to send.
    """

    scores: Path
    comparison: Path
    report: Path


@dataclass(frozen=True)
class RunFolder:
    """Paths of the artifacts of one run; nothing is made by naming them."""

    root: Path

    @property
    def record(self) -> Path:
        """``run.json``: the backbone of the run."""
        return self.root / "run.json"

    @property
    def is_begun(self) -> bool:
        """Whether anything is in it but the record: until then its backbone can still be another."""
        kept = {self.record.name, LOCK_NAME}
        return self.root.is_dir() and any(path.name not in kept for path in self.root.iterdir())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it, as `hold_folder` does; one that is made for work which fails before it has begun goes again."""
        is_new = not self.root.exists()
        with hold_folder(self.root):
            try:
                yield
            except BaseException:
                if is_new and not self.is_begun:
                    shutil.rmtree(self.root, ignore_errors=True)  # while nobody else can hold it
                raise

    @property
    def saliency(self) -> Path:
        """Written by ``score``."""
        return self.root / "saliency.json"

    @property
    def directions(self) -> Path:
        """Written by ``score`` beside the saliency."""
        return self.root / "saliency.safetensors"

    @property
    def rank_map(self) -> Path:
        """Written by ``allocate``."""
        return self.root / "rank_map.json"

    @property
    def adapter(self) -> Path:
        """Written by ``train``: the best on validation."""
        return self.root / "adapter.safetensors"

    @property
    def perceptual(self) -> RunFolder:
        """The training of the perceptual adapter on top of the run's own, and that adapter."""
        return RunFolder(self.root / "perceptual")

    @property
    def degradation(self) -> Path:
        """How the LR side of photos is made; written by ``score`` or ``train`` on photos."""
        return self.root / "degradation.json"

    @property
    def merged(self) -> Path:
        """Written by ``merge``."""
        return self.root / "merged.safetensors"

    def find_merged(self) -> Path | None:
        """The merged model; one as ``.pth`` only where there is no other, since `export` writes such a copy."""
        files = (self.merged, self.merged.with_suffix(".pth"))
        return next((path for path in files if path.exists()), None)

    @property
    def evaluation(self) -> Path:
        """The scores on the first data set, written by ``eval``."""
        return self.evaluation_files("").scores

    @property
    def report(self) -> Path:
        """The page to look at and to send, of the first data set; written by ``eval``."""
        return self.evaluation_files("").report

    def evaluation_files(self, name: str) -> EvaluationFiles:
        """What ``eval`` writes of a data set of this name; empty for the first one that was scored in the run."""
        behind = f"-{name}" if name else ""
        return EvaluationFiles(
            self.root / f"eval{behind}.json",
            self.root / f"comparison{behind}.png",
            self.root / f"report{behind}.html",
        )

    @property
    def training(self) -> TrainingFolder:
        """State, log, curves and samples of ``train``."""
        return TrainingFolder(self.root / "training")

    @property
    def folds(self) -> Path:
        """The run folders of a cross-validation, ``1``, ``2`` and so on; written by ``adapt``."""
        return self.root / "folds"

    @property
    def split(self) -> Path:
        """Which images were trained on and which held out."""
        return self.training.root / "split.json"

    @property
    def search(self) -> Path:
        """What the search for method and learning rate has found."""
        return self.training.root / "search.json"

    @property
    def search_picture(self) -> Path:
        """The gains of its trials over their learning rates."""
        return self.training.root / "search.png"

    @property
    def trials(self) -> Path:
        """The trials of a search that goes on."""
        return self.training.root / "trials"

    @property
    def config(self) -> Path:
        """The resolved options of ``train``, to be given back by ``--config``."""
        return self.training.root / "config.toml"

    @property
    def card(self) -> Path:
        """What the training has cost and gained."""
        return self.training.root / "card.json"

    @property
    def guard(self) -> Path:
        """How strong an adapter that was trained without pairs may be."""
        return self.training.root / "guard.json"

    @property
    def dial(self) -> Path:
        """What the sharpness does on held-out images; of the run folder of a perceptual adapter."""
        return self.training.root / "dial.json"

    @property
    def curves(self) -> Path:
        """Loss and validation over iterations."""
        return self.training.root / "curves.png"

    @property
    def camera(self) -> Path:
        """The camera as its photographs show it; written by ``train`` where it was estimated."""
        return self.training.root / "camera.png"


def refuse_overwriting(paths: Mapping[str, Path], *, force: bool, elsewhere: str = "another `run`") -> None:
    """Refuse to replace results silently.

    Args:
        paths: What each path is, for the message.
        force: The user said that it may be replaced.
        elsewhere: Where else it could be written.

    Raises:
        OutputExistsError: One of them exists and `force` is not set.
        AdaptsrError: One of them cannot be written: there is a folder or a pipe, or its folder is read-only.
    """
    for what, path in paths.items():
        if (fault := Folder(path.parent).fault(path)) is not None:
            raise fault
        if (kind := find_obstacle(path)) is not None:
            raise OutputExistsError(f"{path} is {kind} ({what})", "remove it, or give another name")
        if path.exists() and not force:
            raise OutputExistsError(f"{path} exists already ({what})", f"replace it with `force`, or use {elsewhere}")


def refuse_foreign(run: RunFolder, results: Iterable[Path]) -> None:
    """Refuse to replace what is called like a result and is none of ours; an earlier result may be replaced.

    Models say what they are, and so do pages. The rest is a result where the run's own records lie beside it.

    Args:
        run: The run folder.
        results: Files and folders of it that are going to be written.

    Raises:
        OutputExistsError: One of them is not ours.
    """
    for path in results:
        if not _is_ours(path, run):
            raise OutputExistsError(
                f"{path} exists already, and adaptsr did not make it",
                "move it away, replace it with `force`, or use another `run`",
            )


def _is_ours(path: Path, run: RunFolder) -> bool:
    """Whether a path is a result of ours, or free."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return True
    if path.suffix == ".safetensors":
        with suppress(ArtifactError):  # a damaged one may be ours
            return HEADER in read_metadata(path)
    if path.suffix == ".html" and path.is_file():
        with path.open("rb") as file:
            return _PAGE_MARK in file.read(_HEAD_BYTES)
    return any(record.exists() for record in (run.record, run.saliency, run.rank_map, run.evaluation))


def refuse_inputs(outputs: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    """Refuse to write onto a file that the same command reads or writes otherwise, with or without `force`.

    A link to such a file, and its name in other letters where the disk does not tell these apart, is the file too.

    Args:
        outputs: What each path is, for the message.
        inputs: Everything that is read; what is not there counts for nothing.

    Raises:
        UsageError: An output is an input, or another output.
    """
    named: dict[tuple[int, int] | Path, str] = {}
    for what, path in outputs.items():
        if (other := named.setdefault(_identity(path) or path.resolve(), what)) != what:
            raise UsageError(f"{path} is to be {other} and {what}: one of them would be lost", "give another name")
    there = {identity: (what, path) for what, path in outputs.items() if (identity := _identity(path)) is not None}
    for path in inputs if there else ():
        if (identity := _identity(path)) in there:
            what, output = there[identity]
            raise UsageError(
                f"{output} ({what}) is the same file as {path}, which this command reads: it would be lost",
                "give another name or `run` for what is written",
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """What all names of one file have in common; None where there is no file."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino


def drop_training(run: RunFolder) -> None:
    """Remove the state, log and adapter of an earlier training, which `force` allows, and what is on top of it."""
    shutil.rmtree(run.training.root, ignore_errors=True)
    shutil.rmtree(run.perceptual.root, ignore_errors=True)
    run.adapter.unlink(missing_ok=True)


def provenance(command: str, options: Mapping[str, Scalar], seed: int, data_fingerprint: str) -> Provenance:
    """What made an artifact."""
    return Provenance(
        tool_version=__version__,
        command=command,
        options=dict(options),
        seed=seed,
        data_fingerprint=data_fingerprint,
    )
