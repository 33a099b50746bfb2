"""Changes to XMP packets of others: what counts pixels, what is no longer true, and the note of this program.

Packets are changed as text, by patterns, and not by an XML parser: the file may be anybody's, and an XML parser can be
made to eat all memory. What is not changed stays as it is, to the byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from adaptsr_cli.io.xmp_note import describe_note, pack_note

_ACROSS: Final = (
    "tiff:ImageWidth",
    "exif:PixelXDimension",
    "GPano:CroppedAreaImageWidthPixels",
    "GPano:FullPanoWidthPixels",
    "GPano:CroppedAreaLeftPixels",
    "GPano:LargestValidInteriorRectLeft",
    "GPano:LargestValidInteriorRectWidth",
)
_DOWN: Final = (
    "tiff:ImageLength",
    "exif:PixelYDimension",
    "GPano:CroppedAreaImageHeightPixels",
    "GPano:FullPanoHeightPixels",
    "GPano:CroppedAreaTopPixels",
    "GPano:LargestValidInteriorRectTop",
    "GPano:LargestValidInteriorRectHeight",
)
# Of what stood behind the picture or beside it in the file, and is not there any more.
_ELSEWHERE: Final = (
    "GCamera:MicroVideo",
    "GCamera:MicroVideoVersion",
    "GCamera:MicroVideoOffset",
    "GCamera:MicroVideoPresentationTimestampUs",
    "GCamera:MotionPhoto",
    "GCamera:MotionPhotoVersion",
    "GCamera:MotionPhotoPresentationTimestampUs",
    "Container:Directory",
    "hdrgm:Version",
)
# Regions are places in the picture as it was stored; of a turned one they would show something else.
_TURNED: Final = ("mwg-rs:Regions", "MP:RegionInfo")
_THUMBNAILS: Final = ("xmp:Thumbnails", "xap:Thumbnails")
_EXTENDED: Final = "xmpNote:HasExtendedXMP"
_DESCRIPTION: Final = re.compile(r"<rdf:Description\s[^<>]*/>\n?")
_CLOSE: Final = re.compile(r"</(?:[\w.-]{1,40}:)?RDF\s{0,9}>")
_OPEN: Final = re.compile(r"<(?:[\w.-]{1,40}:)?RDF(?:\s[^<>]*)?>")
_ABOUT: Final = re.compile(r"""\brdf:about\s?=\s?("[^"<>]*"|'[^'<>]*')""")
_MOST_DECLARED: Final = 1 << 24
_PROLOGUE: Final = re.compile(r"<\?xpacket begin[^<>]*\?>|<\?xpacket end[^<>]*\?>")
_NAMESPACE: Final = re.compile(r"""xmlns:[\w.-]+\s?=\s?(?:"[^"<>]*"|'[^'<>]*')""")


def add_note(packet: bytes | None, note: str | None) -> bytes | None:
    """The packet with the note in it, in place of an older one; a packet of its own where there is none to add to."""
    if packet is None or not holds_facts(packet):
        return None if note is None else pack_note(note)
    text = _drop_notes(_decode(packet))
    close = _last(_CLOSE, text)
    if note is None or close is None:
        return _encode(text)
    about = _ABOUT.search(text)
    return _encode(text[: close.start()] + describe_note(note, about[1] if about else '""') + text[close.start() :])


def holds_facts(packet: bytes) -> bool:
    """Whether a packet says anything but the note of this program."""
    text = _drop_notes(_decode(packet))
    opened, closed = _OPEN.search(text), _last(_CLOSE, text)
    return opened is not None and closed is not None and "<" in text[opened.end() : closed.start()]


def _drop_notes(text: str) -> str:
    return _DESCRIPTION.sub(lambda found: "" if 'xmlns:adaptsr="urn:adaptsr:1"' in found[0] else found[0], text)


def scale_pixels(packet: bytes, across: float, down: float) -> bytes:
    """The packet with widths, heights and places in pixels multiplied."""
    text = _decode(packet)
    for names, factor in ((_ACROSS, across), (_DOWN, down)):
        text = _change(text, names, lambda value, factor=factor: _multiply(value, factor))  # type: ignore[misc]
    pieces, place = [], 0
    for start, stop in _elements(text, "mwg-rs:AppliedToDimensions"):
        part = _change(text[start:stop], ("stDim:w",), lambda value: _multiply(value, across))
        pieces += [text[place:start], _change(part, ("stDim:h",), lambda value: _multiply(value, down))]
        place = stop
    text = "".join((*pieces, text[place:]))
    return _encode(text)


def scale_densities(packet: bytes, factor: float) -> bytes:
    """The packet with the resolution multiplied."""
    text = _change(_decode(packet), ("tiff:XResolution", "tiff:YResolution"), lambda value: _multiply(value, factor))
    return _encode(text)


def make_true(packet: bytes, *, turned: bool) -> bytes:
    """The packet of a picture that was taken out of its file and turned upright.

    Args:
        packet: As read.
        turned: Whether the picture was stored turned.
    """
    text = _change(_decode(packet), ("tiff:Orientation",), lambda _: "1")
    text = _remove(text, (*_ELSEWHERE, *_THUMBNAILS, *(_TURNED if turned else ())))
    return _encode(text)


def join_extended(packet: bytes | None, extended: bytes | None) -> bytes | None:
    """One packet of both that a JPEG has."""
    if packet is None or extended is None:
        return packet or extended
    text = _remove(_decode(packet), (_EXTENDED,))
    more = _decode(extended)
    opened, closed, close = _OPEN.search(more), _last(_CLOSE, more), _last(_CLOSE, text)
    if opened is None or closed is None or close is None:
        return _encode(text)
    namespaces = " ".join(_NAMESPACE.findall(more[: opened.end()]))
    if len(namespaces) * more.count("<rdf:Description") > _MOST_DECLARED:
        return _encode(text)  # made to fill the memory
    # Names that were declared around the descriptions are declared in each of them.
    inner = more[opened.end() : closed.start()].replace("<rdf:Description", f"<rdf:Description {namespaces}")
    inner = re.sub(r"<rdf:Description[^<>]*>", lambda found: _once(found[0]), inner)
    return _encode(text[: close.start()] + inner + text[close.start() :])


def split_extended(packet: bytes, note: str | None, most_bytes: int) -> tuple[bytes, bytes | None]:
    """A packet as JPEG holds it: a first of at most `most_bytes`, and a second for the rest."""
    if len(packet) <= most_bytes:
        return packet, None
    text = _PROLOGUE.sub("", _drop_notes(_decode(packet))).strip()
    extended = _encode(text)
    first = pack_note("" if note is None else note)
    return _declare_extended(first, extended), extended


def keep_extended(packet: bytes, extended: bytes) -> bytes:
    """The first packet, naming the second by its present content."""
    return _declare_extended(_encode(_remove(_decode(packet), (_EXTENDED,))), extended)


def name_extended(extended: bytes) -> bytes:
    """The name by which the first packet of a JPEG calls the second: 32 hexadecimal digits."""
    return hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode()


def _declare_extended(packet: bytes, extended: bytes) -> bytes:
    text = _decode(packet)
    close = _last(_CLOSE, text)
    if close is None:
        return packet
    about = _ABOUT.search(text)
    declared = (
        f'<rdf:Description rdf:about={about[1] if about else chr(34) * 2} xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
        f' xmpNote:HasExtendedXMP="{name_extended(extended).decode()}"/>\n'
    )
    return _encode(text[: close.start()] + declared + text[close.start() :])


def _once(tag: str) -> str:
    """A start tag with each namespace declared once, the last declaration counting."""
    declared = _NAMESPACE.findall(tag)
    names = {entry.split("=")[0].strip(): entry for entry in declared}
    return re.sub(r"\s+", " ", tag) if len(names) == len(declared) else _declare_once(tag, names)


def _declare_once(tag: str, names: dict[str, str]) -> str:
    bare = _NAMESPACE.sub("", tag)
    return bare.replace("<rdf:Description", "<rdf:Description " + " ".join(names.values()), 1)


def _change(text: str, names: Iterable[str], new: Callable[[str], str]) -> str:
    """Change the values of simple properties, written as attributes or as elements."""
    for name in names:
        if name not in text:
            continue
        escaped = re.escape(name)
        text = re.sub(
            rf"""(?<![\w:.-])({escaped}\s?=\s?)("[^"<>]*"|'[^'<>]*')""",
            lambda found: found[1] + found[2][0] + new(found[2][1:-1]) + found[2][0],
            text,
        )
        text = re.sub(
            rf"(<{escaped}(?:\s[^<>]*)?>)([^<>]*)(</{escaped}\s?>)",
            lambda found: found[1] + new(found[2]) + found[3],
            text,
        )
    return text


def _remove(text: str, names: Iterable[str]) -> str:
    """Remove properties, written as attributes or as elements with whatever is in them."""
    for name in names:
        if name not in text:
            continue
        text = re.sub(rf"""\s{re.escape(name)}\s?=\s?("[^"<>]*"|'[^'<>]*')""", "", text)
        pieces, place = [], 0
        for start, stop in _elements(text, name):
            pieces.append(text[place:start])
            place = stop
        text = "".join((*pieces, text[place:]))
    return text


def _elements(text: str, name: str) -> Iterator[tuple[int, int]]:
    """Begin and end of the elements of a name; none of them lies within another."""
    opened = re.compile(rf"<{re.escape(name)}(?:\s[^<>]*)?>")
    closed = re.compile(rf"</{re.escape(name)}\s?>")
    place = 0
    while (start := opened.search(text, place)) is not None:
        end = start if start[0].endswith("/>") else closed.search(text, start.end())
        if end is None:  # never closed: left to whoever made it
            return
        yield start.start(), end.end()
        place = end.end()


def _multiply(value: str, factor: float) -> str:
    """A whole number or a fraction times a factor, written as it was; anything else as it is."""
    number, slash, below = value.strip().partition("/")
    try:
        if not slash:
            return str(round(float(number) * factor))
        scaled = int(number) * factor
    except (ValueError, OverflowError):
        return value
    whole = scaled == int(scaled) and below.isdigit()
    return f"{int(scaled)}/{below}" if whole else f"{round(scaled * 1000)}/{below}000"


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return max(pattern.finditer(text), key=lambda found: found.start(), default=None)


def _decode(packet: bytes) -> str:
    if packet.startswith((b"\xff\xfe", b"\xfe\xff")):
        return packet.decode("utf-16", "replace")
    return packet.removeprefix(b"\xef\xbb\xbf").rstrip(b"\0").decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
