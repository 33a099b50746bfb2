"""A watched folder: every image once, and only when it is complete."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from PIL import Image
from processes import CommandProcess

from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.upscale import stage
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import run_upscale
from adaptsr_cli.stages.upscale.watch import PATIENCE, watch_folders


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


def png(seed: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(noise(4, 4, 3, seed=seed)).save(buffer, "PNG")
    return buffer.getvalue()


def names_given(folder: Path, *steps: Callable[[], object]) -> list[list[str]]:
    given: list[list[str]] = []
    with pytest.raises(KeyboardInterrupt):
        given.extend(
            [source.path.name for source in batch]
            for batch in watch_folders([folder], recursive=True, wait=script(*steps))
        )
    return given


def test_a_file_is_given_when_it_no_longer_grows(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "below" / "b.png"
    second.parent.mkdir()
    steps = (
        lambda: first.write_bytes(png(0)[:40]),
        lambda: first.write_bytes(png(0)[:60]),
        lambda: first.write_bytes(png(0)),
        lambda: second.write_bytes(png(1)),  # the first one is as it was at the last look
        nothing,
        nothing,
        lambda: first.write_bytes(png(2)),
        nothing,
        nothing,
        first.unlink,
        nothing,
    )
    assert names_given(tmp_path, *steps) == [["a.png"], ["b.png"], ["a.png"]]


def test_a_file_whose_copying_pauses_is_not_given_before_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    paused = (lambda: file.write_bytes(png(0)[:40]), *[nothing] * (PATIENCE - 2))
    assert names_given(tmp_path, *paused, lambda: file.write_bytes(png(0)), nothing) == [["a.png"]]
    file.unlink()
    assert names_given(tmp_path, *paused, nothing) == []
    assert names_given(tmp_path, *[nothing] * PATIENCE) == [["a.png"]]  # given up: it will fail by name


def test_new_images_are_upscaled_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"nothing")

    def drop(name: str) -> None:
        write_rgb(folder / name, np.full((8, 8, 3), 100, np.uint8))

    wait = script(nothing, lambda: drop("a.png"), nothing, lambda: drop("b.png"), *[nothing] * PATIENCE)
    monkeypatch.setattr(
        stage, "watch_folders", lambda folders, recursive: watch_folders(folders, recursive=recursive, wait=wait)
    )
    progress = Silent()
    options = UpscaleOptions(model=str(default_model()), inputs=(folder,), output=out, watch=True, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        run_upscale(options, progress=progress)
    assert sorted(path.name for path in out.iterdir()) == ["a_x4.png", "b_x4.png"]
    assert len(progress.warnings) == 1  # the broken one, and only once


def watch(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object], **options: object
) -> Silent:
    """Watches a folder while the steps happen."""
    wait, progress = script(*steps), Silent()
    monkeypatch.setattr(
        stage, "watch_folders", lambda folders, recursive: watch_folders(folders, recursive=recursive, wait=wait)
    )
    settings = {"model": str(default_model()), **options}
    chosen = UpscaleOptions(inputs=(folder,), output=out, watch=True, device="cpu", **settings)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        run_upscale(chosen, progress=progress)
    return progress


def test_two_inputs_of_one_result_do_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_rgb(folder / "a.png", noise(8, 8, 3))
    write_rgb(folder / "a.bmp", noise(8, 8, 3))

    def drop(name: str) -> Callable[[], object]:
        return lambda: write_rgb(folder / name, noise(8, 8, 3, seed=1))

    steps = (nothing, drop("b.png"), nothing, drop("b.bmp"), nothing, drop("c.png"), nothing)
    progress = watch(folder, out, monkeypatch, *steps, ext="jpg")
    assert sorted(path.name for path in out.iterdir()) == ["a_x4.jpg", "b_x4.jpg", "c_x4.jpg"]
    assert len(progress.warnings) == 2
    assert f"a.png: it would become {out / 'a_x4.jpg'}, as {folder / 'a.bmp'} does" in progress.warnings[0]
    assert f"b.bmp: it would become {out / 'b_x4.jpg'}, as {folder / 'b.png'} does" in progress.warnings[1]


def test_results_that_are_dropped_are_not_upscaled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_rgb(folder / "a.png", noise(8, 8, 3))
    steps = (nothing, nothing, lambda: (out / "a_x4.png").rename(folder / "b.png"), nothing, nothing, nothing)
    progress = watch(folder, out, monkeypatch, *steps)
    assert list(out.iterdir()) == []
    assert sum("not upscaled again" in note for note in progress.notes) == 1


@pytest.mark.parametrize(
    ("inputs", "output", "text"),
    [
        (["in"], None, "`watch` needs `output`"),
        (["in"], "in/out", "lies in the watched folder"),
        (["in"], "in", "lies in the watched folder"),
        (["in/a.png"], "out", "is for folders"),
        ([], "out", "is for folders"),
        (["in"], "out.png", "needs a folder"),
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


def test_a_watching_process_tells_its_results_and_ends_by_sigterm(tmp_path: Path) -> None:
    """As one of a service manager: results go to the standard output as they are made."""
    (tmp_path / "drop").mkdir()
    words = ("upscale", "drop", "--watch", "-o", "out", "--json", "--device", "cpu", "--offline")
    process = CommandProcess(words, tmp_path, {"ADAPTSR_CACHE": str(tmp_path / "cache")})
    for name in ("a", "b"):  # one look after the other
        write_rgb(tmp_path / "drop" / f"{name}.png", noise(8, 8, 3))
        while process.is_running and f"{name}_x4.png" not in (tmp_path / "stdout-0").read_text(encoding="utf-8"):
            time.sleep(0.02)
    process.terminate()
    code, out, err = process.finish()
    assert code == 130, err
    assert "interrupted" in err
    first, second = (json.loads(text + "}") for text in out.rstrip().removesuffix("}").split("\n}\n"))
    assert [(made["input"], made["output"]) for made in first["written"]] == [("drop/a.png", "out/a_x4.png")]
    assert [made["output"] for made in second["written"]] == ["out/b_x4.png"]
