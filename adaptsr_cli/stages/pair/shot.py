"""One shot from files to blocks: reading, registering, writing, and what is put on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.artifacts.pairs import ShotRecord, SourceRecord
from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.io.images import resize, write_picture
from adaptsr_cli.io.photographs import Photograph, read_photograph
from adaptsr_cli.io.pictures import Picture
from adaptsr_cli.progress import Progress
from adaptsr_cli.registration.planes import luma
from adaptsr_cli.registration.register import Registration, register
from adaptsr_cli.registration.verdict import Refused
from adaptsr_cli.stages.pair.account import describe_registration
from adaptsr_cli.stages.pair.matching import ShotFiles
from adaptsr_cli.stages.pair.previews import write_previews
from adaptsr_cli.stages.pair.writing import PairFolder

_ENLARGED_WORTH_TELLING: Final = 0.005


@dataclass(frozen=True)
class Sides:
    """What was read of a shot.

    Attributes:
        wide: As it was given.
        tele: The same.
        notes: What was done that was not asked for.
    """

    wide: Photograph
    tele: Photograph
    notes: tuple[str, ...]


def read_sides(files: ShotFiles) -> Sides:
    """Read both photographs of a shot.

    Raises:
        AdaptsrError: One cannot be read, or needs a library that is not installed.
    """
    notes: list[str] = []
    return Sides(_read_sharpest(files.wide, notes), _read_sharpest(files.tele, notes), tuple(notes))


def make_shot(
    name: str,
    sides: Sides,
    folder: PairFolder,
    scale: int,
    block_px: int,
    *,
    keep_colour: bool,
    on_step: Callable[[str], None],
    progress: Progress,
) -> ShotRecord:
    """Make the pairs of one shot; they are in the folder when this returns.

    Args:
        name: For its blocks.
        sides: Its photographs.
        folder: Where the pairs go.
        scale: HR pixels per LR pixel.
        block_px: Side of a block, LR px.
        keep_colour: Leave HR's colours.
        on_step: Told what is done next.
        progress: Told what was done that was not asked for.

    Raises:
        AdaptsrError: The pairs cannot be written.
    """
    wide, tele = sides.wide, sides.tele
    notes = [*sides.notes, *compare_files(wide, tele)]
    source_wide, source_tele = describe_source(wide), describe_source(tele)
    try:
        if wide.grey != tele.grey:
            grey, other = (wide, tele) if wide.grey else (tele, wide)
            raise Refused(
                f"{grey.path.name} is black and white and {other.path.name} is in colour; take both in colour, or make "
                "both black and white"
            )
        found = register(
            wide.rgb, tele.rgb, scale, zoom_hint=hint_zoom(wide, tele), block_px=block_px, resize=_resize,
            on_step=on_step,
        )  # fmt: skip
    except Refused as refused:
        _tell(notes, name, progress)
        return ShotRecord(
            name=name,
            accepted=False,
            verdict=refused.reason,
            notes=tuple(notes),
            wide=source_wide,
            tele=source_tele,
        )
    if found.swapped:
        wide, tele = tele, wide
        source_wide, source_tele = source_tele, source_wide
        notes.append(f"given in the wrong order: {wide.path.name} is the wide photograph; they were swapped")
    notes += explain_grid(found)
    _tell(notes, name, progress)
    on_step("write")
    names: dict[int, str] = {}
    if found.verdict.accepted:
        kept = [index for index, block in enumerate(found.blocks) if block.reason is None]
        names = {index: folder.block_name(name, number) for number, index in enumerate(kept)}
    _write(found, names, folder, name, (wide, tele), keep_colour=keep_colour)
    return describe_registration(
        found,
        name,
        names,
        notes,
        source_wide,
        source_tele,
        hint_zoom(wide, tele),
        keep_colour=keep_colour,
    )


def _tell(notes: Sequence[str], name: str, progress: Progress) -> None:
    for note in notes:
        progress.note(f"{name}: {note}")


def _read_sharpest(paths: Sequence[Path], notes: list[str]) -> Photograph:
    """The photograph, or the sharpest of a burst."""
    if len(paths) == 1:
        return read_photograph(paths[0])
    best: Photograph | None = None
    most = -1.0
    faults = []
    for path in paths:
        try:
            photograph = read_photograph(path)
        except AdaptsrError as error:
            faults.append(error)
            continue
        plane = luma(photograph.rgb)
        sharpness = float(np.abs(np.diff(plane, n=2, axis=1)).mean())
        if sharpness > most:
            best, most = photograph, sharpness
    if best is None:
        raise faults[0]
    notes += [f"left out of a burst: {fault.message}" for fault in faults]
    notes.append(f"{best.path.name} is the sharpest of a burst of {len(paths)}")
    return best


def compare_files(wide: Photograph, tele: Photograph) -> list[str]:
    """What is different about the files and worth a remark."""
    notes = []
    if wide.rgb.dtype != tele.rgb.dtype:
        bits = [8 * side.rgb.dtype.itemsize for side in (wide, tele)]
        notes.append(
            f"{wide.path.name} has {bits[0]} bits a channel and {tele.path.name} {bits[1]}; "
            "each side is written as it is"
        )
    shapes = [max(side.rgb.shape[:2]) / min(side.rgb.shape[:2]) for side in (wide, tele)]
    if abs(shapes[0] / shapes[1] - 1) > 0.05:
        notes.append(
            f"the photographs differ in shape ({shapes[0]:.2f}:1 and {shapes[1]:.2f}:1); one is cropped, which is no "
            "harm as long as it is cropped about its middle"
        )
    if (wide.rendering is None) != (tele.rendering is None):
        notes.append("one photograph is raw and the other is not; they differ in sharpening and noise filters")
    if wide.icc != tele.icc:
        notes.append("the photographs have different colour profiles; HR is fitted to LR's numbers")
    return notes


def hint_zoom(wide: Photograph, tele: Photograph) -> float | None:
    """Tele pixels per wide pixel by the focal lengths; None where they are not told.

    A focal length on 24 x 36 mm speaks of the long side; a crop to another shape keeps that.
    """
    pixels = float(max(tele.rgb.shape[:2]) / max(wide.rgb.shape[:2]))
    one, other = wide.facts, tele.facts
    if one.focal_35_mm and other.focal_35_mm:
        return other.focal_35_mm / one.focal_35_mm * pixels
    if one.focal_mm and other.focal_mm and one.camera == other.camera:
        return other.focal_mm / one.focal_mm * pixels
    return None


def explain_grid(found: Registration) -> list[str]:
    """What had to be done to bring both sides to the scale."""
    notes = []
    if found.reduction != 1:
        notes.append(
            f"the zoom {found.zoom:.2f} is smaller than the scale {found.scale}: LR is the wide photograph reduced by "
            f"{found.reduction:.3g}"
        )
    enlarged = found.scale / (found.zoom * found.reduction) - 1
    if enlarged > _ENLARGED_WORTH_TELLING:
        notes.append(f"HR is the tele photograph enlarged by {100 * enlarged:.1f} %, to fit LR's grid")
    return notes


def describe_source(photograph: Photograph) -> SourceRecord:
    """What is put on record about a file."""
    facts = photograph.facts
    return SourceRecord(
        file=photograph.path.name,
        sha256=photograph.sha256,
        width_px=photograph.rgb.shape[1],
        height_px=photograph.rgb.shape[0],
        bits=16 if photograph.rgb.dtype == np.uint16 else 8,
        focal_mm=facts.focal_mm,
        focal_35_mm=facts.focal_35_mm,
        taken=facts.taken.isoformat() if facts.taken else None,
        camera=facts.camera,
        rendering=photograph.rendering,
    )


def _write(
    found: Registration,
    names: dict[int, str],
    folder: PairFolder,
    shot: str,
    sides: tuple[Photograph, Photograph],
    *,
    keep_colour: bool,
) -> None:
    """Write all blocks into the partial folder and take them in."""
    partial = folder.partial(shot)
    # HR has LR's numbers once it is fitted to them.
    icc_low, icc_high = sides[0].icc, sides[1].icc if keep_colour else sides[0].icc
    grey = sides[0].grey
    try:
        for side in ("lr", "hr", "preview"):
            (partial / side).mkdir(parents=True, exist_ok=True)
        for index, name in names.items():
            region = found.blocks[index].region
            low = np.ascontiguousarray(found.lr[region.slices])
            high = found.render_hr(region, keep_colour=keep_colour)
            write_picture(partial / "lr" / f"{name}.png", Picture(low, grey=grey, icc=icc_low))
            write_picture(partial / "hr" / f"{name}.png", Picture(high, grey=grey, icc=icc_high))
        write_previews(found, partial / "preview", keep_colour=keep_colour)
    except OSError as error:
        raise ImageError(
            f"cannot write into {partial}: {error.strerror or error}", "check the permissions and the free space"
        ) from error
    folder.take_in(shot)


def _resize(image: AnyArray, width_px: int, height_px: int) -> AnyArray:
    """Antialiased bicubic, as the training of most networks has it."""
    return resize(image, width_px, height_px, "bicubic")
