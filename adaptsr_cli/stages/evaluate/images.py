"""Images of an evaluation: which of the data are scored, and what the run has seen of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from adaptsr_cli.artifacts.evaluation import Seen
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data.layouts import PairSet
from adaptsr_cli.errors import DataError, UsageError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.leak_check import find_scenes, recorded_scenes
from adaptsr_cli.stages.common.models import expected_scale
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.splitting import Role, sort_by_role
from adaptsr_cli.stages.common.training_data import open_pairs
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.seen_copies import find_seen_copies
from adaptsr_cli.units import plural

ScoredSplit = Literal["held-out", "test", "all"]

_NEVER_SEEN: Final[tuple[Role | None, ...]] = ("test", None)
_NOT_TRAINED_ON: Final[tuple[Role | None, ...]] = ("validation", *_NEVER_SEEN)


@dataclass(frozen=True)
class ScoredImages:
    """The images of an evaluation.

    Attributes:
        sets: By folder.
        split: Which of the data they are.
        seen: What the run has seen of them; None where that is not known.
        scenes: HR file -> scene, of images that are not a scene alone.
        opened: All images of the data, of which `sets` are some.
    """

    sets: tuple[PairSet, ...]
    split: ScoredSplit
    seen: Seen | None
    scenes: dict[Path, str] = field(default_factory=dict)
    opened: tuple[PairSet, ...] = ()


def choose_images(options: EvaluateOptions, run: RunFolder, progress: Progress) -> ScoredImages:
    """The images that are to be scored; says which, and what the run has seen of them.

    Where nothing is asked for they are the run's test part, else the images that the run was not trained on, else all.

    Raises:
        DataError: None of them is of the split that is wanted.
        UsageError: A split is wanted, and the run has none.
    """
    if options.split in ("test", "held-out") and not run.split.exists():
        raise UsageError(
            f"`split` {options.split}: {run.root} has no training that has held images out",
            "check the path of `run`, or leave out `split`",
        )
    if options.models:
        scale = expected_scale(None, options.models[0])
    else:
        scale = None if options.scores_folders_only else expected_scale(run, None)
    sets = open_pairs(options.images, "test", progress, scale, strict=options.strict)
    scenes = find_scenes(sets).shared()
    if not run.split.exists():
        return ScoredImages(sets, "all", None, scenes, sets)
    known = read_document(run.split, SplitRecord)
    scenes |= recorded_scenes(sets, known)
    role_of = {
        pair.hr: role for pairs in sets for role, part in sort_by_role(pairs, known).items() for pair in part.pairs
    }
    unknown = [pair for pairs in sets for pair in pairs.pairs if role_of[pair.hr] is None]
    role_of |= find_seen_copies(run, known, unknown, progress)
    roles = list(role_of.values())
    if set(roles) == {None}:
        return ScoredImages(sets, "all", "nothing", scenes, sets)
    split = options.split or ("test" if "test" in roles or "validation" not in roles else "held-out")
    wanted: Iterable[Role | None] = {"test": _NEVER_SEEN, "held-out": _NOT_TRAINED_ON, "all": roles}[split]
    kept = tuple(
        replace(pairs, pairs=tuple(pair for pair in pairs.pairs if role_of[pair.hr] in set(wanted))) for pairs in sets
    )
    scored = [role for role in roles if role in set(wanted)]
    if not scored:
        raise _none_left(options, split, roles)
    _tell_choice(split, roles, scored, progress)
    return ScoredImages(tuple(pairs for pairs in kept if len(pairs)), split, _what_was_seen(scored), scenes, sets)


def _none_left(options: EvaluateOptions, split: ScoredSplit, roles: Sequence[Role | None]) -> DataError:
    data = options.images.describe()
    if split == "test" and "validation" in roles:
        return DataError(
            f"the run keeps no image of {data} for the test alone", "give other images, or set `split` to held-out"
        )
    return DataError(f"the run was trained on every image of {data}", "give other images, or set `split` to all")


def _what_was_seen(roles: Iterable[Role | None]) -> Seen:
    """The most that a run has seen of images of these roles; what adjoins held-out images was not looked at."""
    if "train" in roles:
        return "training"
    return "validation" if "validation" in roles else "nothing"


def _tell_choice(
    split: ScoredSplit, roles: Sequence[Role | None], scored: Sequence[Role | None], progress: Progress
) -> None:
    """Say which images are scored and what their scores are worth."""
    count, trained = plural(len(scored), "image"), sum(role in {"train", "unused"} for role in roles)
    beside = " or beside" if "unused" in roles else ""
    others = f" (`adaptsr eval --split all` scores all {len(roles)})" if len(scored) < len(roles) else ""
    match split:
        case "test":
            progress.note(f"scoring {count} that the run has never seen, not even to choose the iteration{others}")
        case "held-out":
            held_out = "held-out one" if len(scored) == 1 else f"{len(scored)} held-out ones"
            told = f"the run was trained on{beside} {plural(trained, 'image')} of this data: " if trained else ""
            progress.note(f"{told}scoring the {held_out}{others}")
        case "all":
            if trained:
                progress.warn(
                    f"the run was trained on{beside} {trained} of these {len(roles)} images: the scores say little of "
                    "others"
                )
    if _what_was_seen(scored) == "validation":
        progress.note(CHOSE_THE_ITERATION.format(count=plural(scored.count("validation"), "image")))


CHOSE_THE_ITERATION: Final = (
    "{count} of these chose the iteration that was kept, so the score is a little too good; 15 images or more, "
    "`adaptsr adapt --folds 5` or a folder of others by `adaptsr adapt --test DIR` give an honest one"
)
