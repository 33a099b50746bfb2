"""Published checkpoints and real photographs, where they lie beside the checkout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import Command
from spandrel import ModelLoader

from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.stages.common.adapter_file import attach_adapter, read_adapter, write_adapter
from adaptsr_cli.stages.common.merged_model import textured_image


@pytest.mark.parametrize(
    ("model", "data", "expected_db", "tolerance_db"),
    [
        # measured independently, MATLAB's bicubic LR
        ("genuine/DCTLSA_x4.pt", "Set5", 32.523, 0.002),
        ("own/safmn_x4_bicubic.safetensors", "Set5", 31.59, 0.01),
        ("genuine/SPAN_x4_ch48_from_ncnn_fp16.pth", "Set5", 32.203, 0.002),
        pytest.param("genuine/DAT_light_x4.pth", "Set5", 32.571, 0.002, marks=pytest.mark.slow),
        # its LR is made here by Pillow's bicubic, which is not MATLAB's to the last bit
        ("genuine/SAFMN_x2_from_ncnn_fp16.safetensors", "Set5/HR", 38.00, 0.03),
    ],
)
def test_published_figures(
    model: str, data: str, expected_db: float, tolerance_db: float, adaptsr: Command, shared: Path
) -> None:
    words = ("--model", shared / "weights" / model, "--data", shared / "data" / "test_sr" / data)
    result = adaptsr("eval", *words, "--metrics", "psnr", "--degrade", "bicubic", "--json")
    assert result.code == 0, result.err
    score_db = json.loads(result.out)["models"][0]["metrics"]["psnr_y_db"]
    assert score_db == pytest.approx(expected_db, abs=tolerance_db)


def test_embedded_default_is_the_published_file_of_ours(adaptsr: Command, shared: Path) -> None:
    embedded = json.loads(adaptsr("models", "--json").out)["models"][0]
    assert embedded["name"] == "safmn-x4-bicubic"
    info = adaptsr("info", shared / "weights" / "own" / embedded["file"], "--json")
    assert "SAFMN x4, 240k parameters" in json.loads(info.out)["files"][0]["network"]


def test_checkpoint_that_nobody_knows_gets_a_clear_line(adaptsr: Command, shared: Path) -> None:
    words = ("--model", shared / "weights/genuine/SAFMN_x4_team15.pth", "--data", shared / "data/test_sr/Set5")
    result = adaptsr("eval", *words)
    assert result.code == 1
    assert "looks like SAFMN, but is a variant" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("model", [None, "DCTLSA_x4.pt", "SAFMN_x2_from_ncnn_fp16.safetensors"])
def test_real_iphone_pairs_in_plain_calls(model: str | None, adaptsr: Command, shared: Path) -> None:
    """The acceptance of the main job, shortened: the merged model beats the backbone on pairs not trained on."""
    shutil.copytree(shared / "data" / "real_pairs" / "iphone", "iphone")
    large = model == "DCTLSA_x4.pt"  # and slow, above all in scoring: fewer pairs and steps show the gain as well
    for side in Path("iphone").iterdir():
        for image in sorted(side.iterdir())[10 if large else 15 :]:
            image.unlink()
    named = ("--model", shared / "weights" / "genuine" / model) if model else ()
    budget = "60k" if large else "15k"
    iterations, batch = (30, 2) if large else (60, 4)
    quick = ("--iterations", iterations, "--batch", batch, "--patch", 64, "--val-freq", 30, "--lr", 2e-3)
    for words in (
        ("score", "--data", "iphone/", "--batches", 2, "--batch", batch, "--patch", 64, *named),
        ("allocate", "--budget", budget),
        ("train", "--data", "iphone/", *quick),
        ("merge",),
        ("eval", "--data", "iphone/", "--metrics", "psnr"),
    ):
        result = adaptsr(*words)
        assert result.code == 0, result.err
    assert ("scoring the 2 held-out ones" if large else "scoring 3 images that the run has never seen") in result.err
    before, after = (
        entry["metrics"]["psnr_y_db"] for entry in json.loads(Path("adaptsr-run/eval.json").read_text())["models"]
    )
    assert after > before


def test_adapted_span_is_what_spandrel_makes_of_its_factors_in_both_modes(adaptsr: Command, shared: Path) -> None:
    model = shared / "weights/genuine/SPAN_x4_ch48_from_ncnn_fp16.pth"
    data = shared / "data/real_pairs/iphone"
    words = ("--data", data, "--model", model, "--method", "lora", "--lr", 1e-4, "--iterations", 2, "--batch", 1)
    assert adaptsr("train", *words, "--patch", 64).code == 0
    header, tensors = read_adapter(Path("adaptsr-run/adapter.safetensors"))
    generator = torch.Generator().manual_seed(0)
    moved = {name: tensor + 1e-3 * torch.randn(tensor.shape, generator=generator) for name, tensor in tensors.items()}
    write_adapter(Path("adaptsr-run/adapter.safetensors"), header, moved)
    assert adaptsr("merge").code == 0
    backbone = load_backbone(model)
    image = textured_image(1, 40, 36)
    with torch.no_grad():
        before = super_resolve(backbone, image)
        attach_adapter(backbone, Path("adaptsr-run/adapter.safetensors"))
        expected = super_resolve(backbone, image)
        plain = ModelLoader().load_from_file(Path("adaptsr-run/merged.safetensors")).model
        assert float((expected - before).abs().max()) > 1e-3
        torch.testing.assert_close(plain.eval()(image), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(plain.train()(image), expected, atol=1e-5, rtol=0)
