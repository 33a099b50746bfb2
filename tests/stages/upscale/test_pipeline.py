"""Many files: each fails alone, nothing is left half, and a second call does only what is missing."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hanging import HANGING, hang_at_the_fourth_result
from networks import save_tiny
from processes import CommandProcess
from upscaling import Run, contents, make_run, photo

from adaptsr_cli.artifacts.upscale import UpscaleMetadata
from adaptsr_cli.distributed import World
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.images import image_size, read_note, read_rgb, write_rgb
from adaptsr_cli.stages.upscale import pipeline
from adaptsr_cli.stages.upscale.stage import UpscaleResult


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def write_corrupt(folder: Path) -> list[Path]:
    """Ten files that are no images, each in another way."""
    whole = folder / "whole"
    write_rgb(whole / "a.png", photo(0, 60, 60))
    write_rgb(whole / "a.jpg", photo(0, 60, 60))
    write_rgb(whole / "a.webp", photo(0, 60, 60))
    write_rgb(whole / "a.tif", photo(0, 60, 60))
    data = {path.suffix: path.read_bytes() for path in whole.iterdir()}
    for path in whole.iterdir():
        path.unlink()
    whole.rmdir()
    huge = bytearray(data[".png"])
    huge[16:24] = (1 << 30).to_bytes(4, "big") * 2
    kinds = {
        "empty.png": b"",
        "text.png": b"not an image at all",
        "cut.png": data[".png"][: len(data[".png"]) // 2],
        "cut.jpg": data[".jpg"][: len(data[".jpg"]) // 2],
        "cut.webp": data[".webp"][: len(data[".webp"]) // 2],
        "cut.tif": data[".tif"][: len(data[".tif"]) // 2],
        "head.jpg": data[".jpg"][:4],
        "page.bmp": b"<!doctype html><html></html>",
        "noise.avif": bytes(range(256)) * 4,
        "huge.png": bytes(huge),
    }
    for name, content in kinds.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in kinds]


def test_300_files_of_which_10_are_corrupt(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for index in range(290):
        write_rgb(folder / f"{index % 7}" / f"{index:03d}.png", photo(index))
    corrupt = write_corrupt(folder)
    report, progress = run(folder)
    assert report.summary == "290 ok, 10 failed, 0 skipped"
    assert {source for source, _ in report.failed} == set(corrupt)
    assert len(progress.warnings) == 10
    assert all(any(str(path) in line for line in progress.warnings) for path in corrupt)
    made = contents(tmp_path / "out")
    assert len(made) == 290
    assert set(made) == {f"{index % 7}/{index:03d}_x2.png" for index in range(290)}
    assert all(image_size(tmp_path / "out" / name) == (16, 18) for name in made)

    again, _ = run(folder)
    assert again.summary == "0 ok, 10 failed, 290 skipped"
    assert contents(tmp_path / "out") == made


def test_a_killed_batch_ends_as_an_uninterrupted_one(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for index in range(6):
        write_rgb(folder / f"{index:02d}.png", photo(index, 150, 150))
    run(folder, output=tmp_path / "straight")
    words = ("upscale", folder, "--output", tmp_path / "out", "--model", tmp_path / "model.safetensors")
    process = CommandProcess(
        (*words, "--run", tmp_path / "run", "--device", "cpu"), tmp_path, {}, hang_at_the_fourth_result
    )
    made = tmp_path / "out"
    while process.is_running and not ((tmp_path / HANGING).exists() and len(list(made.glob("[0-9]*"))) == 3):
        time.sleep(0.005)
    process.kill()
    assert list(made.glob(".partial-*"))
    for partial in (tmp_path / "out").glob(".partial-*"):
        os.utime(partial, (0, 0))  # as if it were hours later
    before = {name: data for name, data in contents(tmp_path / "out").items() if not name.startswith(".partial-")}
    assert len(before) == 3
    report, _ = run(folder)
    assert len(report.skipped) == len(before)
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")


@pytest.mark.parametrize("threads_stop", [False, True])
def test_ctrl_c_leaves_whole_files_only(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads_stop: bool
) -> None:
    folder = tmp_path / "in"
    for index in range(12):
        write_rgb(folder / f"{index:02d}.png", photo(index, 40, 40))
    threads = threading.active_count()  # libraries that other tests used may have left one
    infer, calls = Upscaler.infer, 0
    results: list[UpscaleResult] = []

    def press(self: Upscaler, lr: np.ndarray) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 26:  # in the middle of the seventh image, each of 4 tiles
            if not threads_stop:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)
        return infer(self, lr)

    monkeypatch.setattr(Upscaler, "infer", press)
    # Started in the background of a script, the tests would inherit that the signal is ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(folder, tile=16, tile_pad=0, tell=results.append)
    finally:
        signal.signal(signal.SIGINT, handler)
    monkeypatch.undo()
    made = contents(tmp_path / "out")
    assert 0 < len(made) < 12
    assert [path.name for told in results for _, path in told.written] == sorted(made)
    assert all(image_size(tmp_path / "out" / name) == (80, 80) for name in made)
    assert threading.active_count() == threads
    report, _ = run(folder, tile=16, tile_pad=0)
    assert report.summary == f"{12 - len(made)} ok, 0 failed, {len(made)} skipped"


def test_a_full_disk_fails_the_file_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        write_rgb(tmp_path / "in" / f"{index}.png", photo(index))
    sync, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # of the first file there were two: the file's and its folder's
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(pipeline, "ENCODERS", 1)
    monkeypatch.setattr(os, "fsync", full)
    report, progress = run(tmp_path / "in")
    assert len(report.written) == 2
    assert len(report.failed) == 1
    assert "No space left on device" in progress.warnings[0]
    assert len(contents(tmp_path / "out")) == 2  # no partial file either


def test_a_folder_that_cannot_be_written_fails_its_files_alone(run: Run, tmp_path: Path) -> None:
    write_rgb(tmp_path / "in" / "a" / "0.png", photo(0))
    write_rgb(tmp_path / "in" / "b" / "1.png", photo(1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_bytes(b"a file where a folder should be")
    report, progress = run(tmp_path / "in")
    assert report.summary == "1 ok, 1 failed, 0 skipped"
    assert "cannot" in progress.warnings[0]
    assert [target.name for _, target in report.written] == ["1_x2.png"]


def test_a_folder_that_cannot_be_read_fails_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rgb(tmp_path / "in" / "a" / "0.png", photo(0))
    write_rgb(tmp_path / "in" / "b" / "1.png", photo(1))
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "a":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report, progress = run(tmp_path / "in")
    assert report.summary == "1 ok, 1 failed, 0 skipped"
    assert "Permission denied" in progress.warnings[0]


def test_an_input_that_vanishes_fails_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        write_rgb(tmp_path / "in" / f"{index}.png", photo(index))
    read = pipeline.read_picture

    def vanish(path: Path, **options: bool) -> object:
        if path.name == "1.png":
            path.unlink()
        return read(path, **options)

    monkeypatch.setattr(pipeline, "read_picture", vanish)
    report, progress = run(tmp_path / "in")
    assert report.summary == "2 ok, 1 failed, 0 skipped"
    assert "No such file" in progress.warnings[0]


def test_a_result_says_how_it_was_made_and_another_one_is_left_alone(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in" / "a.png"
    write_rgb(source, photo(0))
    run(source)
    target = tmp_path / "out" / "a_x2.png"
    note = UpscaleMetadata.model_validate_json(read_note(target) or "")
    assert (note.outscale, note.precision, note.ensemble, note.quality) == (2, "fp32", False, None)
    before = target.read_bytes()
    other = save_tiny("edsr_basicsr_x2", tmp_path / "other.safetensors")
    for options, text in (
        ({"model": other}, "by another model"),
        ({"outscale": 3.0, "suffix": "_x2"}, "with `outscale` 2"),
        ({"ensemble": True}, "without `ensemble`"),
        ({"precision": "bf16"}, "in fp32"),
    ):
        report, progress = run(source, **options)
        assert report.summary == "0 ok, 0 failed, 1 skipped (1 of them with a warning)"
        assert text in progress.warnings[0]
        assert target.read_bytes() == before
    assert run(source, quality=50)[0].kept == ()  # PNG has no quality
    assert "made without `tile`: skipped" in run(source, tile=16)[1].warnings[0]
    write_rgb(source, photo(1))
    assert "from another input, or another version of it" in run(source)[1].warnings[0]
    assert len(run(source, force=True)[0].written) == 1
    assert target.read_bytes() != before


def test_a_result_remembers_the_tiles_that_were_named(run: Run, tmp_path: Path) -> None:
    """Who sees seams and names larger tiles is told; who names none takes what is there."""
    source = tmp_path / "in" / "a.png"
    write_rgb(source, photo(0))
    run(source, tile=16, tile_pad=0)
    for options, text in (({"tile": 32, "tile_pad": 0}, "with `tile` 16"), ({"tile_pad": 4}, "with `tile_pad` 0")):
        report, progress = run(source, **options)
        assert len(report.kept) == 1
        assert f"exists already, made {text}: skipped" in progress.warnings[0]
    for options in ({}, {"tile": 16}, {"tile": 16, "tile_pad": 0}):
        report, progress = run(source, **options)
        assert (report.summary, progress.warnings) == ("0 ok, 0 failed, 1 skipped", [])


@pytest.mark.parametrize("ext", ["png", "jpg", "webp", "tif", "avif"])
def test_a_result_that_was_cut_off_is_made_again(run: Run, tmp_path: Path, ext: str) -> None:
    source = tmp_path / "in" / "a.png"
    write_rgb(source, photo(0, 30, 30))
    run(source, ext=ext)
    target = tmp_path / "out" / f"a_x2.{ext}"
    whole = target.read_bytes()
    assert run(source, ext=ext)[0].summary == "0 ok, 0 failed, 1 skipped"
    target.write_bytes(whole[:-20])
    report, _ = run(source, ext=ext)
    if ext == "webp":  # its note stands at the end and is gone, too: nobody knows that it is ours
        assert report.kept == (target,)
    else:
        assert target.read_bytes() == whole


def test_processes_share_the_files(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "gather", lambda self, value: [value] * self.size)  # nothing is exchanged here
    for index in range(7):
        write_rgb(tmp_path / "in" / f"{index}.png", photo(index))
    (tmp_path / "in" / "7.png").write_bytes(b"")
    parts = [run(tmp_path / "in", world=World(rank, 3))[0] for rank in range(3)]
    assert [len(part.written) + len(part.failed) for part in parts] == [3 * 3, 3 * 3, 3 * 2]
    assert len(contents(tmp_path / "out")) == 7


def test_an_image_too_large_for_memory_is_told_before_the_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rgb(tmp_path / "in" / "large.png", photo(0, 500, 500))
    write_rgb(tmp_path / "in" / "small.png", photo(0))
    monkeypatch.setattr(pipeline, "free_memory_bytes", lambda device: 20_000_000)
    monkeypatch.setattr(pipeline, "read_picture", _refuse_large(pipeline.read_picture))
    report, progress = run(tmp_path / "in")
    assert report.summary == "1 ok, 1 failed, 0 skipped"
    assert "500 x 500 px needs 28.6 MB of memory, and there are 13.0 MB" in progress.warnings[0]
    assert "by rows" in progress.warnings[0]


def _refuse_large(read: Callable[..., object]) -> Callable[..., object]:
    def check(path: Path, **options: bool) -> object:
        assert path.name != "large.png", "read in spite of the memory"
        return read(path, **options)

    return check


def test_a_tiff_too_large_for_memory_goes_by_rows(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in" / "large.tif"
    write_rgb(source, photo(0, 400, 150))
    run(source, output=tmp_path / "whole", tile=64)
    monkeypatch.setattr(pipeline, "picture_bytes", lambda *_, **__: 1 << 60)
    report, _ = run(source, tile=64)
    assert report.summary == "1 ok, 0 failed, 0 skipped"
    target = tmp_path / "out" / "large_x2.tif"
    np.testing.assert_array_equal(read_rgb(target), read_rgb(tmp_path / "whole" / "large_x2.tif"))
    assert run(source, tile=64)[0].summary == "0 ok, 0 failed, 1 skipped"  # it holds its note, too
