"""The model card tells the scores and the training of the model that it lies beside, and of no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Command

from adaptsr_cli.stages.common.adapter_file import read_adapter, write_adapter

from .conftest import MakeRun

NO_SCORES = "the model card goes without scores"


def change_adapter(run: Path) -> None:
    """Train it further, as it were."""
    header, tensors = read_adapter(run / "adapter.safetensors")
    write_adapter(run / "adapter.safetensors", header, {name: 1.5 * tensor for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("format", "output", "path"), [("safetensors", "out.safetensors", "out.md"), ("peft", "out", "out/README.md")]
)
def test_scores_of_another_model_are_left_out(
    adaptsr: Command, make_run: MakeRun, pairs: Path, format: str, output: str, path: str
) -> None:
    """Also where the adapter is exported and the merged model was scored."""
    if format == "peft":
        pytest.importorskip("peft")
    run = make_run("edsr_pytorch", "--method", "lora")
    evaluate = ("eval", "--data", pairs, "--run", run, "--metrics", "psnr", "--force")

    def export() -> tuple[str, str]:
        done = adaptsr("export", "--to", format, "--run", run, "-o", output, "--card", "--force")
        assert done.code == 0, done.err
        return Path(path).read_text(encoding="utf-8"), done.err

    assert adaptsr("merge", "--run", run).code == 0
    assert adaptsr(*evaluate).code == 0
    card, told = export()
    assert "## Scores: 1 image" in card
    assert "| merged |" in card
    assert NO_SCORES not in told
    change_adapter(run)
    assert adaptsr("merge", "--run", run, "--force").code == 0
    card, told = export()
    assert "## Scores" not in card
    assert f"{NO_SCORES}: {run}/eval.json is of other models; `adaptsr eval` scores this one" in told
    assert adaptsr(*evaluate).code == 0
    card, told = export()
    assert "## Scores: 1 image" in card
    assert NO_SCORES not in told


def test_the_training_of_another_adapter_is_left_out(adaptsr: Command, make_run: MakeRun) -> None:
    run = make_run("edsr_pytorch", "--method", "lora")
    shutil.copy(run / "adapter.safetensors", "other.safetensors")

    def card(*words: object) -> str:
        done = adaptsr(
            "export", "--to", "safetensors", "--run", run, "-o", "out.safetensors", "--card", "--force", *words
        )
        assert done.code == 0, done.err
        return Path("out.md").read_text(encoding="utf-8")

    assert "images to train on" in card()
    assert "images to train on" in card("--adapter", "other.safetensors")  # a copy is the same
    change_adapter(run)
    assert "images to train on" in card()
    assert "images to train on" not in card("--adapter", "other.safetensors")
