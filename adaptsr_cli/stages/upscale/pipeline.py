"""Pipeline of many files: decoding, the network and encoding at the same time, each file failing alone."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Condition
from time import monotonic
from typing import Final, Literal

import torch

from adaptsr_cli.artifacts.upscale import UpscaleMetadata
from adaptsr_cli.errors import AdaptsrError, DamagedImageError, EngineError, ImageError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.memory import picture_bytes
from adaptsr_cli.inference.picture import upscale_picture
from adaptsr_cli.inference.streaming import stream_tiff
from adaptsr_cli.io.atomic import drop_old_partial_files
from adaptsr_cli.io.decoding import read_outline
from adaptsr_cli.io.file_kinds import SAVE_FIRST, describe_irregular
from adaptsr_cli.io.images import check_writable, list_changes, read_picture, write_picture
from adaptsr_cli.io.large_tiff import frames_of_tiff
from adaptsr_cli.io.pictures import Picture, keep_beside
from adaptsr_cli.io.tiff import is_tiff
from adaptsr_cli.progress import Progress, Task
from adaptsr_cli.runtime import free_memory_bytes
from adaptsr_cli.stages.common.places import FullDisks, find_obstacle
from adaptsr_cli.stages.upscale.jobs import Job
from adaptsr_cli.stages.upscale.metadata import UpscaleSettings, check_existing
from adaptsr_cli.units import format_bytes

DECODERS: Final = 2
ENCODERS: Final = max(2, min(4, os.cpu_count() or 1))
AHEAD: Final = 4
"""Files that are decoded before their turn, and that wait to be encoded, at most."""

_MEMORY_SHARE: Final = 0.65  # of what is free: on the CPU the network takes some too
_TIFF_SUFFIXES: Final = frozenset({".tif", ".tiff"})


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file.

    Attributes:
        job: The file.
        kind: ``skipped``: the result is there already; ``kept``: another one is, and stays.
        message: What the user should know of it.
        hint: What to do about it.
        engine: What ran the network, where something was written.
    """

    job: Job
    kind: Literal["written", "skipped", "kept", "failed"]
    message: str = ""
    hint: str = ""
    engine: str = ""


@dataclass(frozen=True)
class _Opened:
    """An input on its way to the network.

    Attributes:
        job: Its files.
        metadata: What the result will say of itself.
        held_bytes: The memory that it may take.
        by_rows: It is too large to be held; `picture` stays None.
        picture: Its pixels.
    """

    job: Job
    metadata: UpscaleMetadata
    held_bytes: int
    by_rows: bool = False
    picture: Picture | None = None


class MemoryBudget:
    """The memory that pictures in work may take together, given out in the order of the files.

    In order, because the network takes the files in order: one that came before its turn could hold what an earlier
    one waits for.

    Args:
        limit_bytes: How much there is. A picture that is larger gets its turn alone.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._turn = 0
        self._closed = False
        self._changed = Condition()

    def acquire(self, turn: int, need_bytes: int) -> None:
        """Wait until it is this file's turn and there is room for it.

        Raises:
            ImageError: The budget was closed: nobody wants the picture any more.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or (
                        self._turn == turn
                        and (not self._used_bytes or self._used_bytes + need_bytes <= self._limit_bytes)
                    )
                )
            )
            if self._closed:
                raise ImageError("stopped before it was read")
            self._turn += 1
            self._used_bytes += need_bytes
            self._changed.notify_all()

    def release(self, used_bytes: int) -> None:
        """Give back what `acquire` took."""
        with self._changed:
            self._used_bytes -= used_bytes
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class FileUpscaler:
    """Upscales files, several of them in work at a time.

    Args:
        upscaler: The network.
        settings: What the metadata of the results say.
        force: Replace whatever exists.
        progress: Where remarks go.
        keep_damaged: Upscale damaged files as far as they can be decoded.
    """

    def __init__(
        self,
        upscaler: Upscaler,
        settings: UpscaleSettings,
        *,
        force: bool,
        progress: Progress,
        keep_damaged: bool = False,
    ) -> None:
        self._upscaler = upscaler
        self._settings = settings
        self._force = force
        self._keep_damaged = keep_damaged
        self._progress = progress
        self._told: set[str] = set()
        self._since_s = monotonic()
        self._made_px = 0
        self._full_disks = FullDisks()

    def run(self, jobs: Sequence[Job], task: Task) -> Iterator[FileOutcome]:
        """Upscale files in order.

        When it is stopped (Ctrl-C) the files whose pixels are ready are still written and told of, none is left half.

        Args:
            jobs: The files.
            task: Advanced by one for each.

        Yields:
            What became of each, in their order.
        """
        self._since_s, self._made_px = monotonic(), 0
        for folder in {job.target.parent for job in jobs}:
            drop_old_partial_files(folder)
        limit_bytes = int(_MEMORY_SHARE * free_memory_bytes(torch.device("cpu")))
        budget = MemoryBudget(limit_bytes)
        opened: deque[Future[_Opened | FileOutcome]] = deque()
        done: deque[Future[FileOutcome]] = deque()
        with ThreadPoolExecutor(DECODERS) as decoders, ThreadPoolExecutor(ENCODERS) as encoders:
            try:
                for turn, job in enumerate(jobs):
                    opened.append(decoders.submit(self._open, job, turn, budget, limit_bytes))
                    if len(opened) > AHEAD:
                        done.append(self._upscale(opened.popleft().result(), encoders, budget, task))
                        yield from self._report_finished(done, task, leave=AHEAD)
                while opened:
                    done.append(self._upscale(opened.popleft().result(), encoders, budget, task))
                    yield from self._report_finished(done, task, leave=AHEAD)
                yield from self._report_finished(done, task, leave=0)
            except KeyboardInterrupt:
                yield from self._report_finished(done, task, leave=0)
                raise
            finally:
                budget.close()
                for future in opened:
                    future.cancel()

    def _open(self, job: Job, turn: int, budget: MemoryBudget, limit_bytes: int) -> _Opened | FileOutcome:
        """Read one input, unless its result is there; in a thread of its own."""
        found = self._check(job, limit_bytes)
        budget.acquire(turn, found.held_bytes if isinstance(found, _Opened) else 0)
        if isinstance(found, FileOutcome) or found.by_rows:
            return found
        try:
            picture = read_picture(job.source, raw=self._settings.raw, keep_damaged=self._keep_damaged)
            return replace(found, picture=keep_beside(picture, self._settings.policy))
        except DamagedImageError as error:
            budget.release(found.held_bytes)
            hint = error.hint if self._keep_damaged else "replace the file, or set `damaged` to keep"
            return FileOutcome(job, "failed", error.message, hint)
        except AdaptsrError as error:
            budget.release(found.held_bytes)
            return FileOutcome(job, "failed", error.message, error.hint)
        except Exception as error:  # of a library, on this file: the others go on
            budget.release(found.held_bytes)
            return _failed_by_surprise(job, error)
        except BaseException:
            budget.release(found.held_bytes)
            raise

    def _check(self, job: Job, limit_bytes: int) -> _Opened | FileOutcome:
        """What is to be done, known from the header of the input and from what exists."""
        try:
            _require_regular(job)
            metadata = self._settings.describe(job.source, job.target)
            if not self._force and job.target.exists():
                existing = check_existing(job.target, metadata, strip=self._settings.strip)
                if not existing.redo:
                    kind: Literal["kept", "skipped"] = "kept" if existing.warning else "skipped"
                    return FileOutcome(job, kind, existing.warning or "", "`force` replaces it")
            by_rows = self._can_go_by_rows(job)
            # By rows there may be more pixels than are ever decoded at once.
            outline = read_outline(job.source, by_rows=by_rows)
            need_bytes = picture_bytes(
                outline,
                job.target,
                scale=self._upscaler.backbone.scale,
                outscale=self._settings.outscale,
                band_px=self._upscaler.most_band_px(outline.height_px, outline.width_px),
            )
            pixels = outline.width_px * outline.height_px * outline.frames
            self._full_disks.require_room(job.target, round(pixels * self._settings.outscale**2))
            if need_bytes <= limit_bytes:
                return _Opened(job, metadata, need_bytes)
            if by_rows:
                return _Opened(job, metadata, limit_bytes, by_rows=True)  # alone
            raise ImageError(
                f"upscaling its {outline.width_px} x {outline.height_px} px needs {format_bytes(need_bytes)} "
                f"of memory, and there are {format_bytes(limit_bytes)}",
                "TIFF to TIFF by the network's own factor goes through by rows, in little memory; or cut it into parts",
            )
        except AdaptsrError as error:
            return FileOutcome(job, "failed", error.message, error.hint)
        except OSError as error:
            return FileOutcome(
                job, "failed", f"cannot look at {job.target}: {error.strerror or error}", "check the path"
            )
        except Exception as error:  # of a library, on this file: the others go on
            return _failed_by_surprise(job, error)

    def _can_go_by_rows(self, job: Job) -> bool:
        own_factor = self._settings.outscale == self._upscaler.backbone.scale
        to_tiff = job.target.suffix.lower() in _TIFF_SUFFIXES
        return own_factor and to_tiff and is_tiff(job.source) and frames_of_tiff(job.source) == 1

    def _upscale(
        self, found: _Opened | FileOutcome, encoders: ThreadPoolExecutor, budget: MemoryBudget, task: Task
    ) -> Future[FileOutcome]:
        """Run the network, in this thread, and hands the result over to be written."""
        if isinstance(found, FileOutcome):
            return _finished(found)
        job, metadata = found.job, found.metadata
        task.show(file=job.source.name)
        handed_over = False
        if self._upscaler.engines is not None:
            self._upscaler.engines.used.clear()
        try:
            if found.picture is None:
                stream_tiff(
                    self._upscaler,
                    job.source,
                    job.target,
                    room_bytes=found.held_bytes,
                    note=lambda: self._settings.write(self._with_engine(metadata)),
                    policy=self._settings.policy,
                    on_tile=_show_share(task),
                )
                return _finished(FileOutcome(job, "written", engine=self._with_engine(metadata).engine))
            sides_px = [max(1, round(self._settings.outscale * side)) for side in found.picture.colour.shape[1::-1]]
            check_writable(job.target, found.picture, *sides_px)  # before the work, not after it
            self._tell_remarks(found.picture, job)
            result = upscale_picture(
                self._upscaler, found.picture, outscale=self._settings.outscale, on_tile=_show_share(task)
            )
            self._show_pace(result, task)
            found = replace(found, metadata=self._with_engine(metadata), picture=None)
            future = encoders.submit(self._write, found, result, budget)
            handed_over = True
            return future
        except EngineError:  # no file can be made
            raise
        except AdaptsrError as error:
            return _finished(FileOutcome(job, "failed", error.message, error.hint))
        except MemoryError:
            return _finished(
                FileOutcome(job, "failed", "there is not enough memory for the result", "cut it into parts")
            )
        finally:
            if not handed_over:
                budget.release(found.held_bytes)

    def _with_engine(self, metadata: UpscaleMetadata) -> UpscaleMetadata:
        """The metadata of the file in work, with what has run the network on it."""
        engines = self._upscaler.engines
        used = ", ".join(sorted(engines.used)) if engines else ""
        return metadata.model_copy(update={"engine": used or "torch"})

    def _write(self, found: _Opened, result: Picture, budget: MemoryBudget) -> FileOutcome:
        """Write one result; in a thread of its own."""
        try:
            text = self._settings.write(found.metadata)
            write_picture(found.job.target, result, quality=self._settings.quality, note=text)
            return FileOutcome(found.job, "written", engine=found.metadata.engine)
        except AdaptsrError as error:
            pixels = sum(frame.colour.shape[0] * frame.colour.shape[1] for frame in result.frames)
            self._full_disks.note(found.job.target, pixels, error)
            return FileOutcome(found.job, "failed", error.message, error.hint)
        except MemoryError:
            return FileOutcome(
                found.job, "failed", "there is not enough memory to encode the result", "cut it into parts"
            )
        except Exception as error:  # of a library, on this file: the others go on
            return _failed_by_surprise(found.job, error)
        finally:
            budget.release(found.held_bytes)

    def _report_finished(self, done: deque[Future[FileOutcome]], task: Task, *, leave: int) -> Iterator[FileOutcome]:
        """Tell what became of the first files, until only `leave` are still in work."""
        while len(done) > leave:
            outcome = done.popleft().result()
            if outcome.kind in ("skipped", "kept"):
                task.skip(1)
            else:
                task.advance()
            yield outcome

    def _tell_remarks(self, picture: Picture, job: Job) -> None:
        """Say what the reader found and what the result cannot hold: each remark once, of its first file."""
        if picture.damage is not None:
            self._progress.warn(f"{job.source}: damaged ({picture.damage}): upscaled as far as it can be decoded")
        for remark in (*picture.remarks, *list_changes(job.target, picture)):
            if remark not in self._told:
                self._told.add(remark)
                self._progress.note(f"{job.source}: {remark}")

    def _show_pace(self, result: Picture, task: Task) -> None:
        self._made_px += sum(frame.colour.shape[0] * frame.colour.shape[1] for frame in result.frames)
        seconds = monotonic() - self._since_s
        if seconds > 0:
            task.show(speed=f"{self._made_px / 1e6 / seconds:.1f} MP/s")


def _failed_by_surprise(job: Job, error: Exception) -> FileOutcome:
    return FileOutcome(job, "failed", f"unexpected {type(error).__name__}: {error}", "report it with the file")


def _require_regular(job: Job) -> None:
    """Refuse an input and a result's place that are there and are no files: a pipe may never end, a folder stays.

    Raises:
        ImageError: One of them is of another kind.
        OSError: The place of the result cannot be looked at.
    """
    try:
        if (kind := describe_irregular(job.source)) is not None:
            raise ImageError(f"it is {kind}", SAVE_FIRST)
    except OSError as error:
        raise ImageError(f"cannot read {job.source}: {error.strerror or error}", "check the path") from error
    if (kind := find_obstacle(job.target)) is not None:
        raise ImageError(f"the result's place {job.target} is {kind}", "remove it, or give `suffix` or `output`")


def _finished(outcome: FileOutcome) -> Future[FileOutcome]:
    future: Future[FileOutcome] = Future()
    future.set_result(outcome)
    return future


def _show_share(task: Task) -> Callable[[int, int], None]:
    """Show how much of an image is done, where it has many tiles."""

    def show(done: int, total: int) -> None:
        task.show(image="" if done == total else f"{100 * done // total} %")

    return show
