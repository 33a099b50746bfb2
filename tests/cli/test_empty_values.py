"""Empty values, as a variable of the shell gives that is not set: refused, but where they mean something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command, noise

import adaptsr_cli
from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.images import write_rgb


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["upscale", ""], "a path is empty"),
        (["upscale", "-r", ""], "a path is empty"),
        (["upscale", "a.png", "-o", ""], "-o is empty"),
        (["upscale", "a.png", "--output="], "--output is empty"),
        (["info", "a.png", ""], "a path is empty"),
        (["train", "--hr-dir", ""], "--hr-dir is empty"),
        (["merge", "--output", ""], "--output is empty"),
        (["export", "--to", "onnx", "--output", ""], "--output is empty"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(words: list[str], text: str, adaptsr: Command) -> None:
    write_rgb(Path("a.png"), noise(16, 16, 3))
    done = adaptsr(*words)
    assert done.code == 2
    assert text in done.err
    assert "is a variable of the shell not set" in done.err
    assert [path.name for path in Path().iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["train", "--data", ""], "--data"),
        (["train", "--data", "a", "--data", ""], "--data"),
        (["train", "--data", "a", "--degrade", ""], "--degrade"),
        (["train", "--data", "a", "--model="], "--model"),
        (["eval", "--data", "a", "--metrics", ""], "--metrics"),
        (["allocate", "--budget", ""], "--budget"),
        (["upscale", "a.png", "--tile", ""], "--tile"),
    ],
)
def test_an_empty_value_is_refused(words: list[str], option: str, adaptsr: Command) -> None:
    """``--data ""`` was the current folder, ``--degrade ""`` none at all, ``--metrics ""`` the default ones."""
    write_rgb(Path("a.png"), noise(16, 16, 3))
    done = adaptsr(*words)
    assert done.code == 2
    assert f"error: {option} is empty\nhint: give a value, or leave it out" in done.err
    assert [path.name for path in Path().iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("function", "options", "field"),
    [
        (adaptsr_cli.train, {"data": ""}, "data"),
        (adaptsr_cli.train, {"data": "a", "run": ""}, "run"),
        (adaptsr_cli.upscale, {"inputs": [""]}, "inputs"),
        (adaptsr_cli.evaluate, {"data": "a", "metrics": []}, "metrics"),
    ],
)
def test_nor_is_one_a_value_in_python(function: Callable[..., object], options: dict[str, object], field: str) -> None:
    with pytest.raises(UsageError, match=f"`{field}` is empty"):
        function(**options)


def test_what_is_put_behind_a_name_may_be_empty(adaptsr: Command) -> None:
    write_rgb(Path("a.png"), noise(8, 8, 3))
    assert adaptsr("upscale", "a.png", "--suffix", "", "-o", "out", "--device", "cpu").code == 0
    assert Path("out/a.png").is_file()
    assert adaptsr("upscale", "a.png", "--suffix=", "-o", "out", "--device", "cpu").code == 0


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["train", "--data", "a", "--degrade", "auto:"], "--degrade"),
        (["upscale", "a.png", "--sharpness=auto: "], "--sharpness"),
    ],
)
def test_a_folder_behind_auto_that_is_empty_is_not_the_current_one(
    words: list[str], option: str, adaptsr: Command
) -> None:
    """As ``auto:$CAMERA`` gives."""
    done = adaptsr(*words)
    assert done.code == 2
    assert f"{option} auto:" in done.err
    assert "names no folder" in done.err
