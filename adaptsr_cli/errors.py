"""The one family of errors that a user may see.

Every error is one line that says what is wrong, and a hint that says what to do next. The command line prints both
and exits with `exit_code`; a traceback is shown only under ``--debug``.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AdaptsrError(Exception):
    """Something went wrong that the user can understand and mend.

    Args:
        message: What is wrong, one line, naming the file or value.
        hint: What to do next, one line; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())


class UsageError(AdaptsrError):
    """An option or argument that cannot be used as given."""

    exit_code = 2


class ImageError(AdaptsrError):
    """An image file that cannot be read or written."""


class NotFiniteError(ImageError):
    """A network's result that is not finite."""


class DamagedImageError(ImageError):
    """An image file of which the data are damaged or cut off.

    Args:
        message: As for all errors.
        hint: As for all errors.
        fault: What the decoder says.
    """

    def __init__(self, message: str, hint: str = "", *, fault: str = "") -> None:
        super().__init__(message, hint)
        self.fault = fault


class DataError(AdaptsrError):
    """A data folder without usable pairs."""


class CheckpointError(AdaptsrError):
    """A model file that cannot be read or is of no known architecture."""


class EngineError(AdaptsrError):
    """An engine that was asked for by name and cannot run the network: no image of the call can be upscaled."""


class ArtifactError(AdaptsrError):
    """A file of ours that is damaged, of another version, or made for another backbone."""


class BudgetError(AdaptsrError):
    """A parameter budget that cannot be spent as asked."""


class DownloadError(AdaptsrError):
    """A file that could not be fetched or did not have the expected checksum."""


class TrainingError(AdaptsrError):
    """Training that cannot start or cannot go on."""


class GroupError(AdaptsrError):
    """Processes that work together have lost one another."""


class BusyError(AdaptsrError):
    """A run folder in which another process is at work."""


class OutputExistsError(AdaptsrError):
    """An output that exists already and would have been overwritten."""


class Interrupted(AdaptsrError):
    """The user or the system asked us to stop; everything worth keeping was saved."""

    exit_code = 130


def nearest(name: str, candidates: Iterable[str], limit: int = 3) -> str:
    """Names the candidates most like `name`, for a hint; an empty string where none is near."""
    matches = get_close_matches(name, list(candidates), n=limit, cutoff=0.5)
    return f"did you mean {' or '.join(matches)}?" if matches else ""
