"""No command writes over a file that it reads, whatever the file is called there and whether forced or not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import run_allocate
from adaptsr_cli.stages.common.run_folder import refuse_inputs
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import run_score
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import run_train
from tests.conftest import Command, write_pairs


def link_hard(path: Path, name: Path) -> None:
    os.link(path, name)


def link_softly(path: Path, name: Path) -> None:
    name.symlink_to(path)


@pytest.mark.parametrize("link", [link_hard, link_softly])
def test_a_link_to_an_input_is_the_input(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    (tmp_path / "in.pth").touch()
    link(tmp_path / "in.pth", tmp_path / "out.pth")
    with pytest.raises(UsageError, match=r"out\.pth \(model\) is the same file as .*in\.pth"):
        refuse_inputs({"model": tmp_path / "out.pth"}, [tmp_path / "gone", tmp_path / "in.pth"])
    refuse_inputs({"model": tmp_path / "new.pth"}, [tmp_path / "in.pth"])
    refuse_inputs({"model": tmp_path / "out.pth"}, [tmp_path / "other.pth"])


def test_another_spelling_of_the_path_is_the_input(tmp_path: Path) -> None:
    (tmp_path / "in.pth").touch()
    (tmp_path / "below").mkdir()
    with pytest.raises(UsageError, match="same file"):
        refuse_inputs({"model": tmp_path / "below" / ".." / "in.pth"}, [tmp_path / "in.pth"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an adapter of a network in a file, made once for the tests below; not to be written to."""
    root = tmp_path_factory.mktemp("own")
    write_pairs(root / "camera", count=4)
    shutil.copy(default_model(), root / "net.safetensors")
    options = {
        "data": str(root / "camera"),
        "run": root / "run",
        "model": str(root / "net.safetensors"),
        "device": "cpu",
    }
    run_score(ScoreOptions(**options, batches=1, batch=1))
    run_allocate(AllocateOptions(run=root / "run", budget="8%"))
    run_train(TrainOptions(**options, iterations=1, batch=1, patch=32))
    return root


COMMANDS = [
    ("run/adapter.safetensors", "merge --run run --adapter run/adapter.safetensors -o run/adapter.safetensors"),
    ("run/adapter.safetensors", "merge --run run -o run/adapter.safetensors"),
    ("net.safetensors", "merge --run run --model net.safetensors -o net.safetensors"),
    ("run/adapter.safetensors", "truncate --run run --to-rank 1 -o run/adapter.safetensors"),
    ("net.safetensors", "truncate --run run --model net.safetensors --to-rank 1 -o net.safetensors"),
    ("camera/lr/000.png", "upscale camera/lr/000.png --run run -o camera/lr/000.png"),
    ("list.csv", "eval --list list.csv --run run --metrics psnr --csv list.csv"),
    ("camera/hr/000.png", "eval --data camera --run run --metrics psnr --markdown camera/hr/000.png"),
    ("run/comparison.png", "eval --list own.txt --run run --metrics psnr"),
    ("run/saliency.png", "score --list two.txt --run run --batches 1 --batch 1"),
    ("run/training/a.png", "train --list three.txt --run run --iterations 1 --batch 1"),
]


@pytest.mark.parametrize(("kept", "words"), COMMANDS, ids=[words for _, words in COMMANDS])
def test_no_command_writes_over_what_it_reads(adaptsr: Command, trained: Path, kept: str, words: str) -> None:
    shutil.copytree(trained, ".", dirs_exist_ok=True)
    lists = {
        "list.csv": "camera/hr/000.png,camera/lr/000.png\n",
        "own.txt": "run/comparison.png,camera/lr/000.png\n",
        "two.txt": "camera/hr/000.png\ncamera/hr/001.png\nrun/saliency.png\n",
        "three.txt": "camera/hr/000.png\ncamera/hr/001.png\nrun/training/a.png\n",
    }
    for name, text in lists.items():
        Path(name).write_text(text)
    for name in ("run/comparison.png", "run/saliency.png", "run/training/a.png"):
        shutil.copy("camera/hr/000.png" if "saliency" not in name else "camera/hr/002.png", name)
    before = file_sha256(Path(kept))
    done = adaptsr(*words.split(), "--force")
    assert done.code in {1, 2}
    assert "unexpected" not in done.err
    assert file_sha256(Path(kept)) == before
