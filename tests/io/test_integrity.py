"""Files that were cut off are told from whole ones without decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.io.formats.table import WRITE_SUFFIXES
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.io.integrity import is_whole


@pytest.mark.parametrize("suffix", sorted(WRITE_SUFFIXES))
def test_every_format_is_judged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    write_rgb(path, np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    data = path.read_bytes()
    assert is_whole(path)
    for length in (len(data) - 1, len(data) - 200, 20, 5, 0):
        path.write_bytes(data[:length])
        assert not is_whole(path)


def test_what_is_no_image_is_not_whole(tmp_path: Path) -> None:
    assert not is_whole(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("some text that is long enough to have a head")
    assert not is_whole(tmp_path / "text.png")
