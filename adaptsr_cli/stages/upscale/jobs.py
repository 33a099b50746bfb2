"""Input files of ``upscale`` and the place of each result."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adaptsr_cli.errors import AdaptsrError, ImageError, UsageError
from adaptsr_cli.io.formats.table import WRITE_SUFFIXES, find_by_suffix
from adaptsr_cli.io.images import list_images

_MAX_NAME_BYTES = 255  # of one name, on every usual file system
_STDIN = "-"


@dataclass(frozen=True)
class Source:
    """One input.

    Attributes:
        path: The file.
        relative: Where it lies below the folder that was named; its name alone where the file itself was.
        listed: Found by going through a folder, so that it may turn out to be another input's result.
    """

    path: Path
    relative: Path
    listed: bool = False


@dataclass(frozen=True)
class Job:
    """One input and the file that is made of it."""

    source: Path
    target: Path


@dataclass(frozen=True)
class InputError:
    """An input that cannot be upscaled, and why."""

    source: Path
    error: AdaptsrError


@dataclass(frozen=True)
class OutputNaming:
    """Where results go.

    Attributes:
        output: A file (for one input) or a folder; None for beside the input.
        suffix: Appended to the name; empty keeps it.
        ext: File type of the result, without dot; ``auto`` keeps the input's.
    """

    output: Path | None
    suffix: str
    ext: str


@dataclass
class Inputs:
    """Images that were found, and inputs that cannot be read."""

    sources: list[Source] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)


def find_inputs(places: Sequence[Path], *, recursive: bool, list_file: str | None) -> Inputs:
    """Every input image; a folder that cannot be read fails alone.

    Args:
        places: Files and folders.
        recursive: Go into the folders below.
        list_file: A text file of paths, one a line; ``-`` for the standard input.

    Raises:
        UsageError: No input at all, a named one that does not exist, or a folder without images.
    """
    if not places and list_file is None:
        raise UsageError("no image to upscale", "name images or folders: adaptsr upscale in.png")
    found = Inputs()
    for place in places:
        if place.is_dir():
            before = len(found.sources) + len(found.errors)
            _walk(place, place, recursive, found)
            if len(found.sources) + len(found.errors) == before:
                raise _no_image(place)
        elif place.exists():
            found.sources.append(Source(place, Path(place.name)))
        else:
            raise UsageError(f"{place} does not exist", "check the path")
    if list_file is not None:
        found.sources.extend(_read_list(list_file))
    return found


def find_images(folders: Iterable[Path], *, recursive: bool) -> list[Source]:
    """The images in folders as they are now; what cannot be read is left out."""
    found = Inputs()
    for folder in folders:
        _walk(folder, folder, recursive, found)
    return found.sources


def plan_jobs(found: Inputs, naming: OutputNaming) -> tuple[list[Job], list[InputError], list[Job]]:
    """The results' places.

    Returns:
        What is to be made; the inputs of which nothing can be made; and those found in a folder that are results of
        others themselves, of an earlier call.

    Raises:
        UsageError: Two inputs with one output, an input that is its own output, or an unknown file type.
    """
    jobs: list[Job] = []
    errors = list(found.errors)
    if naming.output is not None and _names_file(naming.output):
        if len(found.sources) + len(errors) != 1:
            count = len(found.sources) + len(errors)
            raise UsageError(f"`output` {naming.output} is one file, but there are {count} images", "give a folder")
        jobs = [Job(source.path, naming.output) for source in found.sources]
        listed = [source.listed for source in found.sources]
    else:
        listed = []
        for source in found.sources:
            target = _place(source, naming)
            length = len(os.fsencode(target.name))
            if length > _MAX_NAME_BYTES:
                error = ImageError(
                    f"the result's name would be {length} bytes long, and names end at {_MAX_NAME_BYTES}",
                    "rename it, or give a shorter `suffix`",
                )
                errors.append(InputError(source.path, error))
            else:
                jobs.append(Job(source.path, target))
                listed.append(source.listed)
    return _resolve_conflicts(jobs, listed, errors)


def _walk(folder: Path, root: Path, recursive: bool, found: Inputs) -> None:
    try:
        images = list_images(folder)
        below = sorted(_folders(folder)) if recursive else []
    except (ImageError, OSError) as error:
        reason = error if isinstance(error, ImageError) else ImageError(f"cannot read the folder {folder}: {error}")
        found.errors.append(InputError(folder, reason))
        return
    found.sources.extend(Source(image, image.relative_to(root), listed=True) for image in images)
    for child in below:
        _walk(child, root, recursive, found)


def _folders(folder: Path) -> Iterator[Path]:
    """The folders in a folder, without hidden ones and what systems leave behind."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "__MACOSX")):
                yield folder / entry.name


def _no_image(place: Path) -> UsageError:
    deeper = list_images(place, recursive=True)
    hint = "set `recursive` to go into its folders" if deeper else "is it the right folder?"
    return UsageError(f"{place} has no image", hint)


def _read_list(list_file: str) -> Iterator[Source]:
    """Paths, one a line; a relative one keeps its folders below the output folder."""
    try:
        text = sys.stdin.read() if list_file == _STDIN else Path(list_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(
            f"cannot read `list_file` {list_file}: {reason}", "give a text file of paths, one a line"
        ) from error
    paths = [Path(line) for line in text.splitlines() if line.strip()]
    if not paths:
        raise UsageError(f"`list_file` {list_file} names no image", "give a path on each line")
    for path in paths:
        inside = not path.is_absolute() and ".." not in path.parts
        yield Source(path, path if inside else Path(path.name))


def _names_file(output: Path) -> bool:
    return output.suffix.lower() in WRITE_SUFFIXES and not output.is_dir()


def _place(source: Source, naming: OutputNaming) -> Path:
    ext = _own_ext(source.path) if naming.ext == "auto" else f".{naming.ext.lower().lstrip('.')}"
    if ext.lower() not in WRITE_SUFFIXES:
        known = ", ".join(sorted(suffix.lstrip(".") for suffix in WRITE_SUFFIXES))
        raise UsageError(f"the file type {ext or source.path} cannot be written", f"set `ext` to one of: {known}")
    folder = source.path.parent if naming.output is None else naming.output / source.relative.parent
    return folder / f"{source.path.stem}{naming.suffix}{ext}"


def _own_ext(path: Path) -> str:
    """The input's ending; where files of its format are only read, that of the format which takes their place."""
    kind = find_by_suffix(path.suffix)
    return path.suffix if kind is None or kind.writer is not None else kind.becomes


def _resolve_conflicts(
    jobs: list[Job], listed: list[bool], errors: list[InputError]
) -> tuple[list[Job], list[InputError], list[Job]]:
    """Take out results of others and inputs named twice; refuse what would be lost."""
    sources: dict[Path, Path] = {}  # target -> source
    for job in jobs:
        if job.target.resolve() == job.source.resolve():
            raise UsageError(f"{job.source} would be overwritten by its own result", "give `suffix` or `output`")
        other = sources.setdefault(job.target, job.source)
        if other != job.source:
            raise UsageError(
                f"{other} and {job.source} would both become {job.target}",
                "give another `ext` or upscale them into different folders",
            )
    kept: dict[Path, Job] = {}  # target -> job
    results: list[Job] = []
    for job, found in zip(jobs, listed, strict=True):
        if found and job.source in sources:
            results.append(Job(sources[job.source], job.source))
        else:
            kept[job.target] = job
    return list(kept.values()), errors, results
