"""Text from outside made safe to show."""

from __future__ import annotations


def escape_control_chars(text: str) -> str:
    r"""The text with control characters written out, so that a file name cannot drive the terminal.

    Line feeds and tabs stay; lone surrogates (file names that are no UTF-8) become ``\udcff`` and the like.
    """
    return "".join(_shown(letter) for letter in text)


def _shown(letter: str) -> str:
    """The letter, or its escape where it is a control character, a direction override or a surrogate."""
    code = ord(letter)
    control = code < 0x20 and letter not in "\n\t"
    hidden = 0x7F <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or 0xD800 <= code < 0xE000
    return letter.encode("unicode_escape").decode("ascii") if control or hidden else letter
