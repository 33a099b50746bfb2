"""Text for the terminal: text from outside made safe to show, and suggested commands."""

from __future__ import annotations

import shlex
from pathlib import Path

from adaptsr_cli.units import readable


def escape_control_chars(text: str) -> str:
    r"""The text in one line, control characters written out, so that a file name cannot drive the terminal.

    Bytes of file names that are no UTF-8 become ``\xff`` and the like.
    """
    return "".join(_shown(letter) for letter in readable(text))


def _shown(letter: str) -> str:
    """The letter, or its escape where it is a control character, a line end or a direction override."""
    code = ord(letter)
    hidden = code < 0x20 or 0x7F <= code < 0xA0 or 0x2028 <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return letter.encode("unicode_escape").decode("ascii") if hidden else letter


def suggest(*words: str | Path, run: Path, replaces: Path | None = None) -> str:
    """The line that names the command to give next, in the same run folder.

    Args:
        words: The command, without ``adaptsr``, ``--run`` and ``--force``.
        run: The run folder.
        replaces: What it would make anew, where that is there.
    """
    from adaptsr_cli.stages.common.fields import DEFAULT_RUN  # here, since pydantic comes with it

    where = () if run == DEFAULT_RUN else ("--run", run)
    force = ("--force",) if replaces is not None and replaces.exists() else ()
    return "next: " + shlex.join(map(str, ("adaptsr", *words, *where, *force)))
