"""A watched folder: every image once, and only when it is complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.distributed import World
from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.upscale import stage
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import run_upscale
from adaptsr_cli.stages.upscale.watch import watch_folders


def script(*steps: Callable[[], object]) -> Callable[[], None]:
    """What happens between the looks, one thing each time; then Ctrl-C."""
    left = list(steps)

    def wait() -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    return wait


def nothing() -> None:
    pass


def test_a_file_is_given_when_it_no_longer_grows(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "below" / "b.png"
    second.parent.mkdir()
    wait = script(
        lambda: first.write_bytes(b"1"),
        lambda: first.write_bytes(b"12"),
        lambda: first.write_bytes(b"123"),
        lambda: second.write_bytes(b"x"),  # the first one is as it was at the last look
        nothing,
        nothing,
        lambda: first.write_bytes(b"other"),
        nothing,
        nothing,
        first.unlink,
        nothing,
    )
    given: list[list[str]] = []
    with pytest.raises(KeyboardInterrupt):
        given.extend(
            [source.path.name for source in batch] for batch in watch_folders([tmp_path], recursive=True, wait=wait)
        )
    assert given == [["a.png"], ["b.png"], ["a.png"]]


def test_new_images_are_upscaled_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"nothing")

    def drop(name: str) -> None:
        write_rgb(folder / name, np.full((8, 8, 3), 100, np.uint8))

    wait = script(nothing, lambda: drop("a.png"), nothing, lambda: drop("b.png"), nothing, nothing)
    monkeypatch.setattr(
        stage, "watch_folders", lambda folders, recursive: watch_folders(folders, recursive=recursive, wait=wait)
    )
    progress = Silent()
    options = UpscaleOptions(run=tmp_path / "run", inputs=(folder,), output=out, watch=True, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        run_upscale(options, progress=progress)
    assert sorted(path.name for path in out.iterdir()) == ["a_x4.png", "b_x4.png"]
    assert len(progress.warnings) == 1  # the broken one, and only once


@pytest.mark.parametrize(
    ("inputs", "output", "text"),
    [
        (["in"], None, "`watch` needs `output`"),
        (["in"], "in/out", "lies in the watched folder"),
        (["in"], "in", "lies in the watched folder"),
        (["in/a.png"], "out", "is for folders"),
        ([], "out", "is for folders"),
    ],
)
def test_what_would_feed_itself_is_refused(inputs: list[str], output: str | None, text: str, tmp_path: Path) -> None:
    write_rgb(tmp_path / "in" / "a.png", np.zeros((4, 4, 3), np.uint8))
    options = UpscaleOptions(
        run=tmp_path / "run",
        inputs=tuple(tmp_path / name for name in inputs),
        output=tmp_path / output if output else None,
        watch=True,
    )
    with pytest.raises(UsageError, match=text):
        run_upscale(options)
    assert [path.name for path in tmp_path.iterdir() if path.name != "in"] == []


def test_only_one_process_watches(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    options = UpscaleOptions(run=tmp_path / "run", inputs=tmp_path / "in", output=tmp_path / "out", watch=True)
    with pytest.raises(UsageError, match="`watch` runs in one process only"):
        run_upscale(options, world=World(0, 2))
