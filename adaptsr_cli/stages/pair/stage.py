"""Stage ``pair``: photographs in, a folder of aligned pairs out, with ``pairs.json`` and ``pairs.html``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Final

from adaptsr_cli import __version__
from adaptsr_cli.arrays import Float32Array
from adaptsr_cli.artifacts.pairs import PairsRecord, ShotRecord
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import AdaptsrError, CheckpointError, OutputExistsError
from adaptsr_cli.io.atomic import write_bytes
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.lock import hold_folder
from adaptsr_cli.io.photographs import hash_file, read_photograph
from adaptsr_cli.progress import SILENT, Progress, Task
from adaptsr_cli.registration.features import find_start
from adaptsr_cli.registration.opencv import opencv_version, require_opencv
from adaptsr_cli.registration.planes import luma
from adaptsr_cli.registration.register import STEPS
from adaptsr_cli.report.pairs.page import render_pairs_page
from adaptsr_cli.stages.common.models import ModelSpec, expected_scale, load_model
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.pair.matching import ShotFiles, find_shots
from adaptsr_cli.stages.pair.options import PairOptions
from adaptsr_cli.stages.pair.shot import make_shot, read_sides
from adaptsr_cli.stages.pair.writing import PairFolder
from adaptsr_cli.units import plural

STEPS_PER_SHOT: Final = STEPS + 2  # reading and writing


@dataclass(frozen=True)
class PairResult:
    """What became of the shots.

    Attributes:
        record: What ``pairs.json`` holds.
        made: Names of shots that were looked at in this call; the others were there already.
        alone: Photographs without a partner.
        unreadable: Name of a shot -> why its photographs cannot be read; it is not on record, so the same command tries
            it again.
        output: The folder.
        page: ``pairs.html``.
    """

    record: PairsRecord
    made: tuple[str, ...]
    alone: tuple[Path, ...]
    unreadable: dict[str, str]
    output: Path
    page: Path

    @property
    def pairs(self) -> int:
        """How many pairs the folder holds."""
        return sum(shot.kept for shot in self.record.shots if shot.accepted)

    def to_json(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "output": str(self.output),
            "page": str(self.page),
            "description": self.record.describe(),
            "scale": self.record.scale,
            "pairs": self.pairs,
            "made": list(self.made),
            "alone": [str(path) for path in self.alone],
            "shots": [
                {
                    "name": shot.name,
                    "accepted": shot.accepted,
                    "verdict": shot.verdict,
                    "pairs": shot.kept,
                    "blocks": len(shot.blocks),
                    "zoom": shot.mapping.zoom if shot.mapping else None,
                    "reduction": shot.mapping.reduction if shot.mapping else None,
                    "residual_median_px": shot.residual.kept_px[0] if shot.residual else None,
                    "residual_p90_px": shot.residual.kept_px[1] if shot.residual else None,
                    "notes": list(shot.notes),
                }
                for shot in self.record.shots
            ],
            "unreadable": self.unreadable,
        }


def run_pair(options: PairOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> PairResult:
    """Register every shot and write its blocks; one that is refused or cannot be read is told and the others go on.

    What is in the folder already of the same photographs is kept, so the same command goes on where it was stopped.

    Args:
        options: What to do.
        progress: Told what is done.
        world: Not used: this is work for one process.

    Raises:
        UsageError: No photographs, or none that belong together, or no such network.
        CheckpointError: The network whose scale is wanted is no usable file.
        OutputExistsError: The folder holds pairs made otherwise.
        AdaptsrError: OpenCV is missing, or a file cannot be written.
    """
    require_opencv()
    scale = _choose_scale(options, progress)
    looker = _Looker(progress)
    matched = find_shots(options.photos, options.list_file, looker.find_zoom, looker.tell)
    for path in matched.alone:
        if path not in looker.unreadable:
            progress.note(f"{path}: no other photograph belongs to it")
    folder = PairFolder(options.output)
    folder.refuse_holding([path for shot in matched.shots for path in (*shot.wide, *shot.tele)])
    made = []
    unreadable = {}
    with hold_folder(options.output, "output"):
        done = _read_done(folder, options, scale)
        write_document(folder.record, done)  # from here on the folder is ours, also to a call that finds it half done
        folder.drop_unfinished({shot.name for shot in done.shots})
        with progress.task("pair", len(matched.shots) * STEPS_PER_SHOT, unit="step") as task:
            for number, files in enumerate(matched.shots, 1):
                steps = _Steps(task, f"{number}/{len(matched.shots)} {files.name}")
                known = next((shot for shot in done.shots if shot.name == files.name), None)
                steps.begin("read")
                try:
                    if known is not None and not options.force and _is_same(known, files):
                        steps.finish()
                        continue
                    sides = read_sides(files)  # before what is there of the shot goes
                except AdaptsrError as error:
                    unreadable[files.name] = error.message
                    progress.warn(f"{files.name} is refused: {_in_a_line(error)}")
                    steps.finish()
                    continue
                if known is not None and not options.force:
                    raise OutputExistsError(
                        f"{options.output} holds a shot {files.name} of other photographs",
                        "give another `output`, or `force` to make it again",
                    )
                if known is not None:
                    done = _without_shot(done, files.name)
                    write_document(folder.record, done)  # before its blocks go
                folder.drop_shot(files.name)
                record = make_shot(
                    files.name, sides, folder, scale, options.block, keep_colour=options.keep_colour,
                    on_step=steps.begin, progress=progress,
                )  # fmt: skip
                made.append(record.name)
                done = _with_shot(done, record)
                write_document(folder.record, done)
                if not record.accepted:
                    progress.warn(f"{record.name} is refused: {record.verdict}")
                steps.finish()
            task.show(step="", shot="")
        write_bytes(folder.page, render_pairs_page(done, folder.read_previews([shot.name for shot in done.shots])))
    return PairResult(done, tuple(made), matched.alone, unreadable, options.output, folder.page)


class _Steps:
    """A shot's share of the bar.

    Args:
        task: The bar.
        shot: What is shown of it.
    """

    def __init__(self, task: Task, shot: str) -> None:
        self._task = task
        self._done = -1  # the first one to begin ends none
        task.show(shot=shot)

    def begin(self, step: str) -> None:
        """The last step is done and `step` begins."""
        self._done += 1
        if self._done > 0:
            self._task.advance()
        self._task.show(step=step)

    def finish(self) -> None:
        """The shot is done, whatever steps it had."""
        self._task.advance(STEPS_PER_SHOT - max(self._done, 0))


def _choose_scale(options: PairOptions, progress: Progress) -> int:
    """The scale that is named, else that of the network, which is loaded where nothing else tells it."""
    run = RunFolder(options.run) if options.model is None else None  # pairs are for the network that is named
    if scale := options.scale or expected_scale(run, options.model):
        return scale
    try:
        return load_model(ModelSpec.of(options.model, None, offline=False), progress).scale
    except CheckpointError as error:  # whose advice may be an option that this command has not
        raise CheckpointError(error.message, "give `scale`: nothing else of the network is needed here") from error


def _read_done(folder: PairFolder, options: PairOptions, scale: int) -> PairsRecord:
    empty = PairsRecord(
        tool_version=__version__, opencv_version=opencv_version(), scale=scale, block_px=options.block,
        keep_colour=options.keep_colour, shots=(),
    )  # fmt: skip
    if not folder.record.exists():
        if (side := folder.find_side()) is not None:
            raise OutputExistsError(f"{side} holds files that adaptsr pair did not make", "give another `output`")
        return empty
    found = read_document(folder.record, PairsRecord)
    differences = {
        f"x{found.scale}, not x{scale}": found.scale != scale,
        f"blocks of {found.block_px} px, not {options.block}": found.block_px != options.block,
        f"{'with' if found.keep_colour else 'without'} `keep_colour`": found.keep_colour != options.keep_colour,
    }
    if any(differences.values()):
        raise OutputExistsError(
            f"{folder.root} holds pairs made otherwise: {', '.join(compress(differences, differences.values()))}",
            "ask for the same again, or give another `output`",
        )
    return found


def _is_same(known: ShotRecord, files: ShotFiles) -> bool:
    """Whether a shot was made of these photographs, in whatever order."""
    kept = {known.wide.sha256, known.tele.sha256}
    return kept <= {hash_file(path) for path in (*files.wide, *files.tele)}


def _without_shot(record: PairsRecord, name: str) -> PairsRecord:
    return record.model_copy(update={"shots": tuple(shot for shot in record.shots if shot.name != name)})


def _with_shot(record: PairsRecord, shot: ShotRecord) -> PairsRecord:
    shots = tuple(sorted((*record.shots, shot), key=lambda one: one.name))
    return record.model_copy(update={"shots": shots})


class _Looker:
    """Compares photographs by their content, and tells once of each that cannot be read.

    Args:
        progress: Told of them.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.unreadable: set[Path] = set()

    def find_zoom(self, first: Path, second: Path) -> float | None:
        """Pixels of the second photograph per pixel of the first; None where they do not match."""
        planes = [self._read(path) for path in (first, second) if path not in self.unreadable]
        one, other = planes if len(planes) == 2 else (None, None)
        if one is None or other is None:
            return None
        start, _ = find_start(one, other, None)
        return None if start is None else start.zoom

    def tell(self, path: Path, error: AdaptsrError) -> None:
        """Say that a photograph is left out."""
        self.unreadable.add(path)
        self._progress.warn(f"{path.name} is left out: {_in_a_line(error)}")

    def _read(self, path: Path) -> Float32Array | None:
        try:
            return luma(read_photograph(path).rgb)
        except AdaptsrError as error:
            self.tell(path, error)
            return None


def _in_a_line(error: AdaptsrError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def require_pairs(result: PairResult) -> str | None:
    """What to say where no shot gave pairs; None where one did."""
    if result.pairs:
        return None
    looked_at = len({shot.name for shot in result.record.shots} | set(result.unreadable))
    return f"none of {plural(looked_at, 'shot')} could be used"
