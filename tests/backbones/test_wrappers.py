"""Networks as trainers store them: every wrapper gives the same tensors, and what was left out is said."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import tiny_state
from torch import Tensor

from adaptsr_cli.backbones.candidates import find_candidates
from adaptsr_cli.backbones.detection import Detector
from adaptsr_cli.backbones.edsr import BasicsrEDSR
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.checkpoints import read_checkpoint_file
from adaptsr_cli.io.tensors import weights_sha256, write_pth, write_tensors

State = dict[str, Tensor]
NETWORKS = ("edsr_basicsr", "safmn", "swinir", "hat", "dat", "span", "rrdb_new", "rrdb")
LIGHTNING: dict[str, Any] = {
    "epoch": 3,
    "global_step": 12,
    "pytorch-lightning_version": "2.5.0",
    "callbacks": {"EMA": {"decay": 0.99}},
    "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
    "hyper_parameters": argparse.Namespace(lr=1e-4),
}
JUDGE = {"features.0.weight": torch.ones(4, 3, 3, 3), "features.0.bias": torch.ones(4)}


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def other(state: Mapping[str, Tensor]) -> State:
    """The same network with other weights: what must not be taken."""
    return {key: tensor + 1 if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def compiled(state: Mapping[str, Tensor]) -> State:
    """As of a network of which parts were compiled: the insertion after the first part of each name."""
    return {key.replace(".", "._orig_mod.", 1): tensor for key, tensor in state.items()}


def counted(state: Mapping[str, Tensor]) -> State:
    places = {key.rpartition(".")[0] for key in state}
    counts = {f"{place}.{name}": torch.zeros(1) for place in places for name in ("total_ops", "total_params")}
    return {**state, **counts, "total_ops": torch.zeros(1)}


WRAPPERS: dict[str, Callable[[State], dict[str, Any]]] = {
    "raw": lambda s: s,
    "basicsr": lambda s: {"params": other(s), "params_ema": s},
    "data_parallel": lambda s: {"params": prefixed("module.", s)},
    "compiled": lambda s: prefixed("_orig_mod.module.", s),
    "compiled_parts": compiled,
    "lightning_model": lambda s: LIGHTNING | {"state_dict": prefixed("model.", s)},
    "lightning_net_and_loss": lambda s: LIGHTNING | {"state_dict": prefixed("net.", s) | prefixed("loss.vgg.", JUDGE)},
    "lightning_gan": lambda s: LIGHTNING | {"state_dict": prefixed("netG.", s) | prefixed("netD.", JUDGE)},
    "lightning_own_name": lambda s: LIGHTNING | {"state_dict": prefixed("upscaler.", s) | prefixed("lpips.", JUDGE)},
    "lightning_is_network": lambda s: LIGHTNING | {"state_dict": s | prefixed("perceptual_loss.", JUDGE)},
    "lightning_ema": lambda s: LIGHTNING | {"state_dict": prefixed("model.", other(s)) | prefixed("ema_model.", s)},
    "mmagic": lambda s: {
        "meta": {"epoch": 1},
        "state_dict": prefixed("generator.", s)
        | prefixed("discriminator.", JUDGE)
        | {"step_counter": torch.tensor(7), "data_preprocessor.mean": torch.zeros(3)},
        "optimizer": {"generator": {"state": {}, "param_groups": []}},
    },
    "averaged_model": lambda s: {"n_averaged": torch.tensor(5), **prefixed("module.", s)},
    "ema_pytorch": lambda s: {
        **prefixed("online_model.", other(s)),
        **prefixed("ema_model.", s),
        "initted": torch.tensor(True),
        "step": torch.tensor(9),
    },
    "shadow": lambda s: {"model": other(s), "ema": {"decay": 0.999, "shadow": s}},
    "gan_mappings": lambda s: {"netG": s, "netD": JUDGE, "netF": prefixed("vgg.", JUDGE), "optG": {"state": {}}},
    "generator_and_average": lambda s: {"g": other(s), "d": JUDGE, "g_ema": s},
    "thop": lambda s: {"state_dict": counted(s)},
    "deepspeed": lambda s: {"module": s, "param_shapes": [{"a": torch.Size([3])}], "ds_version": "0.15", "lr": 1e-4},
    "fsdp": lambda s: {"model": prefixed("_fsdp_wrapped_module.module._checkpoint_wrapped_module.", s), "step": 3},
    "unknown_names": lambda s: {"what": {"ever": prefixed("my_sr.", s)}},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_wrapper_gives_the_same_tensors(name: str, tmp_path: Path) -> None:
    state = tiny_state(name)
    architecture = Detector().detect(state)
    for wrapper, wrap in WRAPPERS.items():
        torch.save(wrap(dict(state)), tmp_path / "m.pth")
        found = find_candidates(read_checkpoint_file(tmp_path / "m.pth"), Detector().detect)[0]
        assert found.architecture == architecture, wrapper
        tensors = {key: tensor for key, tensor in found.tensors.items() if not key.startswith("perceptual_loss.")}
        assert list(tensors) == list(state), wrapper
        assert all(torch.equal(tensor, state[key]) for key, tensor in tensors.items()), wrapper


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_wrapped_network_loads(wrapper: str, tmp_path: Path) -> None:
    state = tiny_state("safmn")
    found = load(tmp_path, WRAPPERS[wrapper](dict(state)))
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.model.state_dict().items())
    assert set(found.keys) == set(state)
    assert all(torch.equal(found.checkpoint.tensors[key], state[name]) for name, key in found.keys.items())


def load(tmp_path: Path, content: dict[str, Any], **options: Any) -> Any:
    torch.save(content, tmp_path / "m.pth")
    return load_backbone(tmp_path / "m.pth", options=options)


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    left_out = load(tmp_path, WRAPPERS["lightning_net_and_loss"](state)).checkpoint.left_out
    assert left_out == ("loss (2 tensors)", "the state of the optimizer", "settings (argparse.Namespace)")
    left_out = load(tmp_path, WRAPPERS["thop"](state)).checkpoint.left_out
    assert len(left_out) == 1
    assert "counters of a profiler" in left_out[0]
    assert load(tmp_path, WRAPPERS["averaged_model"](state)).checkpoint.left_out == ("n_averaged",)
    assert load(tmp_path, {"params_ema": state}).checkpoint.left_out == ()


def test_counters_stay_in_the_file_and_other_networks_do_not(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    assert set(load(tmp_path, counted(state)).checkpoint.tensors) == set(counted(state))
    tensors = load(tmp_path, WRAPPERS["lightning_gan"](state)).checkpoint.tensors
    assert set(tensors) == set(prefixed("netG.", state))


def test_one_of_several_networks_is_asked_for_by_name(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    content = {"netG_A": state, "netG_B": other(state), "netD": JUDGE}
    with pytest.raises(CheckpointError, match=r"2 networks.*netG_A \(SAFMN\), netG_B \(SAFMN\)") as caught:
        load(tmp_path, content)
    assert "`model_options` network=netG_A" in caught.value.hint
    backbone = load(tmp_path, content, network="netG_B")
    assert torch.equal(backbone.model.state_dict()["to_feat.bias"], state["to_feat.bias"] + 1)
    assert backbone.identity.options == {"network": "netG_B"}
    with pytest.raises(CheckpointError, match="no network 'netC'") as caught:
        load(tmp_path, content, network="netC")
    assert "netG_A" in caught.value.hint


def test_the_last_iterate_can_be_had_by_name(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    backbone = load(tmp_path, {"params": other(state), "params_ema": state}, network="params")
    assert torch.equal(backbone.model.state_dict()["to_feat.bias"], state["to_feat.bias"] + 1)


def test_a_part_of_an_unknown_network_is_not_taken_for_a_network(tmp_path: Path) -> None:
    content = prefixed("stage_one.", tiny_state("safmn")) | {"stage_two.conv.weight": torch.ones(3, 3, 3, 3)}
    with pytest.raises(CheckpointError, match="no known architecture"):
        load(tmp_path, content)


def test_an_extra_layer_of_the_network_is_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"1 unknown \(refine.weight\)"):
        load(tmp_path, tiny_state("safmn") | {"refine.weight": torch.ones(3, 3, 3, 3)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, "state of an optimizer"),
        ({"shadow_params": [torch.ones(2)], "decay": 0.9}, "bare list"),
        ({"netD": JUDGE, "epoch": 3}, r"no known architecture.*it holds netD \(2 tensors\)"),
        ({"layers.0.lora_A.weight": torch.ones(2), "layers.0.lora_B.weight": torch.ones(2)}, "low-rank factors"),
    ],
)
def test_what_cannot_be_read_says_what_was_found(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path, content)


def shards(folder: Path, state: State, suffix: str) -> list[Path]:
    """Stores a network in two files with an index, as Hugging Face does."""
    names = [f"model-0000{place}-of-00002{suffix}" for place in (1, 2)]
    keys = list(state)
    halves = [keys[: len(keys) // 2], keys[len(keys) // 2 :]]
    for name, half in zip(names, halves, strict=True):
        part = {key: state[key] for key in half}
        write_tensors(folder / name, part, {"format": "pt"}) if suffix == ".safetensors" else write_pth(
            folder / name, part
        )
    places = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": places})
    (folder / f"model{suffix}.index.json").write_text(text)
    return [folder / name for name in names]


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_sharded_models_are_read_by_index_shard_or_folder(tmp_path: Path, suffix: str) -> None:
    state = tiny_state("safmn")
    first, second = shards(tmp_path, state, suffix)
    index = tmp_path / f"model{suffix}.index.json"
    for path in (index, first, tmp_path):
        assert weights_sha256(load_backbone(path).checkpoint.tensors) == weights_sha256(state)
    index.unlink()
    assert weights_sha256(load_backbone(second).checkpoint.tensors) == weights_sha256(state)
    second.unlink()
    with pytest.raises(CheckpointError, match=f"{second.name} is not there"):
        load_backbone(first)


def test_an_index_must_hold_what_it_says(tmp_path: Path) -> None:
    shards(tmp_path, tiny_state("safmn"), ".safetensors")
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["gone.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"lack 1 tensors of its index: gone.weight"):
        load_backbone(index)
    content["weight_map"]["gone.weight"] = "../evil.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="outside of its folder"):
        load_backbone(index)
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="no index"):
        load_backbone(index)


def test_folders_of_trainers_are_read(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    accelerate = tmp_path / "checkpoint_3"
    accelerate.mkdir()
    write_tensors(accelerate / "model.safetensors", state, {})
    write_tensors(accelerate / "model_1.safetensors", JUDGE, {})
    write_pth(accelerate / "optimizer.bin", {"state": {}, "param_groups": []})
    (accelerate / "random_states_0.pkl").write_bytes(b"x")
    backbone = load_backbone(accelerate)
    assert backbone.identity.source == "checkpoint_3"
    assert backbone.checkpoint.left_out == ("model_1 (2 tensors)",)
    deepspeed = tmp_path / "deepspeed"
    (deepspeed / "global_step5").mkdir(parents=True)
    (deepspeed / "latest").write_text("global_step5")
    write_pth(deepspeed / "global_step5" / "mp_rank_00_model_states.pt", WRAPPERS["deepspeed"](state))
    assert load_backbone(deepspeed).identity.architecture == "SAFMN"


def test_folders_that_hold_no_one_model_say_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it holds nothing"):
        load_backbone(tmp_path)
    (tmp_path / ".metadata").write_bytes(b"x")
    (tmp_path / "__0_0.distcp").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="distributed checkpoint"):
        load_backbone(tmp_path)
    for name in ("a.pth", "b.pth"):
        write_pth(tmp_path / name, JUDGE)
    with pytest.raises(CheckpointError, match="2 model files") as caught:
        load_backbone(tmp_path)
    assert "a.pth, b.pth" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("net_d_latest.pth", {"params": {"conv0.weight": torch.ones(2)}}, "seems to hold a discriminator", "net_g"),
        ("m.pth", {"conv1.weight_orig": torch.ones(2)}, "seems to hold a discriminator", "net_g"),
        (
            "9.pth",
            {"epoch": 1, "iter": 9, "optimizers": []},
            r"state of a training \(epoch, iter",
            "net_g",
        ),
    ],
)
def test_what_trainers_write_beside_the_network_is_called_so(
    name: str, content: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / name)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_backbone(tmp_path / name)
    assert hint in caught.value.hint


def test_the_averages_of_mmcv_are_left_out_as_one(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    averages = {"ema_generator_" + key.replace(".", "_"): tensor for key, tensor in state.items()}
    left_out = load(tmp_path, {"state_dict": prefixed("generator.", state) | averages}).checkpoint.left_out
    assert left_out == (f"ema_... ({len(state)} tensors)",)


def test_edsr_of_mmagic_takes_white_as_one(tmp_path: Path) -> None:
    model = BasicsrEDSR(scale=4, width=8, blocks=2, kernel_size=3, residual_scale=1.0, pixel_range=1.0)
    state = {
        re.sub(r"^upsample\.(\d)\.", lambda found: f"upsample.{int(found[1]) // 2}.upsample_conv.", key): tensor
        for key, tensor in model.state_dict().items()
    }
    found = load(tmp_path, {"meta": {}, "state_dict": prefixed("generator.", state)})
    lr = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(found.model(lr), model(lr))
    assert found.keys["upsample.2.bias"] == "generator.upsample.1.upsample_conv.bias"


def test_averages_of_lightnings_callbacks_are_taken_by_name_only(tmp_path: Path) -> None:
    state = tiny_state("safmn")
    callbacks = {
        "ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(1.0)},
        "StochasticWeightAveraging": {"average_model_state": prefixed("net.", other(state))},
    }
    content = LIGHTNING | {"callbacks": callbacks, "state_dict": prefixed("net.", state)}
    found = load(tmp_path, content)
    assert torch.equal(found.model.state_dict()["to_feat.bias"], state["to_feat.bias"])
    average = "callbacks.StochasticWeightAveraging.average_model_state"
    assert found.checkpoint.left_out[0] == f"{average} ({len(state)} tensors)"
    assert not any("ModelCheckpoint" in part for part in found.checkpoint.left_out)
    found = load(tmp_path, content, network="average_model_state")
    assert torch.equal(found.model.state_dict()["to_feat.bias"], state["to_feat.bias"] + 1)
