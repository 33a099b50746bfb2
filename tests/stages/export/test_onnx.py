"""``export --to onnx``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from conftest import Command
from networks import save_tiny

from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.backbones.onnx_model import OnnxModel
from adaptsr_cli.stages.export.formats import FORMATS
from adaptsr_cli.stages.export.options import FormatName

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def trained(adaptsr: Command, pairs: Path) -> Path:
    """A run with a small trained EDSR."""
    model = save_tiny("edsr_pytorch", Path("net.safetensors"))
    train = adaptsr("train", "--data", pairs, "--model", model, "--iterations", 2, "--batch", 2, "--patch", 64)
    assert train.code == 0, train.err
    return Path("adaptsr-run")


def test_onnx_of_a_run_is_proven_and_says_what_it_is(adaptsr: Command, trained: Path) -> None:
    """And beside it the other formats compute the same."""
    export = adaptsr("export", "--to", "onnx", "--output", "out/mine.onnx")
    assert export.code == 0, export.err
    assert "largest difference from adapter + backbone on a probe image" in export.out
    assert "onnxruntime against torch on the CPU, LR of 1x1, 5x3, " in export.out
    assert " MB; an LR image of 128x128 px takes " in export.out
    assert "Warning" not in export.err
    assert [path.name for path in Path("out").iterdir()] == ["mine.onnx"]

    model = OnnxModel(Path("out/mine.onnx"))
    header = MergedHeader.model_validate_json(model.metadata["adaptsr"])
    assert (model.metadata["scale"], model.metadata["architecture"]) == ("4", "EDSR")
    assert model.metadata["backbone_sha256"] == header.backbone.sha256
    assert model.metadata["tool"].startswith("adaptsr ")
    assert adaptsr("merge").code == 0
    image = torch.rand(1, 3, 21, 34)
    with torch.inference_mode():
        expected = super_resolve(load_backbone(trained / "merged.safetensors"), image)
    assert float((model.run(image) - expected).abs().max()) < 1e-4

    info = adaptsr("info", "out/mine.onnx")
    assert info.code == 0
    assert "merged, ONNX" in info.out
    assert "lr (batch, 3, height, width), sr (batch, 3, 4*height, 4*width)" in info.out
    again = adaptsr("export", "--to", "onnx", "--output", "out/mine.onnx", "--json")
    assert "exists already" in again.err


def test_a_merged_model_is_exported_as_it_is(adaptsr: Command, trained: Path) -> None:
    assert adaptsr("merge", "--strength", 0.5, "--output", "half.safetensors").code == 0
    assert adaptsr("merge").code == 0
    for words, file in (((), trained / "merged.safetensors"), (("--model", "half.safetensors"), "half.safetensors")):
        export = adaptsr("export", "--to", "onnx", "--force", "--json", *words)
        assert export.code == 0, export.err
        facts = json.loads(export.out)["onnx"]
        assert facts["max_difference"] < 1e-4
        assert facts["file_bytes"] == (trained / "merged.onnx").stat().st_size
        image = torch.rand(1, 3, 9, 14)
        with torch.inference_mode():
            expected = super_resolve(load_backbone(Path(file)), image)
        assert float((OnnxModel(trained / "merged.onnx").run(image) - expected).abs().max()) < 1e-4
    header = MergedHeader.model_validate_json(OnnxModel(trained / "merged.onnx").metadata["adaptsr"])
    assert header.blend is not None
    assert header.blend.strength == 0.5
    twice = adaptsr("export", "--to", "onnx", "--force", "--model", "half.safetensors", "--adapter",
                    trained / "adapter.safetensors", "--run", "new")  # fmt: skip
    assert twice.code == 1
    assert "holds adaptsr-run/adapter.safetensors already" in twice.err


def test_words_that_export_nothing_are_refused(adaptsr: Command, pairs: Path) -> None:
    for words, code, text in (
        (("export",), 2, "--to is required\nhint: for example --to onnx, or --output model.onnx"),
        (("export", "-o", "a_folder"), 2, "--to is required"),
        (("export", "--to", "gguf"), 2, "--to"),
        (
            ("export", "--to", "onnx", "-o", "x.pth"),
            2,
            "--output x.pth does not end in .onnx\nhint: name a file such as x.onnx",
        ),
        (("export", "--to", "onnx"), 1, "there is no adapter adaptsr-run/adapter.safetensors"),
    ):
        refused = adaptsr(*words)
        assert refused.code == code, refused.err
        assert text in refused.err


def test_every_format_can_be_named() -> None:
    assert set(get_args(FormatName)) == set(FORMATS)


def test_a_file_that_computes_something_else_is_not_written(
    adaptsr: Command, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxModel.run
    monkeypatch.setattr(OnnxModel, "run", lambda self, lr: run(self, lr) + 1.0 * (lr.shape[0] > 1))
    export = adaptsr("export", "--to", "onnx")
    assert export.code == 1
    assert "the ONNX file of this EDSR differs from torch by 1.0e+00" in export.err
    assert not list(trained.glob("*.onnx"))


def test_onnx_file_is_refused_where_weights_are_wanted(adaptsr: Command, pairs: Path) -> None:
    Path("net.onnx").write_bytes(b"anything")
    refused = adaptsr("eval", "--data", pairs, "--model", "net.onnx")
    assert refused.code == 1
    assert "net.onnx is an ONNX file, which other programs run but this one cannot" in refused.err
