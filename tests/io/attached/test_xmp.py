"""XMP packets of others: changed where they count pixels or are no longer true, else kept to the byte."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich_files import RATING_XMP

from adaptsr_cli.io.attached.xmp import (
    add_note,
    join_extended,
    keep_extended,
    make_true,
    name_extended,
    scale_densities,
    scale_pixels,
    split_extended,
)
from adaptsr_cli.io.xmp_note import pack_note, unpack_note

HEAD = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
TAIL = "</rdf:RDF></x:xmpmeta>"


def packet(inner: str) -> bytes:
    names = "tiff exif GPano stDim mwg-rs MP GCamera Container hdrgm xmp xmpNote"
    declared = " ".join(f'xmlns:{name}="urn:{name}"' for name in names.split())
    return f"{HEAD}<rdf:Description rdf:about='uuid:1' {declared}{inner}</rdf:Description>{TAIL}".encode()


def parse(text: bytes) -> ElementTree.Element:
    body = text.decode()
    return ElementTree.fromstring(body[body.index("<x:xmpmeta") : body.index("</x:xmpmeta>") + 12])


def test_a_note_is_added_and_the_rest_kept_to_the_byte() -> None:
    noted = add_note(RATING_XMP, 'a "note"')
    assert noted is not None
    assert unpack_note(noted) == 'a "note"'
    before, after = RATING_XMP.split(b"</rdf:RDF>")
    assert noted.startswith(before)
    assert noted.endswith(b"</rdf:RDF>" + after)
    parse(noted)
    assert unpack_note(add_note(noted, "another") or b"") == "another"
    assert (add_note(noted, "another") or b"").count(b"adaptsr:note") == 1
    assert add_note(noted, None) == RATING_XMP


def test_a_packet_with_nothing_but_a_note_is_replaced() -> None:
    assert add_note(pack_note("old"), "new") == pack_note("new")
    assert add_note(pack_note("old"), None) is None
    assert add_note(None, None) is None
    assert add_note(b"no packet at all", "new") == pack_note("new")


def test_a_note_speaks_of_the_same_thing_as_the_packet() -> None:
    assert b"rdf:about='uuid:1' xmlns:adaptsr" in (add_note(packet(">"), "x") or b"") or not add_note(packet(">"), "x")
    assert b"rdf:about='uuid:1' xmlns:adaptsr" in (add_note(packet(' xmp:Rating="1">'), "x") or b"")


def test_packets_in_utf_16_are_read() -> None:
    noted = add_note(RATING_XMP.decode().encode("utf-16"), "x")
    assert b'xmp:Rating="4"' in (noted or b"")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (' tiff:ImageWidth="12" tiff:ImageLength="8">', ' tiff:ImageWidth="24" tiff:ImageLength="24">'),
        (" tiff:ImageWidth='12'>", " tiff:ImageWidth='24'>"),
        ("><exif:PixelXDimension>12</exif:PixelXDimension>", "><exif:PixelXDimension>24</exif:PixelXDimension>"),
        (' GPano:FullPanoWidthPixels="4000" GPano:CroppedAreaTopPixels="100">', ' GPano:FullPanoWidthPixels="8000" GPano:CroppedAreaTopPixels="300">'),  # noqa: E501
        ('><mwg-rs:AppliedToDimensions stDim:w="12" stDim:h="8" stDim:unit="pixel"/><xmp:Page stDim:w="5"/>', '><mwg-rs:AppliedToDimensions stDim:w="24" stDim:h="24" stDim:unit="pixel"/><xmp:Page stDim:w="5"/>'),  # noqa: E501
        ('><mwg-rs:AppliedToDimensions rdf:parseType="Resource"><stDim:w>12</stDim:w></mwg-rs:AppliedToDimensions>', '><mwg-rs:AppliedToDimensions rdf:parseType="Resource"><stDim:w>24</stDim:w></mwg-rs:AppliedToDimensions>'),  # noqa: E501
        (' tiff:ImageWidth="many">', ' tiff:ImageWidth="many">'),
    ],
)  # fmt: skip
def test_what_counts_pixels_follows_the_size(before: str, after: str) -> None:
    assert scale_pixels(packet(before), 2, 3) == packet(after)


def test_resolution_is_multiplied() -> None:
    before, after = (
        ' tiff:XResolution="3000000/10000" tiff:YResolution="72/1">',
        ' tiff:XResolution="7500000/10000" tiff:YResolution="180/1">',
    )
    assert scale_densities(packet(before), 2.5) == packet(after)
    assert scale_densities(packet(' tiff:XResolution="1/3">'), 0.5) == packet(' tiff:XResolution="500/3000">')


def test_what_is_no_longer_true_goes() -> None:
    regions = "<mwg-rs:Regions rdf:parseType='Resource'><a>1</a></mwg-rs:Regions>"
    claims = ' tiff:Orientation="6" GCamera:MotionPhoto="1" hdrgm:Version="1.0" xmp:Rating="4">'
    inner = (
        f"{claims}<Container:Directory><rdf:Seq/></Container:Directory>{regions}<xmp:Thumbnails><b/></xmp:Thumbnails>"
    )
    kept = ' tiff:Orientation="1" xmp:Rating="4">'
    assert make_true(packet(inner), turned=False) == packet(kept + regions)
    assert make_true(packet(inner), turned=True) == packet(kept)


def test_both_packets_of_a_jpeg_become_one() -> None:
    extended = (
        f'{HEAD}<rdf:Description rdf:about="" xmlns:GDepth="urn:depth" GDepth:Data="AAAA"/>'
        f'<rdf:Description rdf:about=""><xmp:More xmlns:xmp="urn:xmp">x</xmp:More></rdf:Description>{TAIL}'
    ).encode()
    first = keep_extended(packet(' xmp:Rating="4" xmpNote:HasExtendedXMP="0123">'), extended)
    assert first.count(b"HasExtendedXMP") == 1
    assert name_extended(extended) in first
    joined = join_extended(first, extended)
    assert joined is not None
    found = [value for element in parse(joined).iter() for value in element.attrib.values()]
    assert {"4", "AAAA"} <= set(found)
    assert b"HasExtendedXMP" not in joined
    assert join_extended(first, None) == first


def test_what_does_not_fit_goes_into_the_second_packet() -> None:
    large = packet(f' xmp:Label="{"x" * 500}">')
    assert split_extended(large, "n", 10_000) == (large, None)
    first, second = split_extended(large, "n", 900)
    assert second is not None
    assert len(first) < 900
    assert unpack_note(first) == "n"
    assert name_extended(second) in first
    assert b"x" * 500 in second
    parse(first)
    parse(second)


@given(st.binary(max_size=300), st.sampled_from([b"", HEAD.encode(), packet("")]))
def test_no_bytes_make_it_fail(middle: bytes, head: bytes) -> None:
    text = head + middle + TAIL.encode()
    assert unpack_note(add_note(text, "n") or b"") == "n"
    assert join_extended(make_true(scale_pixels(scale_densities(text, 2), 2, 2), turned=True), text) is not None


def test_hostile_packets_take_no_time() -> None:
    for part in (
        "<rdf:Description ",
        'xmlns:adaptsr="urn:adaptsr:1" ',
        "<xmp:Thumbnails>",
        "<mwg-rs:AppliedToDimensions>",
        "</rdf:RDF",
        'tiff:Orientation="',
    ):
        text = packet(part * 20_000)
        assert unpack_note(add_note(make_true(scale_pixels(text, 2, 2), turned=True), "n") or b"") == "n"
