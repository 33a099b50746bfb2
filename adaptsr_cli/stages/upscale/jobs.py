"""Jobs of ``upscale``: the place of each result, and which of them cannot be."""

from __future__ import annotations

import mimetypes
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from adaptsr_cli.errors import AdaptsrError, ImageError, UsageError
from adaptsr_cli.io.formats.table import WRITE_SUFFIXES, find_by_suffix
from adaptsr_cli.stages.common.places import Folder
from adaptsr_cli.stages.upscale.inputs import InputError, Inputs, LeftOut, Source
from adaptsr_cli.stages.upscale.results import is_enlarged

_FILE_ENDING: Final = re.compile(r"\.(?=\w*[a-z])\w{1,5}", re.IGNORECASE | re.ASCII)  # with a letter: not 2024.11


@dataclass(frozen=True)
class Job:
    """One input and the file that is made of it."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        jobs: What is made.
        errors: Inputs of which nothing can be made.
        left_out: What is no input.
    """

    jobs: list[Job]
    errors: list[InputError]
    left_out: list[LeftOut]

    def share_of(self, rank: int, size: int) -> Plan:
        """The part of one of several processes; the first one tells what is left out."""
        return Plan(self.jobs[rank::size], self.errors[rank::size], [] if rank else self.left_out)


@dataclass(frozen=True)
class OutputNaming:
    """Where results go.

    Attributes:
        output: A file (for one input) or a folder; None for beside the input.
        suffix: Appended to the name; empty keeps it; None for the factor.
        ext: File type of the result, without dot; ``auto`` keeps the input's.
    """

    output: Path | None
    suffix: str | None
    ext: str

    @cached_property
    def wanted_suffix(self) -> str | None:
        """The file type of all results, as a suffix; None where each keeps its input's."""
        ext = self.ext.strip().lower().lstrip(".")
        return None if ext == "auto" else f".{ext}"

    @cached_property
    def is_file(self) -> bool:
        """Whether `output` is the one result."""
        return self.output is not None and self.output.suffix.lower() in WRITE_SUFFIXES and not self.output.is_dir()

    def check(self, found: Inputs) -> None:
        """Refuse what cannot name any result, before a network is loaded.

        Raises:
            UsageError: A suffix that leads elsewhere, an unknown file type, an output that is another kind of file, or
                one file for several images.
        """
        for letter in ("/", "\\", "\0"):
            if letter in (self.suffix or ""):
                raise UsageError(
                    f"`suffix` {self.suffix!r} has {letter!r} in it, and is a part of a name",
                    "give the folder by `output`",
                )
        if self.wanted_suffix is not None and self.wanted_suffix not in WRITE_SUFFIXES:
            raise UsageError(
                f"the file type {self.wanted_suffix} cannot be written", f"set `ext` to one of: {_known()}"
            )
        if self.output is not None:
            self._check_output(self.output, found)
        elif self.suffix == "" and self.wanted_suffix is None and found.sources:
            first = found.sources[0].path
            raise UsageError(f"{first} would be overwritten by its own result", "give `suffix` or `output`")

    def _check_output(self, output: Path, found: Inputs) -> None:
        if output.is_dir():
            return
        if output == Path("-"):
            raise UsageError("results are not written to the standard output", "name a file or a folder by `output`")
        if self.is_file:
            count = len(found.sources) + len(found.errors)
            if count > 1:
                raise UsageError(f"`output` {output} is one file, but there are {count} images", "give a folder")
            if self.wanted_suffix is not None and self.wanted_suffix != output.suffix.lower():
                raise UsageError(f"`output` {output} and `ext` {self.ext} name two file types", "give one of them")
            if self.suffix:
                raise UsageError(f"`output` {output} names the result: `suffix` adds nothing", "give one of them")
            return
        if os.path.lexists(output):
            raise UsageError(f"`output` {output} exists and is no folder", "give another name, or a folder")
        one_named = len(found.sources) == 1 and not found.sources[0].listed
        # Many results can only go into a folder, whatever its name ends with; but nobody calls one b.gif.
        looks_like_file = _FILE_ENDING.fullmatch(output.suffix) if one_named else mimetypes.guess_type(output)[0]
        if looks_like_file:
            raise UsageError(
                f"`output` {output} has the ending {output.suffix}, which cannot be written",
                f"use one of: {_known()}; for a folder of that name, make it first",
            )


@dataclass
class Planner:
    """Finds the places of results; two inputs never get one place, in all calls together.

    Attributes:
        naming: Where results go.
        factor: What the results' names tell.
    """

    naming: OutputNaming
    factor: float
    _taken: dict[Path, Path] = field(default_factory=dict)  # target -> source
    _folders: dict[Path, Folder] = field(default_factory=dict)

    def plan(self, found: Inputs) -> Plan:
        """Find the place of each result; an input without one fails alone."""
        plan = Plan([], list(found.errors), list(found.left_out))
        named = {os.path.realpath(source.path) for source in found.sources if not source.listed}
        listed: dict[Path, Source] = {}  # path -> source
        made: set[Path] = set()
        for source in found.sources:
            target = self._place(source)
            folder = self._folder(target.parent)
            key = folder.key(target.name)
            other = self._taken.get(key)
            if other is not None and _same_file(other, source.path):
                if key not in made:
                    made.add(key)
                    plan.jobs.append(Job(source.path, target))  # of an earlier call, and changed since
                continue
            fault = folder.fault(target) or _find_fault(source.path, target, other, named)
            if fault is not None:
                plan.errors.append(InputError(source.path, fault))
                continue
            self._taken[key] = source.path
            made.add(key)
            plan.jobs.append(Job(source.path, target))
            if source.listed:
                listed[source.path] = source
        return _without_results(plan, listed, self.factor)

    def _folder(self, path: Path) -> Folder:
        if path not in self._folders:
            self._folders[path] = Folder(path)
        return self._folders[path]

    def _place(self, source: Source) -> Path:
        naming = self.naming
        if naming.output is not None and naming.is_file:
            return naming.output
        name = source.path.name if source.suffix else source.path.stem
        ext = naming.wanted_suffix or _own_suffix(source.suffix or source.path.suffix)
        folder = source.path.parent if naming.output is None else naming.output / source.relative.parent
        suffix = f"_x{self.factor:g}" if naming.suffix is None else naming.suffix
        return folder / f"{name}{suffix}{ext}"


def _own_suffix(suffix: str) -> str:
    """The input's ending; where files of its format are only read, that of the format which takes their place."""
    kind = find_by_suffix(suffix)
    return suffix if kind is None or kind.writer is not None else kind.becomes


def _find_fault(source: Path, target: Path, other: Path | None, named: set[str]) -> AdaptsrError | None:
    """Why a result cannot have its place; None where it can."""
    if other is not None and os.path.lexists(other):
        return ImageError(
            f"it would become {target}, as {other} does",
            "give another `ext` or upscale them into different folders",
        )
    place = os.path.realpath(target)
    if place == os.path.realpath(source):
        return ImageError("it would be overwritten by its own result", "give `suffix` or `output`")
    if place in named:
        return _would_replace(target)
    return None


def _without_results(plan: Plan, listed: dict[Path, Source], factor: float) -> Plan:
    """Leave out what was found in a folder and is the result of another input: it would be made while it is read.

    What lies in the place of a result and has not its size is an input, which no result may replace.
    """
    made = {os.path.realpath(job.target): job.source for job in plan.jobs}
    results, in_the_way = {}, {}  # of the one path -> the input that it is the result of, or keeps from having one
    for job in plan.jobs:
        origin = made.get(os.path.realpath(job.source)) if job.source in listed else None
        if origin is not None and is_enlarged(origin, job.source, factor):
            results[job.source] = origin
        elif origin is not None:
            in_the_way[origin] = job.source
    left_out = [LeftOut(path, f"is the result of {origin}: not upscaled again") for path, origin in results.items()]
    errors = [InputError(origin, _would_replace(path)) for origin, path in in_the_way.items()]
    jobs = [job for job in plan.jobs if job.source not in results and job.source not in in_the_way]
    return Plan(jobs, [*plan.errors, *errors], [*plan.left_out, *left_out])


def _would_replace(target: Path) -> ImageError:
    return ImageError(f"its result would replace {target}, which is an input too", "give `suffix` or `output`")


def _same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, in one folder: hard links are copies for whoever made them."""
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _known() -> str:
    return ", ".join(sorted(suffix.lstrip(".") for suffix in WRITE_SUFFIXES))
