"""Texts of PNG files, among them the XMP packet and what ImageMagick keeps there as hexadecimal text."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from adaptsr_cli.io.png_chunks import TEXT_KINDS, PngFault, list_chunks, read_chunk, unpack

XMP_KEYWORD: Final = "XML:com.adobe.xmp"
COMMENT: Final = "Comment"
_RAW_PROFILE: Final = "Raw profile type "


@dataclass(frozen=True)
class PngText:
    """A text chunk as it stands in the file.

    Attributes:
        kind: ``tEXt``, ``zTXt`` or ``iTXt``.
        content: Of the chunk.
    """

    kind: bytes
    content: bytes

    @property
    def keyword(self) -> str:
        """What the text is about."""
        return self.content.partition(b"\0")[0].decode("latin-1")

    @property
    def text(self) -> bytes:
        """The text: Latin-1, or UTF-8 in ``iTXt``.

        Raises:
            PngFault: It is damaged, or unpacks to too much.
        """
        _, _, rest = self.content.partition(b"\0")
        if self.kind == b"tEXt":
            return rest
        if self.kind == b"zTXt":
            return unpack(rest[1:])
        packed, rest = rest[:1] == b"\1", rest[2:]
        _, _, rest = rest.partition(b"\0")  # the language
        _, _, rest = rest.partition(b"\0")  # the keyword in it
        return unpack(rest) if packed else rest


def make_text(keyword: str, text: str) -> PngText:
    """A text chunk for any text."""
    name = keyword.encode("latin-1", "replace")
    try:
        return PngText(b"tEXt", name + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return PngText(b"iTXt", name + b"\0\0\0\0\0" + text.encode("utf-8", "replace"))


def read_texts(file: BinaryIO) -> list[PngText]:
    """All texts of a PNG, wherever they stand."""
    return [PngText(chunk.kind, read_chunk(file, chunk)) for chunk in list_chunks(file) if chunk.kind in TEXT_KINDS]


def read_exif(file: BinaryIO) -> bytes | None:
    """EXIF of a PNG, wherever it stands, also as hexadecimal text; None where there is none."""
    for chunk in list_chunks(file):
        if chunk.kind == b"eXIf":
            return read_chunk(file, chunk)
    profiles, _ = take_profiles([text for text in read_texts(file) if text.keyword.startswith(_RAW_PROFILE)])
    return profiles.get("exif") or profiles.get("app1")


def take_xmp(texts: Sequence[PngText]) -> tuple[bytes | None, list[PngText]]:
    """Split the XMP packet from the other texts."""
    xmp = next((_text(text) for text in texts if text.keyword == XMP_KEYWORD), None)
    return xmp or None, [text for text in texts if text.keyword != XMP_KEYWORD]


def pack_xmp(xmp: bytes) -> PngText:
    """The XMP packet as a text."""
    return PngText(b"iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + xmp)


def take_profiles(texts: Sequence[PngText]) -> tuple[dict[str, bytes], list[PngText]]:
    """Split what ImageMagick keeps as hexadecimal text (``exif``, ``iptc``, ``8bim``, ``xmp`` ...) from other texts.

    What cannot be read stays a text.
    """
    profiles: dict[str, bytes] = {}
    others = []
    for text in texts:
        data = _read_profile(text) if text.keyword.startswith(_RAW_PROFILE) else None
        if data is None:
            others.append(text)
        else:
            profiles[text.keyword.removeprefix(_RAW_PROFILE).strip().lower()] = data
    return profiles, others


def pack_profile(name: str, data: bytes) -> PngText:
    """Bytes as hexadecimal text, the only place that PNG has for IPTC; ImageMagick and ExifTool read it."""
    digits = data.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    text = f"\n{name}\n{len(data):8d}\n{lines}\n"
    return PngText(b"zTXt", f"{_RAW_PROFILE}{name}".encode() + b"\0\0" + zlib.compress(text.encode()))


def _read_profile(text: PngText) -> bytes | None:
    parts = _text(text).split(None, 2)
    try:
        length = int(parts[1])
        data = bytes.fromhex(parts[2].decode("ascii"))
    except (IndexError, ValueError):
        return None
    return data if len(data) == length else None


def _text(text: PngText) -> bytes:
    try:
        return text.text
    except PngFault:
        return b""
