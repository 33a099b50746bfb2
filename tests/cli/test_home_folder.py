"""``~`` where no shell puts the home folder in its place: behind ``=``, in Python and in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command, noise
from networks import save_tiny

from adaptsr_cli.api import ScoreOptions, TrainOptions, UpscaleOptions
from adaptsr_cli.io.images import read_rgb, write_rgb


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


def test_it_is_the_home_folder_in_every_option(home: Path) -> None:
    score = ScoreOptions.of({"data": ["~/a:0.3", "b"], "run": "~/r", "weights_dir": Path("~/w")})
    assert score.data == (f"{home}/a:0.3", "b")
    assert (score.run, score.weights_dir) == (home / "r", home / "w")
    train = TrainOptions.of({"data": "~/a", "degrade": "auto:~/photos", "model": "~/m.pth", "val": "~"})
    assert (train.data, train.degrade) == ((f"{home}/a",), f"auto:{home}/photos")
    assert (train.model, train.val) == (f"{home}/m.pth", home)
    upscale = UpscaleOptions.of({"inputs": (Path("~/in.png"), Path("a~b.png")), "sharpness": "auto:~/photos"})
    assert upscale.inputs == (home / "in.png", Path("a~b.png"))
    assert upscale.sharpness == f"auto:{home}/photos"


def test_a_name_that_is_nobodys_stays() -> None:
    assert ScoreOptions.of({"data": "~nobody-of-that-name/a"}).data == ("~nobody-of-that-name/a",)


def test_on_the_command_line_and_in_a_file(adaptsr: Command, home: Path) -> None:
    model = save_tiny("span_x2", home / "m.safetensors")
    write_rgb(home / "in.png", noise(8, 9, 3))
    done = adaptsr("upscale", f"{home}/in.png", f"--model=~/{model.name}", "--run=~/r", "--output=~/out.png")
    assert done.code == 0, done.err
    assert read_rgb(home / "out.png").shape == (16, 18, 3)
    (home / "c.toml").write_text('data = ["~/nowhere"]\nrun = "~/r"\n', encoding="utf-8")
    refused = adaptsr("train", "--config=~/c.toml")
    assert refused.code == 1
    assert f"there is no folder {home}/nowhere" in refused.err
    assert list(Path().iterdir()) == []
