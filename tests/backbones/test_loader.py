"""Detection, the checks before the first image, and the way from a parameter to its key in the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import ARCHITECTURES, tiny_state
from networks import save_tiny as save
from spandrel import MAIN_REGISTRY
from spandrel.architectures.DnCNN import DnCNN
from spandrel.architectures.IPT import IPT
from spandrel.architectures.SPAN import SPAN
from torch import Tensor

from adaptsr_cli.backbones.fast.forwards import FusedForward, fuse, published_forwards
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.tensors import weights_sha256, write_pth, write_tensors


@pytest.mark.parametrize(("name", "architecture"), ARCHITECTURES.items())
def test_every_architecture_is_recognised(name: str, architecture: str, tmp_path: Path) -> None:
    backbone = load_backbone(save(name, tmp_path / "tiny.pth"), source="my camera")
    identity = backbone.identity
    assert (identity.architecture, identity.scale, identity.source) == (architecture, 4, "my camera")
    assert identity.sha256 == weights_sha256(tiny_state(name))
    assert identity.params == sum(parameter.numel() for parameter in backbone.model.parameters())
    assert backbone.checkpoint.wrapper == "params"
    assert not backbone.model.training
    assert not [n for n, parameter in backbone.model.named_parameters() if parameter.requires_grad]


def test_warnings_of_the_published_code_do_not_reach_a_python_user(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, warnings, torch\n"
        "from adaptsr_cli.backbones.backbone import super_resolve\n"
        "from adaptsr_cli.backbones.loader import load_backbone\n"
        "with warnings.catch_warnings(record=True) as seen, torch.no_grad():\n"
        "    warnings.simplefilter('always')\n"
        "    super_resolve(load_backbone(pathlib.Path(sys.argv[1])), torch.zeros(1, 3, 40, 24))\n"
        "sys.exit('\\n'.join(str(warning.message) for warning in seen) or None)\n"
    )
    # A process of its own: torch warns once.
    words = [sys.executable, "-c", program, str(save("dat", tmp_path / "dat.pth"))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keys_lead_from_each_tensor_to_its_place_in_the_file(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(save(name, tmp_path / "tiny.safetensors"))
    own = backbone.model.state_dict()
    factors = {key for key in backbone.keys if name.startswith("span") and (".conv." in key or ".sk." in key)}
    assert set(backbone.keys) == {*own, *factors}
    assert len(set(backbone.keys.values())) == len(backbone.keys)
    for tensor_name, key in backbone.keys.items():
        if tensor_name in own and not (factors and ".eval_conv." in tensor_name):  # a product is computed anew
            torch.testing.assert_close(own[tensor_name], backbone.checkpoint.tensors[key], atol=1e-4, rtol=1e-4)
    assert (backbone.keys["model.0.weight"] == "conv_first.weight") if name == "rrdb_new" else True


def test_keys_keep_the_prefix_of_the_file(tmp_path: Path) -> None:
    state = {f"module.{key}": tensor for key, tensor in tiny_state("safmn").items()}
    write_pth(tmp_path / "m.pth", {"params_ema": state})
    backbone = load_backbone(tmp_path / "m.pth")
    assert backbone.identity.architecture == "SAFMN"
    assert backbone.keys["to_feat.weight"] == "module.to_feat.weight"


def test_values_that_occur_twice_under_foreign_names_are_not_guessed(tmp_path: Path) -> None:
    state = tiny_state("rrdb_new")
    state["conv_up1.bias"].zero_()
    state["conv_up2.bias"].zero_()
    write_pth(tmp_path / "m.pth", state)
    keys = load_backbone(tmp_path / "m.pth").keys
    assert "model.3.bias" not in keys
    assert keys["model.3.weight"] == "conv_up1.weight"


def test_half_precision_files_are_computed_in_single(tmp_path: Path) -> None:
    state = {key: tensor.half() for key, tensor in tiny_state("rrdb_new").items()}
    write_tensors(tmp_path / "m.safetensors", state, {})
    backbone = load_backbone(tmp_path / "m.safetensors")
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {torch.float32}
    assert backbone.checkpoint.tensors["conv_first.weight"].dtype == torch.float16
    assert backbone.keys["model.0.weight"] == "conv_first.weight"


@pytest.mark.parametrize("name", ["span", "rrdb_new", "swinir"])
def test_loading_changes_nothing_it_read(name: str, tmp_path: Path) -> None:
    before = len(MAIN_REGISTRY)
    path = save(name, tmp_path / "tiny.safetensors")
    backbone = load_backbone(path)
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            parameter.add_(1)
    assert weights_sha256(backbone.checkpoint.tensors) == weights_sha256(tiny_state(name))
    assert len(MAIN_REGISTRY) == before
    assert "EDSR" not in MAIN_REGISTRY


def refusal(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_backbone(path)
    assert "\n" not in caught.value.message
    return caught.value


def write(state: dict[str, Tensor], folder: Path) -> Path:
    write_pth(folder / "m.pth", state)
    return folder / "m.pth"


def test_an_unknown_file_shows_its_keys(tmp_path: Path) -> None:
    error = refusal(write({"blob.a": torch.ones(2), "blob.b": torch.ones(2)}, tmp_path))
    assert "no known architecture" in error.message
    assert "blob.a, blob.b" in error.message


def test_a_variant_is_called_after_what_it_is_like(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in tiny_state("safmn").items() if ".norm1." not in key}
    error = refusal(write(state, tmp_path))
    assert "SAFMN" in error.message
    assert "feats.0.norm1.weight" in error.message


def test_missing_and_unknown_tensors_are_named(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    del state["feats.1.norm1.weight"]
    state["extra.weight"] = torch.ones(1)
    message = refusal(write(state, tmp_path)).message
    assert "SAFMN" in message
    assert "1 missing (feats.1.norm1.weight)" in message
    assert "1 unknown (extra.weight)" in message


def test_tensors_of_another_shape_are_named(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    state["feats.1.safm.aggr.weight"] = torch.ones(4, 4, 1, 1)
    assert "1 of another shape (feats.1.safm.aggr.weight)" in refusal(write(state, tmp_path)).message


def test_a_file_whose_size_cannot_be_told_is_no_traceback(tmp_path: Path) -> None:
    state = tiny_state("edsr_basicsr")
    state["conv_first.weight"] = torch.ones(8)
    assert "EDSR" in refusal(write(state, tmp_path)).message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    state = tiny_state("safmn")
    state["to_feat.bias"][0] = value
    assert "to_feat.bias" in refusal(write(state, tmp_path)).message


def test_networks_that_restore_are_refused(tmp_path: Path) -> None:
    model = DnCNN(in_nc=3, out_nc=3, nc=8, nb=17, act_mode="R")
    assert "own size" in refusal(write(model.state_dict(), tmp_path)).message


def test_networks_of_other_channels_are_refused(tmp_path: Path) -> None:
    model = SPAN(num_in_ch=1, num_out_ch=1, feature_channels=8, upscale=4)
    assert "1 channels, not RGB" in refusal(write(model.state_dict(), tmp_path)).message


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_a_network_that_needs_a_call_of_its_own_is_refused(tmp_path: Path) -> None:
    """IPT takes 0-255 and a scale index; called like the others it would work, but badly."""
    model = IPT(n_feats=4, patch_size=48, num_heads=2, num_layers=1, scale=[4], rgb_range=255)
    assert "a way of its own" in refusal(write(model.state_dict(), tmp_path)).message


@pytest.mark.parametrize("fault", ["another result", "no result"])
def test_a_network_that_is_not_understood_runs_as_published(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(FusedForward):
        def __call__(self, lr: Tensor) -> Tensor:
            if fault == "no result":
                raise RuntimeError("not made for this")
            return torch.zeros(len(lr), 3, lr.shape[2] * 4, lr.shape[3] * 4)

    path = save("safmn", tmp_path / "net.pth")
    monkeypatch.setattr("adaptsr_cli.backbones.loader.fuse", lambda model: fuse(model, Wrong()))
    model = load_backbone(path).model
    lr = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        found = model(lr)
        assert found.abs().sum() > 0
        with published_forwards(model):
            assert torch.equal(found, model(lr))


def test_published_networks_load(shared: Path) -> None:
    folder = shared / "weights" / "genuine"
    dctlsa = load_backbone(folder / "DCTLSA_x4.pt")
    assert (dctlsa.identity.architecture, dctlsa.scale) == ("DCTLSA", 4)
    safmn = load_backbone(folder / "SAFMN_x2_from_ncnn_fp16.safetensors")
    assert (safmn.identity.architecture, safmn.scale, safmn.identity.params) == ("SAFMN", 2, 227_820)


def test_the_variant_of_safmn_gets_a_clear_line(shared: Path) -> None:
    error = refusal(shared / "weights" / "genuine" / "SAFMN_x4_team15.pth")
    assert "looks like SAFMN, but is a variant with other blocks" in error.message


def test_the_bundled_network_loads() -> None:
    path = Path(__file__).resolve().parents[2] / "weights" / "safmn_x4_bicubic.safetensors"
    identity = load_backbone(path).identity
    assert (identity.architecture, identity.scale, identity.params) == ("SAFMN", 4, 239_520)
