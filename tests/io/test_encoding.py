"""Files are written without a second copy of what is in them, and a full disk is noticed."""

from __future__ import annotations

import errno
import os
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.io.formats import files
from adaptsr_cli.io.images import write_picture
from adaptsr_cli.io.pictures import Picture, to_8_bit


class _Full(FileIO):
    """A file on a disk with little room, which takes what it can, as systems do."""

    left = 100

    def write(self, data: object) -> int:  # type: ignore[override]
        part = memoryview(data)[: self.left]  # type: ignore[arg-type]
        if not len(part):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= len(part)
        return super().write(part)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".avif", ".heic", ".jxl"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_disk_that_fills_up_is_no_fault_of_the_picture(
    suffix: str, dtype: type[np.generic], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FileIO", _Full)
    noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 40, 3), dtype=dtype)
    with pytest.raises(AdaptsrError, match="No space left on device") as caught:
        write_picture(tmp_path / f"a{suffix}", Picture(noise))
    assert not isinstance(caught.value, ImageError)
    assert not list(tmp_path.iterdir())


def test_what_the_encoder_refuses_names_the_format_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("something is too long")

    monkeypatch.setattr(Image.Image, "save", refuse)
    with pytest.raises(ImageError, match=r"as JPEG: something is too long"):
        write_picture(tmp_path / "a.jpg", Picture(np.zeros((4, 4, 3), np.uint8)))
    assert not list(tmp_path.iterdir())


def test_rounding_to_8_bits_is_exact_over_many_rows() -> None:
    levels = np.arange(65536).astype(np.uint16).reshape(512, 128)
    assert (to_8_bit(levels) == np.rint(levels / 257)).all()
