"""Places that results go to: what can be known of folders and disks before there is a result."""

from __future__ import annotations

import errno
import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import Final
from unicodedata import normalize

from adaptsr_cli.errors import AdaptsrError, ImageError, UsageError
from adaptsr_cli.io.file_kinds import describe_irregular

LEAST_FREE_BYTES: Final = 16 << 10
"""Room on a disk without which no result fits."""

_USUAL_NAME_BYTES: Final = 255  # of one name, on every usual file system
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Folder:
    """A folder for results, that is there or is going to be made.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def key(self, name: str) -> Path:
        """What two names have in common that would be one file here.

        On a disk that does not tell capital letters from small ones, ``A.png`` and ``a.png`` are one.
        """
        return Path(self._real, normalize("NFC", name).casefold() if self._ignores_case else name)

    def fault(self, target: Path) -> AdaptsrError | None:
        """Why no file of that name can be written here; None where nothing speaks against it."""
        length = len(os.fsencode(target.name))
        if length > self._most_name_bytes:
            return ImageError(
                f"the result's name would be {length} bytes long, and names end at {self._most_name_bytes}",
                "rename it, or give a shorter `suffix`",
            )
        return self._fault

    @cached_property
    def _real(self) -> str:
        return os.path.realpath(self._path)

    @cached_property
    def _above(self) -> Path:
        """The folder itself, or the nearest one above that is there."""
        path = Path(self._real)
        while not os.path.lexists(path) and path.parent != path:
            path = path.parent
        return path

    @cached_property
    def _fault(self) -> AdaptsrError | None:
        above = self._above
        if not above.is_dir():
            return AdaptsrError(f"cannot write to {self._path}: {above} is no folder", "choose another place")
        if not os.access(above, os.W_OK | os.X_OK):
            return AdaptsrError(
                f"cannot write to {self._path}: {above} is read-only", "check the permissions, or choose another place"
            )
        return None

    @cached_property
    def _most_name_bytes(self) -> int:
        try:
            return os.pathconf(self._above, "PC_NAME_MAX")
        except (AttributeError, OSError, ValueError):  # Windows; and file systems that do not tell
            return _USUAL_NAME_BYTES

    @cached_property
    def _ignores_case(self) -> bool:
        """Whether a name in other letters is the same name; told by the nearest folder that has letters in its name."""
        for path in (self._above, *self._above.parents):
            other = path.name.swapcase()
            if other != path.name:
                try:
                    return path.samefile(path.with_name(other))
                except OSError:
                    return False
        return False


def find_obstacle(path: Path) -> str | None:
    """What lies in the place of a file that is to be written and cannot be replaced, such as ``a folder``.

    Raises:
        OSError: The place cannot be looked at.
    """
    try:
        return describe_irregular(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def require_suffix(output: Path, suffix: str, hint: str = "") -> None:
    """Refuse a file that is not called by its format.

    Args:
        output: What `output` names.
        suffix: ``.onnx``.
        hint: What else could be meant.

    Raises:
        UsageError: It is called otherwise.
    """
    if output.suffix == suffix:
        return
    if output.is_dir():
        better = output / f"model{suffix}"
    elif output.suffix[1:].isalpha():
        better = output.with_suffix(suffix)
    else:  # the end of a version number, perhaps
        better = output.with_name(output.name + suffix)
    hint = f"{hint}, or " if hint else ""
    raise UsageError(f"`output` {output} does not end in {suffix}", f"{hint}name a file such as {better}")


class FullDisks:
    """Folders whose disk was too full for a result: what is no smaller is not computed for nothing."""

    def __init__(self) -> None:
        self._too_large: dict[Path, tuple[int, int]] = {}  # folder -> pixels of a result, room that it did not fit in

    def note(self, target: Path, pixels: int, error: AdaptsrError) -> None:
        """Remember that a result was not written, if that was for lack of room."""
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL:
            self._too_large[target.parent] = (pixels, _free_bytes(target.parent))

    def require_room(self, target: Path, pixels: int) -> None:
        """Refuse a result for which there is no room.

        Raises:
            AdaptsrError: The disk is full, or a result that was no larger did not fit, and nothing was freed since.
        """
        free_bytes = _free_bytes(target.parent)
        least_pixels, tried_bytes = self._too_large.get(target.parent, (0, -1))
        if free_bytes < LEAST_FREE_BYTES or (pixels >= least_pixels and free_bytes <= tried_bytes):
            raise AdaptsrError(
                f"cannot write {target}: {os.strerror(errno.ENOSPC)}", "free some, or choose another place"
            )


def _free_bytes(folder: Path) -> int:
    """Room on the disk of a folder, or of what will hold it; very much where the system does not tell."""
    for path in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(path).free
        except OSError:
            continue
    return 1 << 62
