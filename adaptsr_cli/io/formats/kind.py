"""Description of a format of image files: how it is recognised, read and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from adaptsr_cli.io.attached.writing import EMPTY, Beside
from adaptsr_cli.io.pictures import Picture


@dataclass(frozen=True)
class Outline:
    """Size and kind of an image file, read without decoding its pixels.

    Attributes:
        width_px: As displayed; of several pages that of the largest.
        height_px: As displayed.
        frames: How many pages or frames.
        deep: Whether it has more than 8 bits a channel.
        alpha: Whether it has transparency.
    """

    width_px: int
    height_px: int
    frames: int = 1
    deep: bool = False
    alpha: bool = False


@dataclass(frozen=True)
class Layout:
    """How a file holds its picture, for people; read without decoding its pixels.

    Attributes:
        bits: Of a channel, such as ``8 bits`` or ``32 bits, floating point``.
        channels: Such as ``RGB with transparency``.
        pictures: How many it has, and of what kind, such as ``3 pages``; empty for one.
        icc: The colour profile.
        cicp: Code points of H.273.
        exif: EXIF as it is in the file.
        iptc: Whether it has an IPTC record.
        texts: What its texts are about, such as ``Title``.
        dpi: Pixels an inch across and down.
        ground: The system of coordinates that a GeoTIFF is in, such as ``EPSG:25832``.
        colours: What else it says of its colours, such as ``gAMA 0.45455``.
        details: More of how it is stored, such as the compression.
    """

    bits: str
    channels: str
    pictures: str = ""
    icc: bytes | None = None
    cicp: tuple[int, int, int, int] | None = None
    exif: bytes | None = None
    iptc: bool = False
    texts: tuple[str, ...] = ()
    dpi: tuple[float, float] | None = None
    ground: str = ""
    colours: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


def name_channels(colour: str, *, alpha: bool) -> str:
    """Name channels for people, such as ``grey with transparency``."""
    return f"{colour} with transparency" if alpha else colour


class Reader(Protocol):
    """Reads files of one format; whatever it raises becomes one line that names the file."""

    def read_size(self, path: Path) -> tuple[int, int]:
        """The size as displayed, from the header alone: (width_px, height_px)."""

    def read_outline(self, path: Path) -> Outline:
        """Size and kind, from the header alone."""

    def decode(self, path: Path) -> Picture:
        """The picture, with all its pages or frames."""

    def read_layout(self, path: Path) -> Layout:
        """How the picture is held, from the header alone."""

    def read_xmp(self, path: Path) -> bytes | None:
        """The XMP packet, from the header alone."""


@dataclass(frozen=True)
class Limits:
    """What a format can hold.

    Attributes:
        alpha: Whether it holds transparency.
        deep: Whether a picture of 16 bits a channel is written with more than 8.
        bits: How many bits a channel it then has.
        several: What it holds more than one of.
        grey_profile: Whether its grey is grey in the file too, so that a profile of grey fits.
        deep_profile: Whether a picture of more than 8 bits keeps its colour profile.
        cicp: Whether it holds code points of H.273, and so HDR.
        gain_map: Whether it is written with the gain map of an Ultra HDR JPEG.
        photo_data: Whether it holds EXIF, a colour profile and XMP.
        most_px: The longest side that it can have.
        lossy: Whether `quality` changes its pixels.
        holds: What else it has a place for: ``exif``, ``xmp``, ``iptc``, ``texts``, ``comments``, ``density``, ``geo``.
    """

    alpha: bool = True
    deep: bool = False
    bits: int = 16
    several: Literal["pages", "frames"] | None = None
    grey_profile: bool = True
    deep_profile: bool = True
    cicp: bool = False
    gain_map: bool = False
    photo_data: bool = True
    most_px: int = (1 << 31) - 1
    lossy: bool = False
    holds: frozenset[str] = frozenset({"exif", "xmp", "density"})


@dataclass(frozen=True)
class Extras:
    """What is written beside the pixels.

    Attributes:
        quality: Of a lossy format, 1 to 100.
        beside: What goes with the picture, of several pages or frames with the first.
    """

    quality: int = 95
    beside: Beside = EMPTY

    @property
    def exif(self) -> bytes | None:
        """EXIF with its prefix, with the resolution, for which most formats have no other place."""
        return self.beside.exif_with_density

    @property
    def xmp(self) -> bytes | None:
        """The XMP packet."""
        return self.beside.xmp


class Writer(Protocol):
    """Writes files of one format."""

    def check_available(self, *, deep: bool) -> None:
        """Look whether the libraries for a picture of 8, or of more bits a channel are installed.

        Raises:
            ImageError: One is not; its hint is the command that installs it.
        """

    def encode(self, path: Path, picture: Picture, extras: Extras) -> None:
        """Write a picture that is within the format's limits to a temporary file."""


@dataclass(frozen=True)
class FileFormat:
    """A format of image files.

    Attributes:
        name: As people call it.
        suffixes: Its file endings, with dot, in lower case; the first is the usual one.
        recognise: Tells from the first `HEAD_BYTES` of a file, and where these do not suffice from the file itself,
            whether it is of this format.
        reader: Reads it.
        limits: What it can hold; None if it is only read.
        writer: Writes it; None if it is only read.
        becomes: The ending of a result of which the input is only read.
    """

    name: str
    suffixes: tuple[str, ...]
    recognise: Callable[[bytes, Path], bool]
    reader: Reader
    limits: Limits | None = None
    writer: Writer | None = None
    becomes: str = ".png"
