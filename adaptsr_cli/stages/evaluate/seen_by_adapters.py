"""What the runs of adapters that are named have seen of the images that they are scored on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from adaptsr_cli.artifacts.evaluation import Seen
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data.layouts import PairSet
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.splitting import Role, sort_by_role
from adaptsr_cli.units import plural


def find_seen_by_adapters(
    adapters: Sequence[Path], run: RunFolder, sets: Sequence[PairSet], progress: Progress
) -> Seen | None:
    """The most that any of the adapters' runs has seen; the user is told of each.

    Args:
        adapters: Their files, beside which the split of their training lies.
        run: Of which the user is told already.
        sets: The images that are scored.
        progress: Told what the scores are worth.

    Returns:
        None where none is known to have seen any: a copy of what it has seen is not looked for.
    """
    found: set[Role | None] = set()
    for path in adapters:
        split = RunFolder(path.parent).split
        if not split.exists():
            continue
        known, counts = read_document(split, SplitRecord), Counter[Role | None]()
        for pairs in sets:
            counts.update({role: len(part) for role, part in sort_by_role(pairs, known).items()})
        found |= counts.keys()
        if path.parent.resolve() == run.root.resolve():
            continue
        if trained := counts["train"]:
            progress.warn(
                f"{path} was trained on {trained} of these {counts.total()} images: its scores say little of others"
            )
        elif chose := counts["validation"]:
            progress.note(f"{plural(chose, 'image')} of these chose the iteration of {path}: its score is too good")
    return "training" if "train" in found else "validation" if "validation" in found else None
