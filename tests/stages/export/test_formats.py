"""``export --to ncnn``, ``openvino``, ``peft``, ``safetensors`` and ``pth``; upscayl; the model card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from networks import NETWORKS, save_tiny
from safetensors.torch import load_file

from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.backbones.onnx_model import OnnxModel
from adaptsr_cli.backbones.openvino_model import OpenVinoModel
from adaptsr_cli.errors import UsageError
from adaptsr_cli.stages.common.merged_model import textured_image
from adaptsr_cli.stages.export.upscayl import upscayl_model

from .conftest import MakeRun


def merged_output(adaptsr: Command, run: Path, image: torch.Tensor) -> torch.Tensor:
    """What the run's merged model makes of an image in torch."""
    merge = adaptsr("merge", "--run", run)
    assert merge.code == 0, merge.err
    with torch.inference_mode():
        return super_resolve(load_backbone(run / "merged.safetensors"), image)


def test_ncnn_for_upscayl_computes_what_the_merged_model_does(adaptsr: Command, make_run: MakeRun) -> None:
    """A network that pools to a share of the image; a graph of layers that ncnn has had for years, in halves."""
    ncnn = pytest.importorskip("ncnn")
    run = make_run("safmn")
    export = adaptsr("export", "--for", "upscayl", "--name", "my camera", "--run", run)
    assert export.code == 0, export.err
    assert "LR of 9x8, 31x47, 48x64 (2 at once), 128x128 px" in export.out
    assert "no multiple of 8 px" in export.out
    assert "tiles of 96 px with a player's 10 px of padding meet within" in export.out
    folder = run / "upscayl/models"
    assert sorted(path.name for path in folder.iterdir()) == ["4x_my_camera.bin", "4x_my_camera.param"]
    graph = (folder / "4x_my_camera.param").read_text()
    assert '"' not in graph  # expressions, which older versions cannot read
    assert graph.splitlines()[2].split()[0] == "Input"
    # Run here by ncnn itself, with nothing of ours.
    image = textured_image(1, 48, 40)
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.load_param(str(folder / "4x_my_camera.param"))
    net.load_model(str(folder / "4x_my_camera.bin"))
    extractor = net.create_extractor()
    pixels = np.ascontiguousarray(image[0].numpy())
    extractor.input("data", ncnn.Mat(pixels).clone())
    _, found = extractor.extract("output")
    expected = merged_output(adaptsr, run, image)
    assert float((torch.from_numpy(np.array(found))[None] - expected).abs().max()) < 0.01
    assert (folder / "4x_my_camera.bin").stat().st_size < (run / "merged.safetensors").stat().st_size


@pytest.mark.parametrize("network", ["edsr_pytorch", "span", "rrdb", "realplksr"])
def test_convolutional_networks_become_ncnn(network: str, adaptsr: Command, make_run: MakeRun) -> None:
    pytest.importorskip("ncnn")
    run = make_run(
        network, noise=1e-4
    )  # a tiny SPAN of random weights is far more sensitive to rounding than a real one
    export = adaptsr("export", "--to", "ncnn", "--no-half", "--run", run, "--json")
    assert export.code == 0, export.err
    proof = json.loads(export.out)["ncnn"]
    assert proof["max_difference"] < 1e-4
    assert proof["probe_difference"] < 1e-4
    assert not any("no multiple of" in remark for remark in proof["remarks"])


def test_a_transformer_is_refused_for_ncnn_with_its_operator(adaptsr: Command, make_run: MakeRun) -> None:
    pytest.importorskip("ncnn")
    run = make_run("swinir")
    export = adaptsr("export", "--to", "ncnn", "--run", run)
    assert export.code == 1
    assert "ncnn" in export.err
    assert "unexpected" not in export.err
    assert not list(run.glob("ncnn/*"))


@pytest.mark.parametrize(
    ("name", "scale", "file"),
    [("camera", 4, "4x_camera"), ("my phone!", 2, "2x_my_phone"), ("X-Pro 2", 3, "3x_X-Pro_2")],
)
def test_names_for_upscayl_tell_the_scale(name: str, scale: int, file: str) -> None:
    assert upscayl_model(Path("run"), name, scale) == Path("run/models") / f"{file}.param"


@pytest.mark.parametrize("name", ["camera_x2", "2x", "real4xcam", "X3-foveon", "", "!!"])
def test_names_that_upscayl_would_misread_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="would read a scale out of"):
        upscayl_model(Path("run"), name, 4)


def test_openvino_of_any_size(adaptsr: Command, make_run: MakeRun) -> None:
    pytest.importorskip("openvino")
    run = make_run("edsr_pytorch")
    export = adaptsr("export", "--to", "openvino", "--run", run, "--json")
    assert export.code == 0, export.err
    proof = json.loads(export.out)["openvino"]
    assert proof["max_difference"] < 2 / 255
    image = textured_image(2, 21, 34)
    found = OpenVinoModel.read(run / "openvino/merged.xml").run(image)
    assert float((found - merged_output(adaptsr, run, image)).abs().max()) < 2 / 255
    assert "backbone_sha256" in (run / "openvino/merged.xml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["edsr_pytorch", "swinir"])
def test_peft_loads_the_adapter_and_gives_the_same_picture(network: str, adaptsr: Command, make_run: MakeRun) -> None:
    """Convolutions, whose factors peft shapes otherwise, and a fused q/k/v projection, which is three sites here."""
    peft = pytest.importorskip("peft")
    run = make_run(network)
    export = adaptsr("export", "--to", "peft", "--run", run)
    assert export.code == 0, export.err
    assert sorted(path.name for path in (run / "peft").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    image = textured_image(1, 24, 24)
    backbone = load_backbone(Path(f"{network}.safetensors"))
    loaded = peft.PeftModel.from_pretrained(backbone.model, str(run / "peft")).eval()
    with torch.inference_mode():
        found = loaded(image)
    assert float((found - merged_output(adaptsr, run, image)).abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("network", ["edsr_pytorch", "swinir"])
def test_training_goes_on_from_what_peft_has(network: str, adaptsr: Command, make_run: MakeRun, pairs: Path) -> None:
    """Of an adapter that peft itself made, on convolutions and on a fused projection."""
    peft = pytest.importorskip("peft")
    backbone = load_backbone(save_tiny(network, Path("net.safetensors")))
    layers = {"edsr_pytorch": "body.0.body.0|head.0", "swinir": r".*(qkv|fc1)"}[network]
    model = peft.get_peft_model(backbone.model, peft.LoraConfig(r=2, target_modules=layers, init_lora_weights=False))
    model.save_pretrained("theirs")
    image = textured_image(1, 24, 24)
    with torch.inference_mode():
        expected = model.eval()(image)
    words = ("train", "--data", pairs, "--model", "net.safetensors", "--run", "on", "--iterations", 1, "--batch", 1,
             "--patch", 64, "--lr", "1e-12", "--from-peft", "theirs")  # fmt: skip
    train = adaptsr(*words)
    assert train.code == 0, train.err
    assert "by peft, written as on/rank_map.json" in train.err
    assert "adapter before this training" in train.err
    assert "what the adapter was trained on is not known" in train.err
    assert "trained on other images" not in train.err
    assert "conv-factorization" not in train.err
    assert adaptsr("merge", "--run", "on").code == 0
    with torch.inference_mode():
        found = super_resolve(load_backbone(Path("on/merged.safetensors")), image)
    assert float((found - expected).abs().max()) < 1e-4
    assert "finished already" in adaptsr(*words).err
    for run in ("adapted", "on"):  # a new one, and the one of `train`
        adapted = adaptsr("adapt", *words[1:5], "--run", run, *words[7:])
        assert adapted.code == 0, adapted.err
        assert (Path(run) / "eval.json").exists()
    for folder, text in (("nowhere", "there is no folder nowhere"), (pairs, "is no adapter of peft")):
        refused = adaptsr(*words[:-1], folder, "--force")
        assert refused.code == 1
        assert text in refused.err


def test_peft_adapts_the_published_network_whose_products_we_adapt(adaptsr: Command, make_run: MakeRun) -> None:
    peft = pytest.importorskip("peft")
    run = make_run("span")
    export = adaptsr("export", "--to", "peft", "--run", run)
    assert export.code == 0, export.err
    network = NETWORKS["span"]().eval()
    network.load_state_dict(load_file("span.safetensors"))
    image = textured_image(1, 24, 20)
    with torch.no_grad():
        before = network(image)
        found = peft.PeftModel.from_pretrained(network, str(run / "peft")).eval()(image)
    expected = merged_output(adaptsr, run, image)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert float((found - before).abs().max()) > 1e-3


@pytest.mark.slow
def test_what_peft_cannot_say_is_refused_by_name(adaptsr: Command, make_run: MakeRun) -> None:
    pytest.importorskip("peft")
    biases = adaptsr("export", "--to", "peft", "--run", make_run("edsr_pytorch", "--method", "bitfit"))
    assert biases.code == 1
    assert "peft's LoRA cannot change" in biases.err
    assert ".bias (Conv2d)" in biases.err


def test_onnx_of_one_size_in_halves(adaptsr: Command, make_run: MakeRun) -> None:
    run = make_run("safmn")
    refused = adaptsr("export", "--to", "onnx", "--tile", 60, "--run", run)
    assert refused.code == 2
    assert "--tile 60 does not fit this SAFMN" in refused.err
    assert "use --tile 64" in refused.err
    export = adaptsr("export", "--to", "onnx", "--tile", 64, "--half", "--run", run)
    assert export.code == 0, export.err
    model = OnnxModel(run / "merged_4x_64px_fp16_opset18.onnx")
    assert model.describe_shapes() == "lr (1, 3, 64, 64), sr (1, 3, 256, 256)"
    assert (model.metadata["tile_px"], model.metadata["scale"]) == ("64", "4")
    image = textured_image(1, 64, 64)
    assert float((model.run(image) - merged_output(adaptsr, run, image)).abs().max()) < 2 / 255


def test_the_files_that_merge_writes_and_a_card(adaptsr: Command, make_run: MakeRun) -> None:
    run = make_run("edsr_pytorch")
    for ending in ("pth", "safetensors"):
        export = adaptsr("export", "--to", ending, "--run", run, "-o", f"out.{ending}", "--card", "--licence", "MIT",
                         "--force")  # fmt: skip
        assert export.code == 0, export.err
    image = textured_image(1, 19, 16)
    expected = merged_output(adaptsr, run, image)
    for ending in ("pth", "safetensors"):
        with torch.inference_mode():
            assert torch.equal(super_resolve(load_backbone(Path(f"out.{ending}")), image), expected)
    assert adaptsr("merge", "--run", run, "--output", "merged.safetensors").code == 0
    card = Path("out.md").read_text(encoding="utf-8")
    for fact in ("license: MIT", "EDSR x4", "images to train on", "spandrel", "largest difference from the adapted"):
        assert fact in card
    assert str(Path.cwd()) not in card
    again = adaptsr("export", "--run", run, "-o", "other.pth", "--card", "--json")  # the name tells
    assert again.code == 0, again.err
    assert json.loads(again.out)["format"] == "pth"
    assert "licence of the backbone: not stated" in Path("other.md").read_text(encoding="utf-8")
    twice = adaptsr("export", "--to", "safetensors", "--run", run, "-o", "other.safetensors", "--card")
    assert twice.code == 1
    assert "other.md exists already (model card)" in twice.err
    assert "hint: replace it with --force, or use another --output" in twice.err
    there = adaptsr("export", "--to", "safetensors", "--run", run, "--force")
    assert there.code == 1
    assert "merged.safetensors is of this format already" in there.err
    assert adaptsr("export", "--to", "safetensors", "--run", run, "-o", "copy.safetensors").code == 0
    two = adaptsr("export", "--adapter", "a.safetensors", "--adapter", "b.safetensors", "--to", "pth")
    assert two.code == 2
    assert "--adapter is given 2 times, and this command takes one" in two.err


def test_options_that_a_format_does_not_have_are_refused(adaptsr: Command, pairs: Path) -> None:
    for words, text in (
        (("--to", "pth", "--half"), "--half is not for --to pth"),
        (("--to", "ncnn", "--tile", 64), "--tile is not for --to ncnn"),
        (("--to", "onnx", "--for", "upscayl"), "upscayl takes ncnn models, not onnx"),
        (("--to", "ncnn", "--name", "x"), "--name is for --for alone"),
        (("--to", "onnx", "--for", "topaz"), "--for"),
    ):
        refused = adaptsr("export", *words)
        assert refused.code == 2, refused.err
        assert text in refused.err
