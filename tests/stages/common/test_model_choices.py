"""What a model file does not tell: chosen once, remembered by the run, its adapter and its merged files."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from conftest import Command, write_pairs
from networks import save_tiny, tiny_state

from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.tensors import write_pth
from adaptsr_cli.stages.common.adapter_file import read_adapter

CHOICE = ("--model-option", "residual_scale=0.5")
QUICK = ("--iterations", 2, "--batch", 1, "--patch", 32, "--lr", 0.01)


def test_a_choice_is_remembered_and_another_refused(adaptsr: Command, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "camera", count=4, side_px=64)
    image = next((pairs / "lr").iterdir())
    save_tiny("edsr_basicsr", Path("m.pth"))
    train = adaptsr("train", "--data", pairs, "--run", "run", "--model", "m.pth", *CHOICE, *QUICK)
    assert train.code == 0, train.err
    assert "with residual_scale=0.5" in train.err
    assert read_document(Path("run/run.json"), RunRecord).backbone.options == {"residual_scale": 0.5}
    assert read_adapter(Path("run/adapter.safetensors"))[0].backbone.options == {"residual_scale": 0.5}
    assert "model_options = [" in Path("run/training/config.toml").read_text()

    # Later stages need not be told, and merged files of both formats are read as what they are.
    for format in ("safetensors", "pth"):
        merge = adaptsr("merge", "--run", "run", "--format", format)
        assert merge.code == 0, merge.err
        merged = load_backbone(Path(f"run/merged.{format}"))
        assert merged.identity.options == {"residual_scale": 0.5}
        assert merged.arguments["residual_scale"] == 0.5
        words = ("--model", f"run/merged.{format}", "--model-option", "residual_scale=1")
        contrary = adaptsr("upscale", image, *words)
        assert (contrary.code, "was made with residual_scale=0.5" in contrary.err) == (1, True)
    assert "with residual_scale=0.5" in adaptsr("info", "run/run.json").out

    # An adapter brings the choice along into an empty run.
    alone = ("upscale", image, "--run", "none", "--adapter", "run/adapter.safetensors", "--model", "m.pth")
    assert adaptsr(*alone, "-o", "alone.png").code == 0
    assert adaptsr("upscale", image, "--run", "run", "-o", "merged.png").code == 0
    assert Path("alone.png").read_bytes()[-500:] == Path("merged.png").read_bytes()[-500:]

    other = adaptsr("score", "--data", pairs, "--run", "run", "--model-option", "residual_scale=1", "--force")
    assert other.code == 1
    assert "was made with residual_scale=0.5, but the backbone is opened with residual_scale=1" in other.err
    assert "--model-option" in other.err
    wrong = adaptsr("score", "--data", pairs, "--run", "new", "--model", "m.pth", "--model-option", "img_range=1")
    assert (wrong.code, "--model-option img_range is not an option of EDSR" in wrong.err) == (2, True)


def test_a_choice_that_comes_to_the_same_is_the_runs(adaptsr: Command, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "camera", count=4, side_px=64)
    save_tiny("edsr_basicsr", Path("m.pth"))
    score = ("score", "--data", pairs, "--run", "run", "--batches", 1, "--batch", 1, "--patch", 32)
    assert adaptsr(*score, "--model", "m.pth").code == 0
    again = adaptsr(*score, "--model-option", "residual_scale=1", "--force")
    assert again.code == 0, again.err
    assert read_document(Path("run/run.json"), RunRecord).backbone.options == {}


def test_info_tells_what_is_assumed_chosen_and_left_out(adaptsr: Command) -> None:
    write_pth(
        Path("m.ckpt"),
        {
            "state_dict": {f"netG.{key}": tensor for key, tensor in tiny_state("swinir").items()}
            | {"netD.0.weight": torch.ones(2)}
        },
    )
    facts = json.loads(adaptsr("info", "m.ckpt", "--model-option", "qk_scale=0.5", "--json").out)["files"][0]
    assert facts["key"] == "state_dict.netG"
    assert facts["left out"] == "netD.0.weight"
    assert facts["assumed"].startswith("img_range=1 ")
    assert "with qk_scale=0.5" in facts["network"]
    assert "--model-option sets another" in adaptsr("info", "m.ckpt").out
