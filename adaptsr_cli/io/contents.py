"""Contents of a folder of images: the images, and everything else with the reason why it is left out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.formats.table import READ_SUFFIXES
from adaptsr_cli.units import plural, readable

THUMBNAILS: Final = "a thumbnail or preview of a system"
BIN: Final = "in a recycle bin"
SYSTEM: Final = "left behind by a system"
HIDDEN: Final = "hidden"
RUN: Final = "in a run folder"
RESULT: Final = "a result of upscale"
PLACEHOLDER: Final = "not downloaded from the cloud"
BROKEN_LINK: Final = "a link to nothing"
NO_PERMISSION: Final = "not readable (permission denied)"
LINK_BACK: Final = "a link to a folder above"
NO_FILE: Final = "no regular file"
TOO_DEEP: Final = "too many folders down"
NEITHER_SIDE: Final = "on neither side"
NO_SIDE: Final = "beside the HR side, in a folder that tells no side by its name"
_UNREAD: Final = "of an image type that is not read"

# Read as images by other programs.
_IMAGE_TYPES: Final = frozenset(
    f".{name}"
    for name in (
        *(
            "jp2",
            "j2k",
            "jpx",
            "jxr",
            "psd",
            "exr",
            "hdr",
            "pfm",
            "pgm",
            "ppm",
            "pbm",
            "pnm",
            "tga",
            "ico",
            "svg",
            "eps",
        ),
        *("npy", "npz", "mat", "dcm", "fits", "fit", "qoi", "mp4", "mov"),
    )
)

# What NAS and desktop systems make by themselves, in lower case.
_FOLDERS: Final = {
    **dict.fromkeys(
        ("@eadir", ".@__thumb", ".thumbnails", ".thumbs", ".thumb", ".xvpics", ".appledouble", "ipod photo cache"),
        THUMBNAILS,
    ),
    **dict.fromkeys(
        ("#recycle", "@recycle", "$recycle.bin", "recycler", "recycled", ".trash", ".trashes", "network trash folder"),
        BIN,
    ),
    **dict.fromkeys(
        (
            *("lost+found", "system volume information", "__macosx", "#snapshot", "@tmp", "@recently-snapshot"),
            *("temporary items", "__pycache__"),
        ),
        SYSTEM,
    ),
}
_FOLDER_ENDINGS: Final = (".lrdata", ".photoslibrary", ".photolibrary", ".cocatalog")  # of photograph catalogues
_FILES: Final = frozenset({"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r"})
_LMDB: Final = "data.mdb"
_RUN_ARTIFACTS: Final = {f"{kind}.json": f'"artifact": "{kind}"'.encode() for kind in ("run", "eval")}
"""What a run folder holds, one of them, before any picture is drawn into it: file name, and what stands at its head."""
_HEAD_BYTES: Final = 64


_Identity = tuple[int, int]


@dataclass(frozen=True)
class LeftOut:
    """Files that are left out for one reason.

    Attributes:
        reason: Why, in words that go with "it is ...".
        paths: The files.
    """

    reason: str
    paths: tuple[Path, ...]

    @property
    def is_unexpected(self) -> bool:
        """Whether the user may take them for images that are used."""
        surprising = {PLACEHOLDER, BROKEN_LINK, NO_PERMISSION, TOO_DEEP, NO_SIDE}
        return self.reason.startswith(_UNREAD) or self.reason in surprising

    def describe(self) -> str:
        """``3 files: hidden, such as .a.png``."""
        return f"{plural(len(self.paths), 'file')}: {self.reason}, such as {readable(self.paths[0].name)}"


@dataclass
class Contents:
    """What lies below a folder.

    Attributes:
        images: The image files of every folder, by the folder's parts below the root, sorted.
        others: Reason -> the files that are left out for it.
        folders: The folders that were gone through, by their parts below the root, each before those in it.
    """

    images: dict[tuple[str, ...], list[Path]] = field(default_factory=dict)
    others: dict[str, list[Path]] = field(default_factory=dict)
    folders: list[tuple[str, ...]] = field(default_factory=list)

    def left_out(self) -> tuple[LeftOut, ...]:
        """All files that are no images to be read, by reason."""
        return tuple(LeftOut(reason, tuple(sorted(paths))) for reason, paths in sorted(self.others.items()))

    def leave_out(self, reason: str, path: Path) -> None:
        """Add a file to those that are left out."""
        self.others.setdefault(reason, []).append(path)

    def set_aside(self, reason: str, paths: Collection[Path]) -> None:
        """Leave out some of the images."""
        for parts, images in list(self.images.items()):
            kept = [path for path in images if path not in paths]
            self.images[parts] = kept
            if not kept:
                del self.images[parts]
        for path in paths:
            self.leave_out(reason, path)

    def unread(self) -> tuple[LeftOut, ...]:
        """The files of image types that are not read."""
        return tuple(group for group in self.left_out() if group.reason.startswith(_UNREAD))


def read_contents(
    root: Path,
    *,
    max_depth: int | None = None,
    recursive: bool = True,
    on_fault: Callable[[Path, ImageError], None] | None = None,
) -> Contents:
    """Go through a folder and account for every file.

    Links to folders are followed, but not those to a folder that they lie in. What NAS and desktop systems leave
    behind, run folders below the root, hidden files and files of other types are left out and counted.

    Args:
        root: Where to look.
        max_depth: How many folders down to go; None for all the way.
        recursive: Whether to go into the folders below; else what lies there is not counted either.
        on_fault: Told of a folder that cannot be read; the others are read then.

    Raises:
        ImageError: A folder cannot be read, and there is no `on_fault`.
    """
    walk = _Walk(max_depth if recursive else 0, recursive, on_fault)
    walk.enter(root, (), [])
    return walk.found


def packed_data(contents: Contents, root: Path) -> str:
    """How to unpack what a folder holds in place of image files; empty where it holds nothing of the kind."""
    paths = [path for paths in contents.others.values() for path in paths]
    for path in paths:
        if path.name.lower() == _LMDB:
            return f"{_below(path.parent, root)} is an LMDB, which is not read: {_EXPORT_LMDB.format(path=path.parent)}"
    tars = [path for path in paths if path.suffix.lower() == ".tar"]
    if len(tars) > 1:
        return (
            f"it holds {len(tars)} tar files, the shards of a WebDataset, which are not read: unpack them all "
            "(for f in *.tar; do tar -xf $f; done)"
        )
    return next(filter(None, map(unpack_advice, paths)), "")


def unpack_advice(path: Path) -> str:
    """What to do with a file that images are packed in, by its name; empty where it is none."""
    for endings, advice in _PACKED:
        if path.name.lower().endswith(endings):
            return advice.format(name=readable(path.name))
    return ""


_EXPORT_LMDB: Final = (
    "write its values out as files, in Python: import lmdb; t = lmdb.open('{path}', readonly=True).begin(); "
    "[open(bytes(k).decode() + '.png', 'wb').write(v) for k, v in t.cursor()]"
)
_PACKED: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    ((".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".gz", ".7z", ".rar"), "unpack {name} first"),
    ((".parquet", ".arrow"), "{name} is a table of the Hugging Face hub, which is not read: save its images as files"),
    ((".tfrecord", ".tfrecords"), "{name} is a TFRecord, which is not read: save its images as files"),
    ((".h5", ".hdf5"), "{name} is an HDF5 file, which is not read: save its images as files"),
    ((".npy", ".npz"), "{name} is a NumPy file, which is not read: save its images as PNG"),
    ((".mat",), "{name} is a MATLAB file, which is not read: save its images by imwrite"),
)


def describe_type(path: Path) -> str:
    """Why a file is left out that is no image to be read by its name."""
    suffix = path.suffix.lower()
    if not suffix:
        return "without a type in its name"
    return f"{_UNREAD} ({suffix})" if suffix in _IMAGE_TYPES else f"no image ({suffix})"


class _Walk:
    """One way through a folder.

    Args:
        max_depth: How many folders down to go; None for all the way.
        counts_below: Whether files too far down are counted as left out.
        on_fault: As for `read_contents`.
    """

    def __init__(
        self, max_depth: int | None, counts_below: bool, on_fault: Callable[[Path, ImageError], None] | None
    ) -> None:
        self.found = Contents()
        self._max_depth = max_depth
        self._counts_below = counts_below
        self._on_fault = on_fault

    def enter(self, folder: Path, parts: tuple[str, ...], above: Sequence[_Identity]) -> None:
        """Read one folder and those below it.

        Args:
            folder: It.
            parts: Its name below the root.
            above: The folders through which it was reached, and all that really lie above these.
        """
        try:
            own = [_identity(place) for place in (folder.resolve(), *folder.resolve().parents)]
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            fault = ImageError(f"cannot read the folder {folder}: {error.strerror or error}", "check the path")
            if self._on_fault is None:
                raise fault from error
            self._on_fault(folder, fault)
            return
        if parts and any(_is_run_artifact(entry) for entry in entries):
            self._leave_out(RUN, folder)
            return
        self.found.folders.append(parts)
        below: list[Path] = []
        for entry in entries:
            path = folder / entry.name
            kind = _kind(entry)
            if kind != "folder":
                self._take_file(path, parts, kind or _leftover_file(entry.name))
            elif reason := _leftover_folder(entry.name):
                self._leave_out(reason, path)
            elif entry.is_symlink() and _identity(path) in {*above, *own}:
                self.found.leave_out(LINK_BACK, path)
            elif len(parts) == self._max_depth:
                self._leave_out(TOO_DEEP, path)
            else:
                below.append(path)
        for path in below:
            self.enter(path, (*parts, path.name), [*above, *own])

    def _take_file(self, path: Path, parts: tuple[str, ...], reason: str | None) -> None:
        if reason is None and path.suffix.lower() in READ_SUFFIXES:
            self.found.images.setdefault(parts, []).append(path)
        else:
            self.found.leave_out(reason or describe_type(path), path)

    def _leave_out(self, reason: str, folder: Path) -> None:
        """Count the files below a folder; links there are not followed, and what cannot be opened is passed over."""
        if self._counts_below:
            for place, _, files in os.walk(folder):
                for name in files:
                    self.found.leave_out(reason, Path(place, name))


def _kind(entry: os.DirEntry[str]) -> str | None:
    """``folder``, None for a file, or the reason why it is neither."""
    try:
        mode = entry.stat().st_mode
    except PermissionError:
        return NO_PERMISSION
    except OSError:
        return BROKEN_LINK
    if stat.S_ISDIR(mode):
        return "folder"
    return None if stat.S_ISREG(mode) else NO_FILE


def _is_run_artifact(entry: os.DirEntry[str]) -> bool:
    """Whether a file says that its folder is a run's, the pictures in which are drawn and not taken."""
    head = _RUN_ARTIFACTS.get(entry.name)
    if head is None or _kind(entry) is not None:
        return False
    try:
        with Path(entry.path).open("rb") as file:
            return head in file.read(_HEAD_BYTES)
    except OSError:
        return False


def _identity(folder: Path) -> _Identity:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _leftover_folder(name: str) -> str | None:
    """The reason for leaving out all that lies in a folder of this name; None where it is read."""
    lower = name.lower()
    if reason := _FOLDERS.get(lower):
        return reason
    if lower.endswith(_FOLDER_ENDINGS):
        return THUMBNAILS
    if lower.startswith(".trash-"):
        return BIN
    return HIDDEN if name.startswith(".") else None


def _leftover_file(name: str) -> str | None:
    """The reason for leaving out a file of this name whatever is in it; None where it is read."""
    lower = name.lower()
    if lower in _FILES or lower.startswith(("._", "__macosx", ".ds_store")):
        return SYSTEM
    if lower.startswith("synofile_thumb_"):
        return THUMBNAILS
    if lower.startswith(".") and lower.endswith(".icloud"):
        return PLACEHOLDER
    return HIDDEN if name.startswith(".") else None


def _below(path: Path, root: Path) -> str:
    return readable(path.relative_to(root)) if path != root else readable(path.name)
