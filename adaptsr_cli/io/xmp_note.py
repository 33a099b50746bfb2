"""Text metadata in an XMP packet, which all current image formats hold."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Final

_NAMESPACE: Final = "urn:adaptsr:1"
_PACKET: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:adaptsr="{namespace}"
 xmp:CreatorTool="adaptsr" adaptsr:note="{note}"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""
# By pattern and not by an XML parser: the file may be anybody's, and an XML parser can be made to eat all memory.
_DECLARED: Final = f'xmlns:adaptsr="{_NAMESPACE}"'
_TAG: Final = re.compile(r"<[^<>]*>")
_NOTE: Final = re.compile(r'\badaptsr:note="([^"<>]*)"')


def pack_note(note: str) -> bytes:
    """An XMP packet that holds one note of any text."""
    return _PACKET.format(namespace=_NAMESPACE, note=_escape(note)).encode()


def describe_note(note: str, about: str) -> str:
    """The note as a description among others in a packet of any program.

    Args:
        note: Any text.
        about: What the packet's descriptions say that they are about, in quotation marks.
    """
    return f'<rdf:Description rdf:about={about} xmlns:adaptsr="{_NAMESPACE}" adaptsr:note="{_escape(note)}"/>\n'


def _escape(note: str) -> str:
    # Attributes may hold neither line ends nor tabs as they are: XML readers make blanks of them.
    return re.sub(r"[\t\n\r]", lambda found: f"&#{ord(found[0])};", escape(note, quote=True))


def unpack_note(xmp: bytes) -> str | None:
    """The note in an XMP packet of ours, None in any other."""
    text = xmp.decode("utf-8", errors="replace")
    tags = (tag[0] for tag in _TAG.finditer(text) if _DECLARED in tag[0])
    found = next((found for tag in tags if (found := _NOTE.search(tag, tag.index(_DECLARED)))), None)
    return unescape(found[1]) if found else None
