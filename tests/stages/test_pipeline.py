"""The stages one after another, through the command line, on small images."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, write_pairs
from networks import NETWORKS, save_tiny
from safetensors import safe_open
from spandrel import ModelLoader

from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.stages.common.adapter_file import attach_adapter, read_adapter
from adaptsr_cli.stages.score.stage import score_backbone

QUICK = ("--iterations", 12, "--batch", 2, "--patch", 64, "--lr", 0.01, "--method", "lora")


def test_plain_calls_work_one_after_another(adaptsr: Command, pairs: Path) -> None:
    """Each stage with no path but the data, with the embedded backbone."""
    score = adaptsr("score", "--data", pairs, "--batches", 3, "--patch", 64)
    assert score.code == 0, score.err
    run = Path("adaptsr-run")
    saliency = read_document(run / "saliency.json", Saliency)
    assert saliency.batches == 3
    assert "rank correlation between batches" in score.out

    assert adaptsr("allocate", "--budget", "15k").code == 0
    rank_map = read_document(run / "rank_map.json", RankMap)
    assert rank_map.budget_params == 15_000
    assert rank_map.total_params == sum(site.params for site in rank_map.sites) <= 15_000

    train = adaptsr("train", "--data", pairs, *QUICK)
    assert train.code == 0, train.err
    header, tensors = read_adapter(run / "adapter.safetensors")
    planned = {site.name: site.rank for site in rank_map.sites if site.rank}
    assert {site.name: site.rank for site in header.sites} == planned  # R5: trained ranks equal the plan
    assert sum(tensor.numel() for tensor in tensors.values()) == rank_map.total_params
    for name in ("log.jsonl", "curves.png", "config.toml", "card.json", "split.json", "state.safetensors"):
        assert (run / "training" / name).stat().st_size > 0

    assert adaptsr("merge").code == 0
    evaluation = adaptsr("eval", "--data", pairs, "--metrics", "psnr,ssim")
    assert evaluation.code == 0, evaluation.err
    assert "held-out" in evaluation.err
    scores = read_document(run / "eval.json", Evaluation)
    assert [model.name for model in scores.models] == ["backbone", "merged"]
    before, after = (model.metrics["psnr_y_db"] for model in scores.models)
    assert after > before
    split = read_document(run / "training" / "split.json", SplitRecord)
    assert {image.name for image in scores.images} == {item.name for item in split.held_out}
    assert (run / "comparison.png").stat().st_size > 0

    upscale = adaptsr("upscale", pairs / "lr" / "000.png")
    assert upscale.code == 0, upscale.err
    assert read_rgb(pairs / "lr" / "000_x4.png").shape == (96, 96, 3)
    assert "1 ok, 0 failed, 0 skipped" in upscale.out


def test_adapt_does_it_all_and_goes_on_where_it_stopped(adaptsr: Command, pairs: Path) -> None:
    words = ("adapt", "--data", pairs, "--budget", "15k", "--metrics", "psnr", *QUICK)
    first = adaptsr(*words)
    assert first.code == 0, first.err
    run = Path("adaptsr-run")
    for name in (
        "saliency.json",
        "rank_map.json",
        "rank_map.png",
        "adapter.safetensors",
        "merged.safetensors",
        "eval.json",
        "comparison.png",
        "report.html",
    ):
        assert (run / name).stat().st_size > 0
    assert len(list((run / "upscaled").glob("*_x4.png"))) == 1
    again = adaptsr(*words)
    assert again.code == 0, again.err
    assert "finished already" in again.err
    other = adaptsr("adapt", "--data", pairs, "--budget", "12k", *QUICK)
    assert other.code == 1
    assert "made for --budget 15k, not 12k" in other.err


def test_train_alone_scores_and_allocates_first_and_says_so(
    adaptsr: Command, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaptsr_cli.stages.train.rank_plan.score_backbone", score_backbone)  # not `score_little`
    train = adaptsr("train", "--data", pairs, *QUICK)
    assert train.code == 0, train.err
    assert "scoring first" in train.err
    assert "allocating 8%" in train.err
    saliency = read_document(Path("adaptsr-run/saliency.json"), Saliency)
    assert (saliency.batches, saliency.batch) == (8, 8)
    rank_map = read_document(Path("adaptsr-run/rank_map.json"), RankMap)
    assert rank_map.budget_params == int(0.08 * rank_map.backbone.params)


def test_photos_without_pairs_are_degraded(adaptsr: Command, pairs: Path) -> None:
    shutil.rmtree(pairs / "lr")
    train = adaptsr("train", "--data", pairs / "hr", "--degrade", "phone", *QUICK)
    assert train.code == 0, train.err
    assert "made by degradation" in train.err


def test_json_prints_one_object(adaptsr: Command, pairs: Path) -> None:
    adaptsr("score", "--data", pairs, "--batches", 1, "--patch", 64)
    result = adaptsr("allocate", "--budget", "15k", "--json")
    assert json.loads(result.out)["budget_params"] == 15_000


MERGED = (
    "edsr_pytorch",
    "edsr_basicsr",
    "safmn",
    "swinir",
    "drct",
    "hat",
    "dat",
    "span",
    "realplksr",
    "rrdb",
    "rrdb_new",
)


# Reading and writing `.pth` knows no architecture: two of them are enough, one with keys of an older release.
@pytest.mark.parametrize(
    ("name", "format"), [*((name, "safetensors") for name in MERGED), ("safmn", "pth"), ("rrdb_new", "pth")]
)
def test_merged_file_is_the_backbones_file_with_other_values(
    name: str, format: str, adaptsr: Command, pairs: Path
) -> None:
    """Same keys, shapes, dtypes and order; same image as adapter + backbone; loads anywhere (R2, R3, R35)."""
    file = save_tiny(name, Path(f"net.{format}"))
    train = adaptsr("train", "--data", pairs, "--model", file, "--iterations", 3, "--batch", 2, "--patch", 64)
    assert train.code == 0, train.err
    run = Path("adaptsr-run")
    merge = adaptsr("merge", "--format", format)
    assert merge.code == 0, merge.err
    merged_file = run / f"merged.{format}"
    backbone, merged = load_backbone(file), load_backbone(merged_file)
    theirs, ours = backbone.checkpoint.tensors, merged.checkpoint.tensors
    assert {k: (v.shape, v.dtype) for k, v in ours.items()} == {k: (v.shape, v.dtype) for k, v in theirs.items()}
    assert list(ours) == list(theirs)
    # What others' programs do with it: spandrel by itself, and the authors' network by name.
    if not name.startswith("edsr"):  # which spandrel lacks
        assert ModelLoader().load_from_file(merged_file).scale == backbone.scale
    if name != "rrdb_new":  # the first release's keys, which the network here has
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")  # in spandrel's code
            NETWORKS[name]().load_state_dict(ours, strict=True)
    assert (merged.checkpoint.wrapper or "raw") == ("params" if format == "pth" else "raw")

    header, _ = read_adapter(run / "adapter.safetensors")
    adapted = {site.name.split("#")[0] for site in header.sites}
    changed = {key for key in theirs if not torch.equal(theirs[key], ours[key])}
    allowed = {backbone.keys[f"{module}.weight"] for module in adapted}
    if name == "span":  # the factors of an adapted product, of which the outer two stay
        parts = {key.rpartition("eval_conv")[0] for key in allowed if "eval_conv" in key}
        ends = ("eval_conv.weight", "eval_conv.bias", "conv.1.weight", "conv.2.bias")
        allowed |= {part + end for part in parts for end in ends}
    assert changed <= allowed

    image = torch.rand(1, 3, 24, 24)
    attach_adapter(backbone, run / "adapter.safetensors")
    with torch.inference_mode():
        attached = super_resolve(backbone, image)
        difference = (super_resolve(merged, image) - attached).abs().max()
    assert difference <= 1e-6 * max(1.0, float(attached.abs().max()))


def test_merging_is_explicit_and_never_twice(adaptsr: Command, pairs: Path) -> None:
    adaptsr("train", "--data", pairs, *QUICK)
    assert adaptsr("merge").code == 0
    before = Path("adaptsr-run/merged.safetensors").read_bytes()
    again = adaptsr("merge")
    assert again.code == 1
    assert "exists already" in again.err
    assert Path("adaptsr-run/merged.safetensors").read_bytes() == before
    into_itself = adaptsr(
        "merge",
        "--adapter",
        "adaptsr-run/adapter.safetensors",
        "--model",
        "adaptsr-run/merged.safetensors",
        "--run",
        "elsewhere",
    )
    assert into_itself.code == 1
    assert "holds adaptsr-run/adapter.safetensors already" in into_itself.err
    assert not list(Path("adaptsr-run").glob(".unproven*"))


def test_adapter_of_another_backbone_is_refused_naming_both(adaptsr: Command, pairs: Path) -> None:
    adaptsr("train", "--data", pairs, *QUICK)
    other = save_tiny("safmn", Path("other.safetensors"))
    merge = adaptsr("merge", "--adapter", "adaptsr-run/adapter.safetensors", "--model", other, "--run", "new")
    assert merge.code == 1
    assert "adapter.safetensors was made for safmn_x4_bicubic.safetensors" in merge.err
    assert "other.safetensors" in merge.err
    train = adaptsr("train", "--data", pairs, "--model", other, *QUICK)
    assert train.code == 1
    assert "adaptsr-run" in train.err
    assert "other.safetensors" in train.err


def test_rank_map_with_a_wrong_name_gets_the_nearest(adaptsr: Command, pairs: Path) -> None:
    adaptsr("score", "--data", pairs, "--batches", 1, "--patch", 64)
    adaptsr("allocate", "--budget", "15k")
    path = Path("adaptsr-run/rank_map.json")
    path.write_text(path.read_text().replace('"feats.0.safm.aggr"', '"feats.0.safm.agr"'))
    train = adaptsr("train", "--data", pairs, *QUICK)
    assert train.code == 1
    assert "feats.0.safm.agr" in train.err
    assert "did you mean feats.0.safm.aggr" in train.err


def test_second_run_of_the_same_command_gives_the_same_adapter(adaptsr: Command, pairs: Path) -> None:
    for run in ("one", "two"):
        assert adaptsr("train", "--data", pairs, "--run", run, *QUICK).code == 0
    assert Path("one/adapter.safetensors").read_bytes() == Path("two/adapter.safetensors").read_bytes()
    assert Path("one/training/log.jsonl").read_bytes() == Path("two/training/log.jsonl").read_bytes()


def test_refused_training_leaves_the_run_as_it_is(adaptsr: Command, pairs: Path, tmp_path: Path) -> None:
    """Above all the split: a run must never forget what it was trained on."""
    assert adaptsr("train", "--data", pairs, *QUICK).code == 0
    before = {path: path.read_bytes() for path in Path("adaptsr-run").rglob("*") if path.is_file()}
    others = write_pairs(tmp_path / "others", count=4, side_px=100)
    refused = adaptsr("train", "--data", others, *QUICK)
    assert refused.code == 1
    assert "the training images are others" in refused.err
    refused = adaptsr("train", "--data", pairs, *QUICK, "--seed", 4)
    assert refused.code == 1
    assert "seed was 0, now 4" in refused.err
    assert {path: path.read_bytes() for path in Path("adaptsr-run").rglob("*") if path.is_file()} == before
    assert adaptsr("train", "--data", others, *QUICK, "--force").code == 0


def test_run_that_was_killed_at_once_starts_again(adaptsr: Command, pairs: Path) -> None:
    assert adaptsr("train", "--data", pairs, "--minutes", 0.01, *QUICK).code == 0
    Path("adaptsr-run/adapter.safetensors").unlink()
    state = Path("adaptsr-run/training/state.safetensors")
    state.unlink()
    again = adaptsr("train", "--data", pairs, *QUICK)
    assert again.code == 0, again.err
    assert Path("adaptsr-run/adapter.safetensors").exists()


def test_info_knows_every_artifact(adaptsr: Command, pairs: Path) -> None:
    adaptsr("adapt", "--data", pairs, "--metrics", "psnr", *QUICK)
    run = Path("adaptsr-run")
    expected = {
        "run.json": "run",
        "saliency.json": "saliency",
        "rank_map.json": "rank map",
        "adapter.safetensors": "adapter",
        "merged.safetensors": "merged",
        "eval.json": "eval",
        "training/split.json": "split",
        "training/card.json": "card",
        "training/config.toml": "options of train",
        "training/state.safetensors": "training state",
    }
    for name, kind in expected.items():
        result = adaptsr("info", run / name, "--json")
        assert result.code == 0, result.err
        assert json.loads(result.out)["files"][0]["kind"] == kind
    with safe_open(run / "adapter.safetensors", framework="pt") as file:
        header = AdapterHeader.model_validate_json(file.metadata()["adaptsr"])
    assert header.backbone.architecture == "SAFMN"


def test_eval_compares_any_models_and_folders_of_images(adaptsr: Command, pairs: Path) -> None:
    other = save_tiny("safmn", Path("other.safetensors"))
    result = adaptsr(
        "eval", "--data", pairs, "--model", other, "--sr", f"perfect={pairs / 'hr'}", "--metrics", "psnr", "--json"
    )
    assert result.code == 0, result.err
    models = json.loads(result.out)["models"]
    assert [model["name"] for model in models] == ["other", "perfect"]
    assert models[1]["metrics"]["psnr_y_db"] == 100.0
    assert np.isfinite(models[0]["metrics"]["psnr_y_db"])


def test_another_evaluation_is_not_replaced_silently(adaptsr: Command, pairs: Path) -> None:
    words = ("eval", "--data", pairs, "--metrics", "psnr")
    assert adaptsr(*words).code == 0
    before = Path("adaptsr-run/eval.json").read_bytes()
    assert adaptsr(*words).code == 0
    assert Path("adaptsr-run/eval.json").read_bytes() == before  # the same command gives the same file
    save_tiny("safmn", Path("other.safetensors"))
    assert adaptsr(*words, "--model", "other.safetensors").code == 0
    assert Path("adaptsr-run/eval.json").read_bytes() == before
    [beside] = Path("adaptsr-run").glob("eval-*.json")
    assert [model.name for model in read_document(beside, Evaluation).models] == ["other"]
    save_tiny("realplksr", Path("other.safetensors"))
    changed = adaptsr(*words, "--model", "other.safetensors")
    assert changed.code == 1
    assert "holds another evaluation (other on" in changed.err
    assert "of other weights" in changed.err
    assert adaptsr(*words, "--model", "other.safetensors", "--force").code == 0
    assert Path("adaptsr-run/eval.json").read_bytes() == before


def test_missing_lpips_weights_skip_only_lpips(adaptsr: Command, pairs: Path) -> None:
    result = adaptsr("eval", "--data", pairs)
    assert result.code == 0
    assert "skipped: put file squeezenet1_1-b8a52dc0.pth" in result.err
    assert "ssim_y" in result.out
