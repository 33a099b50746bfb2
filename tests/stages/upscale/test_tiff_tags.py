"""What a TIFF says of itself, where it says it in an unusual way; through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from conftest import Command, noise
from PIL import Image
from processes import CommandProcess


def test_a_description_beside_that_of_tifffile_is_kept(adaptsr: Command) -> None:
    tifffile.imwrite("a.tif", noise(8, 8, 3), description="of the user")  # and a second one, of the shape
    assert adaptsr("upscale", "a.tif", "-o", "out").code == 0
    with tifffile.TiffFile("out/a_x4.tif") as file:
        assert file.pages.first.tags.valueof(270) == "of the user"


def test_a_resolution_without_a_unit_is_none(adaptsr: Command) -> None:
    tifffile.imwrite("a.tif", noise(8, 8, 3), resolution=(1, 1), resolutionunit="NONE")
    tifffile.imwrite("b.tif", noise(8, 8, 3), resolution=(300, 300), resolutionunit="INCH")
    assert "dpi" not in adaptsr("info", "a.tif").out
    assert "300 dpi" in adaptsr("info", "b.tif").out


def test_lab_is_not_called_cmyk(adaptsr: Command) -> None:
    Image.fromarray(np.full((8, 8, 3), (200, 80, 40), np.uint8)).convert("LAB").save("lab.tif")
    done = adaptsr("upscale", "lab.tif", "-o", "out")
    assert done.code == 0, done.err
    assert "CMYK" not in done.err
    found = np.asarray(Image.open("out/lab_x4.tif")).reshape(-1, 3).mean(0)
    assert np.abs(found - (200, 80, 40)).max() < 6


def test_a_tiff_without_a_page_is_told_in_words_of_ours(tmp_path: Path) -> None:
    """In a process of its own, since what libraries log is caught by the test runner."""
    (tmp_path / "head.tif").write_bytes(b"II*\0\x08\0\0\0")
    process = CommandProcess(("upscale", "head.tif", "-o", "out", "--offline"), tmp_path, {})
    code, _, err = process.finish()
    assert code == 1
    assert "head.tif: damaged or truncated (it has no page)" in err
    assert "tifffile" not in err
