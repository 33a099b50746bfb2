"""Gain maps of Ultra HDR files are found, and found by others where they were put."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from adaptsr_cli.io.formats.gain_map import attach_gain_map, read_gain_map
from adaptsr_cli.io.images import list_changes, read_note, read_picture, write_picture

OLD_XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Container="http://ns.google.com/photos/1.0/container/" xmlns:Item="http://ns.google.com/photos/1.0/container/item/"
 hdrgm:Version="1.0" dc:format="kept"><Container:Directory><rdf:Seq>
<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Length="7"/></rdf:li>
</rdf:Seq></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"""


def ultra_hdr() -> bytes:
    y, x = np.mgrid[:64, :96]
    light = np.dstack([x / 24, y / 32, 0.5 + 0 * x, np.ones_like(x)]).astype(np.float16)
    return bytes(imagecodecs.ultrahdr_encode(light, 95, transfer=imagecodecs.ULTRAHDR.CT.LINEAR))


@pytest.mark.parametrize("with_xmp", [False, True])
def test_a_gain_map_is_read_and_put_into_another_file(with_xmp: bool) -> None:
    source = ultra_hdr()
    gain_map = read_gain_map(source)
    assert gain_map is not None
    with Image.open(BytesIO(source)) as first, Image.open(BytesIO(gain_map)) as second:
        assert first.format == "MPO"
        assert second.format in {"JPEG", "MPO"}
        options = {"xmp": OLD_XMP} if with_xmp else {}
        larger = first.resize((192, 128))
    buffer = BytesIO()
    larger.save(buffer, "JPEG", quality=95, **options)
    result = attach_gain_map(buffer.getvalue(), gain_map)
    assert read_gain_map(result) == gain_map
    light = imagecodecs.ultrahdr_decode(result)  # libultrahdr, which finds it by XMP
    assert light.shape == (128, 192, 4)
    assert float(light[..., :3].max()) > 2
    with Image.open(BytesIO(result)) as image:
        assert image.size == (192, 128)
        first, second = image._getmp()[0xB002]
        assert (first["Size"], second["Size"]) == (len(result) - len(gain_map), len(gain_map))
        xmp = image.info["xmp"]
        assert xmp.count(b"hdrgm:Version") == xmp.count(b'Item:Semantic="GainMap"') == 1
        assert f'Item:Length="{len(gain_map)}"'.encode() in xmp
        assert (b'dc:format="kept"' in xmp) is with_xmp
        ElementTree.fromstring(xmp)


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_upscaled_ultra_hdr_file_is_still_one(orientation: int, tmp_path: Path) -> None:
    source = ultra_hdr()
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = exif.tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    gain_map = read_gain_map(source)
    assert gain_map is not None
    plain = source[: len(source) - len(gain_map)]
    (tmp_path / "a.jpg").write_bytes(attach_gain_map(plain[:2] + segment + plain[2:], gain_map))
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.gain_map is not None
    assert (picture.gain_map == gain_map) is (orientation == 1)
    assert picture.colour.shape[:2] == ((64, 96) if orientation == 1 else (96, 64))
    write_picture(tmp_path / "b.jpg", picture, note="a note")
    assert list_changes(tmp_path / "b.jpg", picture) == []
    assert read_note(tmp_path / "b.jpg") == "a note"
    before = imagecodecs.ultrahdr_decode((tmp_path / "a.jpg").read_bytes()).astype(float)[..., :3]
    after = imagecodecs.ultrahdr_decode((tmp_path / "b.jpg").read_bytes()).astype(float)[..., :3]
    turned = before if orientation == 1 else before.transpose(1, 0, 2)[:, ::-1]
    assert np.abs(turned - after).mean() < 0.1
    assert "gain map is left out" in list_changes(tmp_path / "b.png", picture)[0]
    write_picture(tmp_path / "b.png", picture, note="a note")
    assert b"hdrgm:Version" in (tmp_path / "b.jpg").read_bytes()
    assert b"hdrgm" not in (tmp_path / "b.png").read_bytes()
    assert read_note(tmp_path / "b.png") == "a note"


def test_other_files_have_none() -> None:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    assert read_gain_map(buffer.getvalue()) is None
    assert read_gain_map(b"\xff\xd8") is None
    two = BytesIO()
    Image.new("RGB", (8, 8)).save(two, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    assert read_gain_map(two.getvalue()) is None
    whole = ultra_hdr()
    for length in range(20, 700, 31):
        assert read_gain_map(whole[:length]) is None
