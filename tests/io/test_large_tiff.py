"""TIFF by rows: the same pixels as a whole reader sees, of every layout, and in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from rich_files import exif_block

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.images import read_note, read_picture
from adaptsr_cli.io.large_tiff import LargeTiff, LargeTiffReader, has_all_pixels, write_large_tiff

HEIGHT, WIDTH = 517, 403
RGB = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None] + np.array([0, 40, 90])
GREY = RGB[..., 0]

KINDS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "strips": (RGB.astype(np.uint8), {"rowsperstrip": 7, "compression": "zlib", "predictor": True}),
    "lzw": (RGB.astype(np.uint8), {"rowsperstrip": 64, "compression": "lzw"}),
    "one_strip": (RGB.astype(np.uint8), {"rowsperstrip": HEIGHT, "compression": "zlib"}),
    "tiles": (RGB.astype(np.uint8), {"tile": (64, 48), "compression": "zlib"}),
    "plain": ((RGB * 60).astype(np.uint16), {}),
    "big_endian": ((RGB * 60).astype(np.uint16), {"bigtiff": True, "byteorder": ">"}),
    "plain_tiles": ((RGB * 60).astype(np.uint16), {"tile": (64, 48)}),
    "grey": (GREY.astype(np.uint8), {"tile": (64, 48), "compression": "zlib"}),
    "white_is_0": (GREY.astype(np.uint8), {"photometric": "miniswhite", "rowsperstrip": 9}),
    "jpeg": ((RGB // 4).astype(np.uint8), {"tile": (64, 64), "compression": "jpeg", "photometric": "ycbcr"}),
}


def write(path: Path, pixels: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Writes a TIFF; (H, W, 3) as a whole reader sees it."""
    options = dict(options)
    file = {name: options.pop(name) for name in ("bigtiff", "byteorder") if name in options}
    if pixels.ndim == 3:
        options.setdefault("photometric", "rgb")
    with tifffile.TiffWriter(path, **file) as writer:
        writer.write(pixels, metadata=None, **options)
    seen = tifffile.imread(path)
    seen = 255 - seen if options.get("photometric") == "miniswhite" else seen
    return seen if seen.ndim == 3 else seen[..., None].repeat(3, axis=2)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    whole = write(path, *KINDS[kind])
    with LargeTiffReader(path) as reader:
        assert (reader.facts.width_px, reader.facts.height_px) == (WIDTH, HEIGHT)
        assert reader.facts.dtype == whole.dtype
        for start, stop in [(0, 30), (20, 90), (60, 200), (150, 160), (152, 517), (400, 517), (516, 517)]:
            np.testing.assert_array_equal(reader.read(start, stop), whole[start:stop])


def test_each_row_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.tif"
    write(path, *KINDS["strips"])
    decoded = 0
    with LargeTiffReader(path) as reader:
        decode = reader._decode

        def count(start: int, stop: int, segment: int) -> np.ndarray:
            nonlocal decoded
            decoded += stop - start
            return decode(start, stop, segment)

        monkeypatch.setattr(reader, "_decode", count)
        for start in range(0, HEIGHT - 40, 20):
            reader.read(start, start + 40)
            assert len(reader._rows) < 50  # nothing more than asked for is held, but the rest of a strip
    assert decoded <= HEIGHT


@pytest.mark.parametrize("kind", ["strips", "plain", "grey"])
def test_written_rows_are_read_by_others(kind: str, tmp_path: Path) -> None:
    whole = write(tmp_path / "in.tif", *KINDS[kind])
    with LargeTiffReader(tmp_path / "in.tif") as reader:
        facts = reader.facts
    facts = LargeTiff(facts.width_px, facts.height_px, facts.dtype, facts.grey, b"profile", 0, exif_block())

    def bands() -> Iterator[np.ndarray]:
        for start in range(0, HEIGHT, 100):
            yield whole[start : start + 100, :, :1] if facts.grey else whole[start : start + 100]

    target = tmp_path / "out.tif"
    write_large_tiff(target, bands(), like=facts, width_px=WIDTH, height_px=HEIGHT, note="made so")
    assert read_note(target) == "made so"
    with tifffile.TiffFile(target) as file:
        page = file.pages.first
        assert page.is_tiled  # type: ignore[union-attr]
        assert page.tags.valueof(271) == "Canon"  # type: ignore[union-attr]
        assert page.tags.valueof(34675) == b"profile"  # type: ignore[union-attr]
    picture = read_picture(target)
    np.testing.assert_array_equal(picture.colour, whole)
    assert picture.grey == facts.grey
    assert has_all_pixels(target)
    target.write_bytes(target.read_bytes()[:-10])  # of the EXIF, which stands at the end
    assert not has_all_pixels(target)


@pytest.mark.parametrize(
    ("pixels", "options", "text"),
    [
        (np.zeros((9, 9, 4), np.uint8), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "transparency"),
        (np.zeros((3, 9, 9), np.uint8), {"photometric": "rgb", "planarconfig": "separate"}, "separate colour planes"),
        (np.zeros((9, 9), np.uint8), {"extratags": [(274, 3, 1, 6, True)]}, "turned"),
        (np.zeros((9, 9, 4), np.uint8), {"photometric": "separated"}, "colour"),
    ],
)
def test_what_cannot_be_read_by_rows_is_named(
    pixels: np.ndarray, options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, pixels, metadata=None, **options)
    with pytest.raises(ImageError, match=text):
        LargeTiffReader(path)


def test_several_pages_cannot_be_read_by_rows(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for _ in range(2):
            writer.write(np.zeros((9, 9), np.uint8), metadata=None)
    with pytest.raises(ImageError, match="several pages"):
        LargeTiffReader(tmp_path / "in.tif")


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    write(path, *KINDS["strips"])
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-3000])
    with pytest.raises(ImageError, match=r"cannot read .*in\.tif"):
        LargeTiffReader(path)
    with tifffile.TiffFile(path.with_name("x.tif").write_bytes(data) and path.with_name("x.tif")) as file:
        offset = file.pages.first.dataoffsets[3]  # type: ignore[union-attr]
    data[offset : offset + 30] = b"\xff" * 30
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"cannot read .*in\.tif: damaged"):
        LargeTiffReader(path)
