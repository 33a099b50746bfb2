"""Copies of what a run has seen among images it does not know: saved again, cropped, mirrored, turned or rescaled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.leaks import Link, find_links
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.io.documents import read_toml
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.common.leak_check import describe_links
from adaptsr_cli.stages.common.models import expected_scale
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.splitting import Role, sort_by_role
from adaptsr_cli.stages.common.training_data import open_pairs
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.units import agree, plural

_SEEN: Final[tuple[Role, ...]] = ("train", "validation")


def find_seen_copies(
    run: RunFolder, known: SplitRecord, unknown: Sequence[Pair], progress: Progress
) -> dict[Path, Role]:
    """What images that show the same pictures were to the run.

    It looks at the images of the training, where they lie as they did; else nothing is found, and the user is told.

    Args:
        run: The run folder.
        known: Its split.
        unknown: Images of which the run knows no file.
        progress: Told what was found, and shows how far the work is.

    Returns:
        HR file of `unknown` -> role of the image that shows the same; trained on goes before all else.
    """
    if not unknown:
        return {}
    seen = _open_seen(run, known)
    if not seen:
        progress.note("the images of the training are no longer there: copies of them are known by their files alone")
        return {}
    roles: dict[Path, Role] = {}
    links: dict[Path, Link] = {}
    role_of = {pair.hr: role for pair, role in seen}
    for link in _find_links_from([pair for pair, _ in seen], unknown, progress):
        role, path = role_of[link.first.hr], link.second.hr
        if roles.get(path) != "train":
            roles[path], links[path] = role, link
    if links:
        count = len(links)
        progress.warn(
            f"{plural(count, 'image')} {agree(count, 'show')} what the run was trained on or chose its iteration by, "
            f"and {agree(count, 'count')} as such: {describe_links(list(links.values()))}"
        )
    return roles


def _find_links_from(seen: Sequence[Pair], unknown: Sequence[Pair], progress: Progress) -> list[Link]:
    """The links that lead from seen images to unknown ones, as far as these can be read."""

    def find(before: Sequence[Pair], after: Sequence[Pair]) -> list[Link]:
        return list(find_links([*before, *after], progress, lambda first, second: first < len(before) <= second))

    try:
        return find(seen, unknown)
    except ImageError:  # of which one that is to be scored is told then
        return find(*([pair for pair in pairs if _is_readable(pair.hr)] for pairs in (seen, unknown)))


def _is_readable(path: Path) -> bool:
    try:
        read_rgb(path)
    except ImageError:
        return False
    return True


def _open_seen(run: RunFolder, known: SplitRecord) -> list[tuple[Pair, Role]]:
    """The images that the run was trained on or chose its iteration by, as far as they are there."""
    try:
        options = read_toml(run.config, TrainOptions)
        scale = expected_scale(run, None)
        sets: list[PairSet] = list(open_pairs(options.images, "train", SILENT, scale))
        if options.val is not None:
            sets += open_pairs(DataSpec.of(options.val, options.align), "val", SILENT, scale)
        sorted_sets = [sort_by_role(pairs, known) for pairs in sets]
    except AdaptsrError:
        return []
    return [(pair, role) for parts in sorted_sets for role in _SEEN if role in parts for pair in parts[role].pairs]
