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
_NOTE: Final = re.compile(r'xmlns:adaptsr="urn:adaptsr:1"[^<>]*\badaptsr:note="([^"<>]*)"')


def pack_note(note: str) -> bytes:
    """An XMP packet that holds one note of any text."""
    # Attributes may hold neither line ends nor tabs as they are: XML readers make blanks of them.
    text = re.sub(r"[\t\n\r]", lambda found: f"&#{ord(found[0])};", escape(note, quote=True))
    return _PACKET.format(namespace=_NAMESPACE, note=text).encode()


def unpack_note(xmp: bytes) -> str | None:
    """The note in an XMP packet of ours, None in any other."""
    found = _NOTE.search(xmp.decode("utf-8", errors="replace"))
    return unescape(found[1]) if found else None
