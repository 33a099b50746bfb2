"""Held-out images that show nothing do not count beside others; where there are no others a warning says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import Command, write_pairs
from networks import save_tiny

from adaptsr_cli.io.images import write_rgb

WORDS = ("--iterations", 2, "--batch", 1, "--patch", 32, "--model", "m.safetensors")


def cover_lens(folder: Path, *names: str) -> None:
    """Make frames of pairs black."""
    for name in names:
        write_rgb(folder / "hr" / name, np.zeros((96, 96, 3), np.uint8))
        write_rgb(folder / "lr" / name, np.zeros((24, 24, 3), np.uint8))


def test_a_black_frame_does_not_count_beside_others(adaptsr: Command, tmp_path: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    pairs, val = write_pairs(tmp_path / "pairs", count=6), write_pairs(tmp_path / "val", count=2, seed=100)
    alone = adaptsr("train", "--data", pairs, "--val", val, *WORDS, "--run", "alone")
    cover_lens(val, "002.png")
    done = adaptsr("train", "--data", pairs, "--val", val, *WORDS)
    assert "1 held-out image shows nothing but one colour, and does not count while the network trains" in done.err
    before, beside = (
        next(line for line in told.err.splitlines() if line.startswith("backbone before training"))
        for told in (alone, done)
    )
    assert before == beside
    assert "2 held-out images" in before
    scored = adaptsr("eval", "--data", val, "--run", "scored")  # by the embedded network, which leaves black as it is
    assert "1 image shows next to nothing, and outweighs the others in the mean by a PSNR of up to" in scored.err
    assert "dB: 002" in scored.err
    assert "shows next to nothing, and outweighs" in next(Path("scored").glob("report*.html")).read_text()


def test_where_no_held_out_image_shows_anything_a_warning_says_so(adaptsr: Command, tmp_path: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    pairs, val = write_pairs(tmp_path / "pairs", count=6), write_pairs(tmp_path / "val", count=1, seed=100)
    cover_lens(val, "000.png")
    done = adaptsr("train", "--data", pairs, "--val", val, *WORDS)
    assert done.code == 0, done.err
    assert "warning: the 1 held-out image shows nothing but one colour, so no score says whether" in done.err
    assert "or name others by --val" in done.err
