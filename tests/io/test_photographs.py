"""Reading what cameras write."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from raw_files import write_dng

from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.io.photographs import read_facts, read_photograph


def gradient() -> np.ndarray:
    y, x = np.mgrid[:48, :64]
    return np.stack([4 * x, 5 * y, 255 - 2 * x - 2 * y], -1).clip(0, 255).astype(np.uint8)


def test_heic_is_read_as_it_is(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed (extra images)")
    path = tmp_path / "a.heic"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26
    heif.from_pillow(Image.fromarray(gradient())).save(path, quality=95, exif=exif.tobytes())
    found = read_photograph(path)
    assert found.rgb.dtype == np.uint8
    assert np.abs(found.rgb.astype(int) - gradient()).mean() < 3
    assert read_facts(path).focal_35_mm == 26
    assert len(found.sha256) == 64
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"a\.heic"):
        read_photograph(path)


def test_a_raw_file_is_rendered_as_srgb_whatever_it_shows(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="rawpy is not installed (extra pair)")
    y, x = np.mgrid[:96, :128] / 128
    light = np.stack([x, y, 0.3 + 0 * x], -1)
    rendered = []
    # The brightest pixel is near white in one and far from it in the other: the exposure must stay what it was.
    for name, gain in (("a.dng", 0.9), ("b.dng", 0.45)):
        write_dng(tmp_path / name, gain * light)
        found = read_photograph(tmp_path / name)
        assert found.rgb.dtype == np.uint16
        assert found.rendering is not None
        assert found.facts.camera == "Test 1"
        value = found.rgb / 65535
        rendered.append(np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4))
        inner = slice(8, -8), slice(8, -8)
        assert np.abs(rendered[-1] - gain * light)[inner].max() < 0.02


def test_a_damaged_raw_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="rawpy is not installed (extra pair)")
    path = tmp_path / "a.dng"
    path.write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(ImageError, match=r"a\.dng"):
        read_photograph(path)


@pytest.mark.parametrize(("name", "library"), [("a.heic", "pillow_heif"), ("a.dng", "rawpy")])
def test_a_missing_library_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    path = tmp_path / name
    path.write_bytes({"a.heic": b"\0\0\0\x18ftypheic" + bytes(40), "a.dng": b"FUJIFILMCCD-RAW "}[name])
    plain = builtins.__import__

    def refuse(wanted: str, *rest: Any) -> Any:
        if wanted == library:
            raise ImportError(wanted)
        return plain(wanted, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(AdaptsrError) as caught:
        read_photograph(path)
    assert "pip install 'adaptsr[images]'" in caught.value.hint


def test_grey_is_seen_also_in_three_channels(tmp_path: Path) -> None:
    plain = np.repeat(gradient()[..., :1], 3, 2)
    Image.fromarray(plain).save(tmp_path / "a.jpg")
    Image.fromarray(gradient()).save(tmp_path / "b.jpg")
    assert read_photograph(tmp_path / "a.jpg").grey
    assert not read_photograph(tmp_path / "b.jpg").grey
