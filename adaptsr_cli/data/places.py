"""Where the pairs of ``adaptsr pair`` lie on their photographs, as ``pairs.json`` tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.pairs import PairsRecord, ShotRecord
from adaptsr_cli.data.names import plain_name, read_folder_name
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document, read_text
from adaptsr_cli.io.strict_json import parse_json

_RECORD: Final = "pairs.json"


@dataclass(frozen=True)
class Place:
    """A block on the wide photograph of its shot.

    Attributes:
        shot: Name of the shot.
        scene: One name for all shots that share a photograph, and so show the same things.
        photograph: SHA-256 of the wide photograph, in whose pixels the rest is given.
        left: Wide px.
        top: Wide px.
        side: Wide px.
    """

    shot: str
    scene: str
    photograph: str
    left: float
    top: float
    side: float

    def gap(self, other: Place) -> float:
        """How far two blocks of one photograph are apart, wide px; 0 where they touch or overlap."""
        across, down = (
            max(one + self.side, two + other.side) - min(one, two) - self.side - other.side
            for one, two in ((self.left, other.left), (self.top, other.top))
        )
        return max(0.0, across, down)


def find_record(root: Path) -> PairsRecord | None:
    """The record of ``adaptsr pair`` in a folder, or beside it where the folder is an LR side.

    Raises:
        ArtifactError: It is one, but damaged or of another version.
    """
    folders = [root, root.resolve().parent] if read_folder_name(root.resolve().name).side == "lr" else [root]
    for folder in folders:
        path = folder / _RECORD
        if path.is_file() and _is_ours(path):
            return parse_document(read_text(path), PairsRecord, str(path))
    return None


def _is_ours(path: Path) -> bool:
    """Whether a file of this name says that it is a record of ours; other data sets have files of this name too."""
    try:
        content = parse_json(read_text(path))
    except (ArtifactError, ValueError):
        return False
    return isinstance(content, dict) and content.get("artifact") == PairsRecord.model_fields["artifact"].default


def locate_blocks(record: PairsRecord) -> dict[str, Place]:
    """Name of a pair -> its place."""
    scenes = _name_scenes(record.shots)
    return {
        plain_name(block.name): Place(
            shot=shot.name,
            scene=scenes[shot.name],
            photograph=shot.wide.sha256,
            left=block.left * shot.mapping.reduction,
            top=block.top * shot.mapping.reduction,
            side=record.block_px * shot.mapping.reduction,
        )
        for shot in record.shots
        if shot.accepted and shot.mapping is not None
        for block in shot.blocks
        if block.name is not None
    }


def _name_scenes(shots: Sequence[ShotRecord]) -> dict[str, str]:
    """Shot -> its scene: the first shot of all that are linked by photographs in common."""
    scenes: list[tuple[str, set[str], list[str]]] = []  # first shot, photographs, shots
    for shot in shots:
        first, photographs, names = shot.name, {shot.wide.sha256, shot.tele.sha256}, [shot.name]
        for scene in [scene for scene in scenes if scene[1] & photographs]:
            scenes.remove(scene)
            first, photographs, names = min(scene[0], first), scene[1] | photographs, scene[2] + names
        scenes.append((first, photographs, names))
    return {name: first for first, _, names in scenes for name in names}
