"""Going by rows: the pixels of the whole image, in a memory that is stated and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from networks import save_tiny

from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_picture
from adaptsr_cli.inference.streaming import stream_tiff, streaming_bytes
from adaptsr_cli.io.images import read_picture
from adaptsr_cli.io.large_tiff import LargeTiff

CPU = torch.device("cpu")
ROOM = 1 << 30


@pytest.fixture
def upscaler(tmp_path: Path) -> Upscaler:
    return Upscaler(load_backbone(save_tiny("span_x2", tmp_path / "m.safetensors")), device=CPU, tile_px=48, pad_px=8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
def test_rows_equal_the_whole_image(dtype: type, grey: bool, upscaler: Upscaler, tmp_path: Path) -> None:
    most = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, most, (301, 97, 3), dtype=dtype, endpoint=True)
    pixels = pixels[..., 0] if grey else pixels
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="minisblack" if grey else "rgb", metadata=None)
    expected = upscale_picture(upscaler, read_picture(tmp_path / "in.tif"))
    seen: list[tuple[int, int]] = []
    stream_tiff(
        upscaler,
        tmp_path / "in.tif",
        tmp_path / "out.tif",
        room_bytes=ROOM,
        note=lambda: "n",
        on_tile=lambda *counts: seen.append(counts),
    )
    result = read_picture(tmp_path / "out.tif")
    assert result.grey == grey
    np.testing.assert_array_equal(result.colour, expected.colour)
    assert seen[-1][0] == seen[-1][1] > 1


def test_a_failure_leaves_nothing_behind(upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((200, 60, 3), np.uint8), photometric="rgb", metadata=None)
    infer, calls = upscaler.infer, 0

    def fail(lr: np.ndarray) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise ImageError("not finite")
        return infer(lr)

    monkeypatch.setattr(upscaler, "infer", fail)
    with pytest.raises(ImageError, match="not finite"):
        stream_tiff(upscaler, tmp_path / "in.tif", tmp_path / "out" / "o.tif", room_bytes=ROOM, note=lambda: None)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_bound_does_not_grow_with_the_height(upscaler: Upscaler) -> None:
    def bound(height: int, width: int) -> int:
        facts = LargeTiff(width, height, np.dtype(np.uint8), False, None, 0)
        return streaming_bytes(upscaler, facts, upscaler.plan(height, width, most_rows_px=48))

    assert bound(100_000, 3000) <= 1.05 * bound(2000, 3000)
    assert bound(2000, 30_000) > 2 * bound(2000, 3000)


def test_too_little_memory_even_for_rows_is_told(upscaler: Upscaler, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((60, 60, 3), np.uint8), photometric="rgb", metadata=None)
    with pytest.raises(AdaptsrError, match=r"needs .* of memory, and there are 1\.0 MB"):
        stream_tiff(upscaler, tmp_path / "in.tif", tmp_path / "o.tif", room_bytes=1_000_000, note=lambda: None)


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.streaming import stream_tiff
from adaptsr_cli.io.images import read_picture

folder, mode, room = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
upscaler = Upscaler(load_backbone(folder / "m.safetensors"), device=torch.device("cpu"), tile_px=128, pad_px=8)
upscaler.run(read_picture(folder / "small.tif").colour)  # what is loaded once is no part of the bound
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
if mode == "rows":
    stream_tiff(upscaler, folder / "in.tif", folder / "out.tif", room_bytes=room, note=lambda: None)
else:
    upscaler.run(read_picture(folder / "in.tif").colour)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of address space")
def test_the_bound_is_kept_where_the_system_enforces_it(tmp_path: Path) -> None:
    """The result, 7200 x 4000 px, is 346 MB as float32: more than is allowed."""
    save_tiny("edsr_basicsr_x2", tmp_path / "m.safetensors")
    rows, columns = np.mgrid[:3600, :2000]
    pixels = np.stack([rows // 10, columns // 8, (rows + columns) // 20], axis=2).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "in.tif", pixels, photometric="rgb", bigtiff=True, tile=(128, 128), compression="zlib", metadata=None
    )
    tifffile.imwrite(tmp_path / "small.tif", pixels[:300, :300], photometric="rgb", metadata=None)

    def run(mode: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", LIMITED, str(tmp_path), mode, str(340_000_000)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    whole = run("whole")
    assert whole.returncode != 0
    assert "emory" in whole.stderr
    by_rows = run("rows")
    assert by_rows.returncode == 0, by_rows.stderr
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.pages.first.shape == (7200, 4000, 3)  # type: ignore[union-attr]
