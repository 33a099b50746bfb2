"""The note in an image file's XMP."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptsr_cli.io.images import read_note, read_picture, write_picture
from adaptsr_cli.io.pictures import Picture
from adaptsr_cli.io.xmp_note import pack_note, unpack_note

# XML has no way to write the other control characters, nor halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t\r"), max_size=60)


@given(TEXTS)
def test_any_text_comes_back(text: str) -> None:
    assert unpack_note(pack_note(text)) == text


@given(TEXTS.filter(lambda text: "\ufffe" not in text and "\uffff" not in text))
def test_the_packet_is_xml_that_others_read_the_same(text: str) -> None:
    packet = pack_note(text).decode()
    body = packet[packet.index("<x:xmpmeta") : packet.index("<?xpacket end")]
    attributes = [value for element in ElementTree.fromstring(body).iter() for value in element.attrib.values()]
    assert text in attributes


def test_the_xmp_of_others_has_no_note() -> None:
    assert unpack_note(b"") is None
    assert unpack_note(b'<rdf:Description xmp:CreatorTool="Camera" adaptsr:note="x"/>') is None
    assert unpack_note(b"\xff\xfe\x00") is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".bmp"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_note_stays_in_every_format_that_has_a_place(tmp_path: Path, suffix: str, kind: type[np.generic]) -> None:
    path = tmp_path / f"a{suffix}"
    write_picture(path, Picture(np.zeros((16, 16, 3), kind)), note='{"model": "a<b>&c"}')
    assert read_note(path) == (None if suffix == ".bmp" else '{"model": "a<b>&c"}')
    assert read_picture(path).colour.shape == (16, 16, 3)
    write_picture(path, Picture(np.zeros((16, 16, 3), kind)))
    assert read_note(path) is None
