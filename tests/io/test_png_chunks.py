from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.io.png_chunks import check_png


def make_png(**options: object) -> bytes:
    buffer = BytesIO()
    frame = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    frame.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_whole_files_pass() -> None:
    frames = [Image.new("RGB", (30, 20), (shade, 0, 0)) for shade in (50, 100)]
    for data in (make_png(), make_png(save_all=True, append_images=frames), make_png() + b"a program's own data"):
        check_png(data)


@pytest.mark.parametrize("length", [8, 20, 40, 500, -13, -12, -1])
def test_files_that_are_cut_off_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        check_png(make_png()[:length])


def test_every_changed_byte_of_the_pixels_is_found(tmp_path: Path) -> None:
    data = make_png()
    start = data.index(b"IDAT")
    for where in range(start, len(data) - 12, 37):
        spoilt = bytearray(data)
        spoilt[where] ^= 0x10
        with pytest.raises(ValueError, match=r"checksum of its|cut off"):
            check_png(bytes(spoilt))
        (tmp_path / "spoilt.png").write_bytes(spoilt)
        with pytest.raises(ImageError, match=r"spoilt\.png"):
            read_rgb(tmp_path / "spoilt.png")


def test_frames_of_animations_are_looked_at_and_comments_are_not() -> None:
    animation = make_png(save_all=True, append_images=[Image.new("RGB", (30, 20), (9, 0, 0))])
    where = animation.index(b"fdAT") + 12
    with pytest.raises(ValueError, match="fdAT"):
        check_png(animation[:where] + bytes((animation[where] ^ 1,)) + animation[where + 1 :])
    with_comment = make_png(dpi=(72, 72))
    where = with_comment.index(b"pHYs") + 5
    check_png(with_comment[:where] + bytes((with_comment[where] ^ 1,)) + with_comment[where + 1 :])
