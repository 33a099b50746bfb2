"""What goes with a picture, as the formats hold it, and what they do not hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from adaptsr_cli.io.attached.exif_density import add_density
from adaptsr_cli.io.attached.jpeg_segments import MOST_XMP_BYTES, pack_segments
from adaptsr_cli.io.attached.photoshop import join_iptc
from adaptsr_cli.io.attached.png_texts import COMMENT, PngText, pack_profile, pack_xmp
from adaptsr_cli.io.attached.record import NOTHING, Attachments, Density
from adaptsr_cli.io.attached.xmp import add_note, join_extended, keep_extended, name_extended, split_extended
from adaptsr_cli.io.png_chunks import PngFault

_METRES_PER_INCH: Final = 0.0254


@dataclass(frozen=True)
class Beside:
    """What is written beside the pixels of one picture.

    Attributes:
        exif: EXIF with its prefix, or None.
        attached: The rest.
        note: A text of this program, for the XMP packet.
    """

    exif: bytes | None
    attached: Attachments
    note: str | None

    @property
    def xmp(self) -> bytes | None:
        """One XMP packet with all, the note included."""
        return add_note(join_extended(self.attached.xmp, self.attached.xmp_extended), self.note)

    @property
    def exif_with_density(self) -> bytes | None:
        """EXIF, for formats that have no other place for the resolution."""
        density = self.attached.density
        if density is None or not density.absolute:
            return self.exif
        return add_density(self.exif, *density.rounded)

    def jpeg_segments(self) -> bytes:
        """The segments of a JPEG."""
        first, extended = add_note(self.attached.xmp, self.note), self.attached.xmp_extended
        if first is not None and extended is not None:
            first = keep_extended(first, extended)
        if first is None or len(first) > MOST_XMP_BYTES:
            first, extended = split_extended(self.xmp, self.note, MOST_XMP_BYTES) if self.xmp else (None, None)
        return pack_segments(
            exif=self.exif,
            xmp=first,
            extended=extended,
            extended_name=name_extended(extended) if extended else b"",
            resources=join_iptc(self.attached.iptc, self.attached.resources),
            comments=tuple(_encode_comment(text) for text in self.attached.texts if text.keyword == COMMENT),
        )

    def png_texts(self) -> list[PngText]:
        """The texts of a PNG."""
        texts = list(self.attached.texts)
        block = join_iptc(self.attached.iptc, self.attached.resources)
        if block:
            texts.append(pack_profile("iptc", block))
        return [*texts, pack_xmp(self.xmp)] if self.xmp else texts

    def png_density(self) -> bytes | None:
        """The content of a PNG's pHYs chunk."""
        density = self.attached.density
        if density is None:
            return None
        numbers = [density.across, density.down]
        if density.absolute:
            numbers = [number / _METRES_PER_INCH for number in numbers]
        whole = _whole(numbers, (1 << 31) - 1, density)
        return None if whole is None else struct.pack(">IIB", *whole, int(density.absolute))

    def jpeg_density(self) -> bytes | None:
        """Unit, and pixels across and down, as a JPEG's JFIF segment holds them."""
        density = self.attached.density
        whole = None if density is None else _whole([*density.rounded], 65_535, density)
        return None if whole is None or density is None else struct.pack(">BHH", int(density.absolute), *whole)

    def tiff_density(self) -> tuple[float, float, int] | None:
        """Pixels across and down, and the unit."""
        density = self.attached.density
        return None if density is None else (*density.rounded, 2 if density.absolute else 1)


EMPTY: Final = Beside(None, NOTHING, None)
"""Nothing at all."""


def list_lost(beside: Beside, holds: frozenset[str]) -> list[str]:
    """What of a picture a format has no place for.

    Args:
        beside: What the picture has.
        holds: Which of ``exif``, ``xmp``, ``iptc``, ``texts``, ``comments``, ``density``, ``geo`` the format holds.
    """
    attached = beside.attached
    uncommented = [text for text in attached.texts if text.keyword != COMMENT]
    present = {
        "EXIF": beside.exif is not None and "exif" not in holds,
        "XMP": (attached.xmp or attached.xmp_extended) is not None and "xmp" not in holds,
        "IPTC": attached.iptc is not None and "iptc" not in holds,
        "texts": "texts" not in holds
        and bool(uncommented if "comments" in holds else attached.texts),
        "resolution": attached.density is not None and "density" not in holds,
        "georeference": bool(attached.geo) and "geo" not in holds,
    }  # fmt: skip
    return [name for name, lost in present.items() if lost]


def _whole(numbers: list[float], most: int, density: Density) -> tuple[int, int] | None:
    """Both as whole numbers; a ratio without unit keeps three digits. None if they do not fit."""
    if not density.absolute and any(number != int(number) for number in numbers):
        numbers = [1000 * number for number in numbers]
    across, down = (round(number) for number in numbers)
    return (across, down) if 0 < across <= most and 0 < down <= most else None


def _encode_comment(text: PngText) -> bytes:
    """A comment in UTF-8: JPEG does not say what it is in, and that is what most programs expect."""
    try:
        return text.text if text.kind == b"iTXt" else text.text.decode("latin-1").encode()
    except PngFault:
        return b""
