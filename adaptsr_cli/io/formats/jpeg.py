"""JPEG, with the gain map that makes HDR of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from adaptsr_cli.io.exif import read_orientation
from adaptsr_cli.io.formats.files import open_new
from adaptsr_cli.io.formats.gain_map import attach_gain_map, read_gain_map, turn_gain_map
from adaptsr_cli.io.formats.kind import Extras
from adaptsr_cli.io.formats.pillow_reading import PillowReader, open_image
from adaptsr_cli.io.formats.pillow_writing import PillowWriter
from adaptsr_cli.io.pictures import Picture


@dataclass(frozen=True)
class JpegReader(PillowReader):
    """Reads JPEG, of an MPO the first picture."""

    name: str = "JPEG"

    def decode(self, path: Path) -> Picture:
        """The picture, and its gain map turned like it."""
        picture = super().decode(path)
        gain_map = read_gain_map(path.read_bytes())
        if gain_map is None:
            return picture
        with open_image(path, self.name) as image:
            orientation = read_orientation(image.info.get("exif") or b"")
        return replace(picture, gain_map=gain_map if orientation == 1 else turn_gain_map(gain_map, orientation))


@dataclass(frozen=True)
class JpegWriter(PillowWriter):
    """Writes JPEG."""

    name: str = "JPEG"

    def encode(self, path: Path, picture: Picture, extras: Extras) -> None:
        """Write one picture, and its gain map behind it."""
        super().encode(path, picture, extras)
        if picture.gain_map is not None:
            data = attach_gain_map(path.read_bytes(), picture.gain_map)
            with open_new(path) as file:
                file.write(data)
