"""Input files of ``upscale``: those that are named, those of a list, and those in folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adaptsr_cli.errors import AdaptsrError, ImageError, UsageError
from adaptsr_cli.io.contents import BROKEN_LINK, LINK_BACK, NO_FILE, NO_PERMISSION, read_contents
from adaptsr_cli.io.file_kinds import SAVE_FIRST, describe_irregular
from adaptsr_cli.io.formats.signatures import HEAD_BYTES, name_other_kind
from adaptsr_cli.io.formats.table import READ_SUFFIXES, recognise
from adaptsr_cli.io.images import list_images
from adaptsr_cli.io.path_lists import find_listed, names_nothing, read_path_list

_APPLE_DOUBLE: Final = b"\0\5\x16\7"  # what macOS puts beside a file on a disk of another system, as ._NAME
_PARTIAL: Final = ".partial-"


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        path: The file.
        relative: Where it lies below the folder that was named; its name alone where the file itself was.
        listed: Found by going through a folder, and not named.
        suffix: Type of the content, where the name does not tell it.
    """

    path: Path
    relative: Path
    listed: bool = False
    suffix: str = ""


@dataclass(frozen=True)
class InputError:
    """An input that cannot be upscaled, and why."""

    source: Path
    error: AdaptsrError


@dataclass(frozen=True)
class LeftOut:
    """Something among the inputs that is none, and why."""

    source: Path
    reason: str
    hint: str = ""


@dataclass
class Inputs:
    """Images that were found, inputs that cannot be read, and what is no input."""

    sources: list[Source] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def find_inputs(places: Sequence[Path], *, recursive: bool, list_file: str | None) -> Inputs:
    """Find every input image; what cannot be read fails alone, and what is no image is left out.

    Args:
        places: Files and folders.
        recursive: Go into the folders below.
        list_file: A text file of paths, one a line; ``-`` for the standard input.

    Raises:
        UsageError: No input at all, or only one that is missing, no image, or a folder without any.
    """
    if not places and list_file is None:
        raise UsageError("no image to upscale", "name images or folders: adaptsr upscale in.png")
    found = Inputs()
    for number, place in enumerate(places):
        _add_place(place, recursive, found, "; the name of a result goes with `output`" if number else "")
    if list_file is not None:
        _add_list(list_file, found)
        if found.left_out and not (places or found.sources or found.errors):
            only = found.left_out[0]
            raise UsageError(f"`list_file` {list_file} names no image: {only.source} {only.reason}", only.hint)
    elif len(places) == 1 and not found.sources:
        if found.left_out:
            only = found.left_out[0]
            raise UsageError(f"{only.source} {only.reason}", only.hint or "name images, or folders of them")
        if not os.path.lexists(places[0]):
            raise UsageError(f"{places[0]} does not exist", "check the path")
    return found


def find_images(folders: Iterable[Path], *, recursive: bool) -> list[Source]:
    """Find the images in folders as they are now; what cannot be read is left out."""
    found = Inputs()
    for folder in folders:
        _walk(folder, recursive, found)
    return found.sources


def _add_place(place: Path, recursive: bool, found: Inputs, advice: str) -> None:
    try:
        is_folder = describe_irregular(place) == "a folder"
    except OSError as error:
        found.errors.append(InputError(place, _fault(place, error, advice)))
        return
    if not is_folder:
        _add_file(place, Path(place.name), found)
        return
    before = len(found.sources) + len(found.errors) + len(found.left_out)
    _walk(place, recursive, found)
    if len(found.sources) + len(found.errors) + len(found.left_out) == before:
        found.left_out.append(_no_image(place))


def _add_file(path: Path, relative: Path, found: Inputs) -> None:
    """Add a file that was named, by what it is."""
    try:
        kind = describe_irregular(path)
        if kind == "a folder":
            found.left_out.append(LeftOut(path, "is a folder", "name folders beside the list, not in it"))
        elif kind is not None:
            found.errors.append(InputError(path, ImageError(f"it is {kind}", SAVE_FIRST)))
        elif path.name.startswith(_PARTIAL):
            found.left_out.append(LeftOut(path, "is an unfinished result"))
        elif path.name.startswith("._") and _read_head(path).startswith(_APPLE_DOUBLE):
            found.left_out.append(LeftOut(path, "holds what macOS notes of another file"))
        elif path.suffix.lower() in READ_SUFFIXES:
            found.sources.append(Source(path, relative))
        elif suffix := _guess_suffix(path):
            found.sources.append(Source(path, relative, suffix=suffix))
        else:
            other = name_other_kind(_read_head(path))
            found.left_out.append(LeftOut(path, f"is {other}, which is not read" if other else "is no image"))
    except OSError as error:
        found.errors.append(InputError(path, _fault(path, error)))


def _add_list(list_file: str, found: Inputs) -> None:
    """Add the files of a list; a relative one keeps its folders below the output folder."""
    hint = "give a text file of paths, one a line"
    try:
        lines = read_path_list(list_file)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(f"cannot read `list_file` {list_file}: {reason}", hint) from error
    lines = [line for line in lines if not names_nothing(line)]
    if not lines:
        raise UsageError(f"`list_file` {list_file} names no image", "give a path on each line")
    folders = [Path(), *([Path(list_file).parent] if list_file != "-" else [])]
    for line in lines:
        path, written = find_listed(line, folders)
        inside = not written.is_absolute() and ".." not in written.parts
        _add_file(path, written if inside else Path(path.name), found)


def _walk(root: Path, recursive: bool, found: Inputs) -> None:
    """Add the images of a folder, and note what only looks usable; a folder that cannot be read fails alone."""
    contents = read_contents(
        root, recursive=recursive, on_fault=lambda folder, fault: found.errors.append(InputError(folder, fault))
    )
    for images in contents.images.values():
        found.sources.extend(Source(image, image.relative_to(root), listed=True) for image in images)
    for group in contents.left_out():
        for path in group.paths:
            if group.reason in {BROKEN_LINK, NO_FILE, NO_PERMISSION} and path.suffix.lower() in READ_SUFFIXES:
                _add_file(path, path, found)
            elif group.is_unexpected or group.reason == LINK_BACK:
                found.left_out.append(LeftOut(path, f"is {group.reason}"))


def _no_image(place: Path) -> LeftOut:
    try:
        deeper = list_images(place, recursive=True)
    except ImageError:  # a folder below that cannot be read
        deeper = []
    hint = "set `recursive` to go into its folders" if deeper else "is it the right folder?"
    return LeftOut(place, "has no image", hint)


def _guess_suffix(path: Path) -> str:
    """The usual suffix of an image that is called as none; empty where it is none."""
    try:
        return recognise(path).suffixes[0]
    except ImageError:
        return ""


def _read_head(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(HEAD_BYTES)


def _fault(path: Path, error: OSError, advice: str = "") -> ImageError:
    missing = isinstance(error, FileNotFoundError)
    reason = "it leads nowhere" if missing and path.is_symlink() else "it does not exist" if missing else error.strerror
    return ImageError(str(reason or error), f"check the path{advice if missing else ''}")
