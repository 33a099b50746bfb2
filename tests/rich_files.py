"""Pictures with all kinds of metadata, written by Pillow, tifffile and by hand, and read back by these and ExifTool."""

from __future__ import annotations

import io
import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image, PngImagePlugin

WIDTH, HEIGHT = 12, 8
DPI = 300

# A maker's note as Canon writes them: a folder whose offsets count from the beginning of the file.
NOTE_TEXTS = {6: b"Canon EOS 5D Mark II\0", 7: b"Firmware Version 2.0.7\0", 9: b"Ann Example\0"}

RATING_XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmp:Rating="4"
 tiff:ImageWidth="12">
<dc:subject xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Bag><rdf:li>lighthouse</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
IPTC = b"\x1c\x02\x00\x00\x02\x00\x04\x1c\x02\x78\x00\x0cold postcard"
RESOURCES = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
RESOURCES += b"8BIM\x04\x0a\0\0\0\0\0\x01\x01\0"  # CopyrightFlag


def pixels() -> np.ndarray:
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    return np.dstack([across * 20, down * 30, (across + down) * 12]).astype(np.uint8)


def maker_note(start: int, order: str = "<") -> bytes:
    """Canon's note for a place in the file."""
    at = start + 2 + 12 * len(NOTE_TEXTS) + 4
    table, values = struct.pack(f"{order}H", len(NOTE_TEXTS)), b""
    for tag, text in NOTE_TEXTS.items():
        table += struct.pack(f"{order}HHII", tag, 2, len(text), at + len(values))
        values += text + bytes(len(text) % 2)
    return table + bytes(4) + values


def exif_block(order: str = "<", *, orientation: int = 1, thumbnail: bytes = b"") -> bytes:
    """EXIF with all its folders, written by hand."""

    def number(*values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}I", *values)

    def short(value: int) -> bytes:
        return struct.pack(f"{order}H", value)

    # Sub-folders and the note are written for places that are known only once all is written: three times.
    places = {"below": 0, "gps": 0, "interop": 0, "note": 0, "end": 0}
    body = b""
    for _ in range(3):
        note = maker_note(places["note"], order)
        comment = b"UNICODE\0" + "grüß".encode("utf-16-le" if order == "<" else "utf-16-be")
        body = pack_folder(
            [
                (0x010F, 2, 6, b"Canon\0"),
                (0x0110, 2, 21, b"Canon EOS 5D Mark II\0"),
                (0x0112, 3, 1, short(orientation)),
                (0x011A, 5, 1, number(DPI, 1)),
                (0x011B, 5, 1, number(DPI, 1)),
                (0x0128, 3, 1, short(2)),
                (0x8769, 4, 1, number(places["below"])),
                (0x8825, 4, 1, number(places["gps"])),
                (0x9C9B, 1, 8, "Täg\0".encode("utf-16-le")),
            ],
            order,
            8,
            places["end"] if thumbnail else 0,
        )
        places["below"] = 8 + len(body)
        below = [
            (0x829A, 5, 1, number(1, 250)),
            (0x9204, 10, 1, struct.pack(f"{order}ii", -1, 3)),
            (0x927C, 7, len(note), note),
            (0x9286, 7, len(comment), comment),
            (0xA002, 4, 1, number(WIDTH)),
            (0xA003, 4, 1, number(HEIGHT)),
            (0xA005, 4, 1, number(places["interop"])),
            (0xA434, 2, 9, b"EF 50 mm\0"),
        ]
        body += pack_folder(below, order, places["below"])
        places["note"] = 8 + body.index(note)
        places["gps"] = 8 + len(body)
        body += pack_folder([(1, 2, 2, b"N\0"), (2, 5, 3, number(22, 1, 32, 1, 535, 100))], order, places["gps"])
        places["interop"] = 8 + len(body)
        body += pack_folder([(1, 2, 4, b"R98\0"), (2, 7, 4, b"0100")], order, places["interop"])
        places["end"] = 8 + len(body)
    if thumbnail:
        at = places["end"] + 2 + 12 * 3 + 4
        entries = [(0x0103, 3, 1, short(6)), (0x0201, 4, 1, number(at)), (0x0202, 4, 1, number(len(thumbnail)))]
        body += pack_folder(entries, order, places["end"]) + thumbnail
    return b"Exif\0\0" + (b"II*\0" if order == "<" else b"MM\0*") + number(8) + body


def pack_folder(entries: list[tuple[int, int, int, bytes]], order: str, place: int, chain: int = 0) -> bytes:
    """A folder of tag, type, count and bytes, to stand at a place."""
    at = place + 2 + 12 * len(entries) + 4
    table, values = struct.pack(f"{order}H", len(entries)), b""
    for tag, kind, count, data in entries:
        table += struct.pack(f"{order}HHI", tag, kind, count)
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack(f"{order}I", at + len(values))
            values += data + bytes(len(data) % 2)
    return table + struct.pack(f"{order}I", chain) + values


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def write_rich(path: Path, order: str = "<", *, orientation: int = 1) -> None:
    """Write a picture with all that its format holds."""
    exif = exif_block(order, orientation=orientation)
    image = Image.fromarray(pixels())
    suffix = path.suffix
    if suffix == ".jpg":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95, dpi=(DPI, DPI), xmp=RATING_XMP, exif=exif, comment=b"hello")
        data = buffer.getvalue()
        path.write_bytes(data[:2] + segment(0xED, b"Photoshop 3.0\0" + RESOURCES) + data[2:])
    elif suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", RATING_XMP.decode())
        info.add_text("parameters", "a lighthouse, Steps: 20", zip=True)
        info.add_text("Comment", "hello")
        profile = f"\niptc\n{len(RESOURCES):8d}\n{RESOURCES.hex()}\n"
        info.add(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile.encode()))
        image.save(path, dpi=(DPI, DPI), pnginfo=info, exif=exif)
    elif suffix == ".avif":
        # With an orientation Pillow would write the EXIF anew.
        unknown = struct.pack(f"{order}HHI", 0x0111, 1, 0)
        bare = exif.replace(struct.pack(f"{order}HHI", 0x0112, 3, 1), unknown)
        image.save(path, quality=95, exif=bare, xmp=RATING_XMP)
    elif suffix == ".webp":
        image.save(path, quality=95, exif=exif, xmp=RATING_XMP)
    elif suffix == ".heic":
        heif = pillow_heif.from_pillow(image)
        heif.save(path, quality=95, exif=exif, xmp=RATING_XMP)
    elif suffix == ".jxl":
        stream = imagecodecs.jpegxl_encode(pixels(), lossless=True, usecontainer=False)
        boxes = ((b"JXL ", b"\r\n\x87\n"), (b"ftyp", b"jxl \0\0\0\0jxl "), (b"Exif", bytes(4) + exif[6:]),
                 (b"xml ", RATING_XMP), (b"jxlc", stream))  # fmt: skip
        path.write_bytes(b"".join(struct.pack(">I4s", 8 + len(data), kind) + data for kind, data in boxes))
    elif suffix == ".bmp":
        image.save(path, dpi=(DPI, DPI))
    else:
        write_rich_tiff(path, order, exif, orientation)


def write_rich_tiff(path: Path, order: str, exif: bytes, orientation: int) -> None:
    """A TIFF whose EXIF is a copy of the block behind everything else, its offsets moved."""
    tags = [
        (700, 1, len(RATING_XMP), RATING_XMP, True),
        (33723, 7, len(IPTC), IPTC, True),
        (34377, 1, len(RESOURCES), RESOURCES, True),
        (0x010F, 2, 6, b"Canon\0", True),
        (0x0112, 3, 1, orientation, True),
        (33550, 12, 3, (10.0, 10.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 46e5, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32632), True),
        (42113, 2, 2, "7", True),
        (0x8768, 4, 1, 0, True),  # become the tags of the EXIF and the GPS folder
        (0x8824, 4, 1, 0, True),
        (0x9C9B, 1, 8, "Täg\0".encode("utf-16-le"), True),
    ]
    tifffile.imwrite(
        path, pixels(), photometric="rgb", metadata=None, software=False, byteorder=order, extratags=tags,
        resolution=(DPI, DPI), resolutionunit=2, description="a lighthouse",
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as file:
        handle = file.filehandle
        start = handle.size + handle.size % 2
        handle.seek(start)
        body = _move_folders(exif[6:], order, start)  # the first folder is left unused
        handle.write(body)
        for tag, index in ((0x8769, 6), (0x8825, 7)):
            below = struct.unpack_from(f"{order}I", exif, 6 + 8 + 2 + 12 * index + 8)[0]
            entry = file.pages.first.tags[tag - 1].overwrite(start + below)  # type: ignore[union-attr]
            handle.seek(entry.offset)
            handle.write(struct.pack(f"{order}H", tag))


def _move_folders(block: bytes, order: str, by: int) -> bytes:
    """The block with its offsets, those of the maker's note included, moved by so many bytes."""
    moved = bytearray(block)

    def folder(at: int) -> None:
        for index in range(struct.unpack_from(f"{order}H", block, at)[0]):
            place = at + 2 + 12 * index
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, place)
            value = struct.unpack_from(f"{order}I", block, place + 8)[0]
            length = count * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8}[kind]
            if tag in {0x8769, 0x8825, 0xA005}:
                folder(value)
            elif length <= 4:
                continue
            elif tag == 0x927C:
                folder(value)
            struct.pack_into(f"{order}I", moved, place + 8, value + by)

    folder(8)
    return bytes(moved)


def read_facts(path: Path) -> dict[str, Any]:
    """What Pillow, tifffile and pillow-heif find in a file, by the names that ExifTool uses."""
    facts: dict[str, Any] = {}
    if path.suffix in {".heic", ".jxl"}:
        info = dict(pillow_heif.open_heif(path).info) if path.suffix == ".heic" else read_boxes(path.read_bytes())
        exif, xmp = Image.Exif(), info.get("xmp") or b""
        exif.load(info.get("exif") or b"")
        below, gps, interop = (exif.get_ifd(tag) for tag in (0x8769, 0x8825, 0xA005))
        return facts | _describe(exif, below, gps, interop, xmp) | {"dpi": round(float(exif.get(0x011A, 0))) or None}
    with Image.open(path) as image:
        if path.suffix == ".png":
            image.load()  # what stands behind the pixels
        exif = image.getexif()
        xmp = image.info.get("xmp", b"")
        photoshop = image.info.get("photoshop") or {}
        iptc = photoshop.get(0x0404, b"")
        if path.suffix == ".tif":
            with tifffile.TiffFile(path) as file:
                tags = file.pages.first.tags  # type: ignore[union-attr]
                iptc = tags.valueof(33723) or b""
                facts |= {"PixelScale": tags.valueof(33550), "ModelTiePoint": tags.valueof(33922)}
                facts |= {"GDALNoData": tags.valueof(42113)}
                xmp = tags.valueof(700) or b""
        texts = getattr(image, "text", {})
        if "Raw profile type iptc" in texts:
            iptc = bytes.fromhex("".join(texts["Raw profile type iptc"].split()[2:]))
        dpi = image.info.get("dpi") or [exif.get(0x011A, 0)]
        comment = image.info.get("comment", texts.get("Comment", b""))
        below, gps, interop = (exif.get_ifd(tag) for tag in (0x8769, 0x8825, 0xA005))
        facts |= {
            "Parameters": texts.get("parameters"),
            "Caption": "old postcard" if b"old postcard" in iptc else None,
            "Comment": (comment.decode() if isinstance(comment, bytes) else str(comment)) or None,
            "dpi": round(float(dpi[0])) or None,
        }
    return facts | _describe(exif, below, gps, interop, xmp)


def write_png_text(path: Path, **texts: str) -> None:
    info = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    Image.fromarray(pixels()).save(path, pnginfo=info)


def read_user_comment(path: Path) -> str:
    """The comment in EXIF, by Pillow and pillow-heif."""
    if path.suffix in {".heic", ".jxl"}:
        info = dict(pillow_heif.open_heif(path).info) if path.suffix == ".heic" else read_boxes(path.read_bytes())
        exif = Image.Exif()
        exif.load(info["exif"])
        return _decode_comment(exif)
    with Image.open(path) as image:
        return _decode_comment(image.getexif())


def _decode_comment(exif: Image.Exif) -> str:
    comment: bytes = exif.get_ifd(0x8769)[0x9286]
    assert comment.startswith(b"UNICODE\0")
    return comment[8:].decode("utf-16-le")


def read_boxes(data: bytes) -> dict[str, bytes]:
    """EXIF and XMP of a JPEG XL."""
    found, place = {}, 0
    while data.startswith(b"\0\0\0\x0cJXL ") and place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        stop = place + length if length else len(data)
        if kind == b"Exif":
            found["exif"] = data[place + 12 : stop]
        elif kind == b"xml ":
            found["xmp"] = data[place + 8 : stop]
        place = stop
    return found


def _describe(
    exif: Image.Exif, below: dict[int, Any], gps: dict[int, Any], interop: dict[int, Any], xmp: bytes
) -> dict[str, Any]:
    return {
        "Make": exif.get(0x010F),
        "Description": exif.get(0x010E),
        "XPTitle": bytes(exif[0x9C9B]).decode("utf-16-le").rstrip("\0") if 0x9C9B in exif else None,
        "LensModel": below.get(0xA434),
        "ExposureCompensation": round(float(below[0x9204]), 4) if 0x9204 in below else None,
        "ExifImageWidth": below.get(0xA002),
        "GPSLatitude": tuple(float(part) for part in gps[2]) if 2 in gps else None,
        "InteropIndex": interop.get(1),
        "Rating": _search(rb'xmp:Rating="(\d)"', xmp),
        "XMPWidth": _search(rb'tiff:ImageWidth="(\d+)"', xmp),
        "Subject": _search(rb"<rdf:li>(\w+)</rdf:li>", xmp),
    }


def _search(pattern: bytes, text: bytes) -> str | None:
    found = re.search(pattern, text)
    return found[1].decode() if found else None


def has_exiftool() -> bool:
    return shutil.which("exiftool") is not None


def read_by_exiftool(paths: list[Path]) -> list[dict[str, Any]]:
    """ExifTool's findings, one call for all files."""
    command = ["exiftool", "-json", "-n", "-a", "-s", "-Make", "-XPTitle", "-LensModel", "-ExposureCompensation",
               "-ExifImageWidth", "-GPSLatitude", "-InteropIndex", "-XMP:Rating", "-Subject", "-Caption-Abstract",
               "-UserComment", "-CanonImageType", "-CanonFirmwareVersion", "-OwnerName", "-Comment", "-Parameters",
               "-Warning", "-PixelScale", "-XMP-tiff:ImageWidth"]  # fmt: skip
    output = subprocess.run([*command, *map(str, paths)], capture_output=True, check=False).stdout
    return list(json.loads(output))
