"""One declaration of the options of training: Python, TOML and what they resolve to."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import parse_document, read_toml, write_toml
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.common.data_options import pick
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.train.options import TrainOptions, resolve_config, resolved_options


def test_python_names_plain_values() -> None:
    options = TrainOptions(data="iphone/", run="runs/a")
    assert options.data == ("iphone/",)
    assert options.images.folders[0].path == Path("iphone")
    assert options.run_folder.adapter == Path("runs/a/adapter.safetensors")
    assert options.given() == {"data": ("iphone/",), "run": Path("runs/a")}
    with pytest.raises(UsageError, match="`lr_dir` without `hr_dir`"):
        _ = TrainOptions(lr_dir="small").images


def test_a_legal_zero_is_a_zero() -> None:
    below = TrainOptions(seed=5, lora_plus=4.0).given()
    options = TrainOptions.of(TrainOptions.layer(below, {"seed": 0, "lora_plus": 1.0}))
    assert (options.seed, options.lora_plus) == (0, 1.0)
    assert "cache_ram" not in options.given()


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("iterations", 0), ("learning_rate", 0.0), ("ema", 1.0), ("preset", "slow"), ("batch", "many")],
)
def test_a_value_out_of_range_is_named_by_its_field(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"`{name}` is"):
        TrainOptions.of({name: value})


def test_images_are_named_in_one_way_whichever_layer_names_them() -> None:
    below = {"data": ("a",), "align": "shift", "seed": 1}
    assert TrainOptions.layer(below, {"list_file": Path("x.txt")}) == {
        "align": "shift",
        "seed": 1,
        "list_file": Path("x.txt"),
    }


def test_what_is_resolved_reads_back_as_the_same_configuration(tmp_path: Path) -> None:
    options = TrainOptions(data=str(tmp_path), method="shira", lora_plus=1, ema=0.5, degrade="phone", seed=0)
    config = resolve_config(options, patch_px=64, precision="fp32")
    assert (config.iterations, config.val_freq, config.learning_rate) == (300, 30, pytest.approx(6e-3))
    path = tmp_path / "config.toml"
    write_toml(path, resolved_options(options.images, config, {"val": None, "rank_map": Path("r.json")}), "made")
    again = read_toml(path, TrainOptions)
    assert resolve_config(again, patch_px=64, precision="fp32") == config
    assert again.rank_map == Path("r.json").resolve()
    assert not {"run", "force", "device", "weights_dir"} & again.given().keys()
    assert read_toml(path, AdaptOptions).learning_rate == config.learning_rate


def test_a_file_is_named_whoever_refuses_its_value(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    for line, said in (
        ('budget = "lots"', "budget 'lots' is not a number"),
        ('learning_rate = "x"', "auto, or a number"),
    ):
        path.write_text(line)
        with pytest.raises(ArtifactError, match=rf"wrong\.toml: .*{said}"):
            read_toml(path, AdaptOptions)


def test_options_of_one_stage_are_taken_over_by_another() -> None:
    options = AdaptOptions(data="iphone", seed=3, batch=4, ema=0.9, budget="5%")
    scoring = pick(ScoreOptions, options, batches=7)
    assert (scoring.data, scoring.seed, scoring.batch, scoring.batches) == (("iphone",), 3, 4, 7)


def test_files_of_older_versions_are_read() -> None:
    config = resolve_config(TrainOptions(method="lora"), patch_px=64, precision="fp32")
    old = config.model_dump_json().replace("learning_rate", "lr").replace("lora_scaling", "scale")
    assert '"lr"' in old
    assert parse_document(old, TrainConfig, "state") == config
    assert parse_document('{"iteration": 1, "lr": 0.5}', LogRow, "log").learning_rate == 0.5
