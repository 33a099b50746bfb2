"""Cross-validation by ``adapt --folds``: the score, the final model, and what happens when it is stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, write_pairs
from networks import save_tiny
from stages.small_runs import QUICK

from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.errors import Interrupted
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.stages.adapt import folds as folding

WORDS = ("adapt", "--folds", 3, "--budget", "2k", "--metrics", "psnr", "--lr", 0.01, "--val-freq", 1, *QUICK)


def write_data(folder: Path) -> Path:
    """Seven pairs, of which two are crops of one photograph by name."""
    pairs = write_pairs(folder, count=7, side_px=64)
    for side in ("lr", "hr"):
        for number in (5, 6):
            (pairs / side / f"00{number}.png").rename(pairs / side / f"shot_crop{number}.png")
    return pairs


def items(split: SplitRecord, part: str) -> set[str]:
    return {item.name for item in getattr(split, part)}


def test_another_number_of_folds_is_refused_by_its_name(adaptsr: Command, tmp_path: Path) -> None:
    pairs = write_data(tmp_path / "pairs")
    save_tiny("safmn", Path("m.safetensors"))
    assert adaptsr(*WORDS, "--data", pairs, "--run", "one").code == 0
    other = adaptsr(*WORDS, "--data", pairs, "--run", "one", "--folds", 4)
    assert other.code == 1
    assert "one/folds holds trainings of other parts of the images: by another number of --folds" in other.err
    few = adaptsr("adapt", "--data", write_pairs(tmp_path / "few", count=2), "--folds", 3, "--run", "two")
    assert few.code == 2
    assert "hint: add images of other scenes, or leave --folds out" in few.err


def test_every_image_is_scored_by_a_training_that_has_not_seen_it(
    adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = write_data(tmp_path / "pairs")
    save_tiny("safmn", Path("m.safetensors"))
    run_fold: Callable[..., object] = folding.run_fold

    def stop_at_second(options: object, opened: object, index: int, *others: object) -> object:
        if index == 1:
            raise Interrupted("stopped", "go on")
        return run_fold(options, opened, index, *others)

    with monkeypatch.context() as patch:
        patch.setattr("adaptsr_cli.stages.adapt.stage.run_fold", stop_at_second)
        assert adaptsr(*WORDS, "--data", pairs, "--run", "one").code == 130
    first = Path("one/folds/1/training/state.safetensors").read_bytes()
    done = adaptsr(*WORDS, "--data", pairs, "--run", "one", "--json")
    assert done.code == 0, done.err
    assert Path("one/folds/1/training/state.safetensors").read_bytes() == first
    assert "fold 2 of 3: " in done.err
    assert "final model: on all 7 images" in done.err

    found = read_document(Path("one/eval.json"), Evaluation)
    assert json.loads(done.out)["folds"][2]["fold"] == 3
    assert (found.split, found.seen, len(found.images), len(found.folds)) == ("folds", "nothing", 7, 3)
    scored: list[str] = []
    shown = adaptsr(*WORDS, "--data", pairs, "--run", "one")
    assert "report.html, folds/1/comparison.png to folds/3/comparison.png" in shown.out
    for fold in found.folds:
        assert read_rgb(Path(f"one/folds/{fold.fold}/comparison.png")).shape[2] == 3
        split = read_document(Path(f"one/folds/{fold.fold}/training/split.json"), SplitRecord)
        assert set(fold.images) == items(split, "test")
        assert not items(split, "test") & (items(split, "train") | items(split, "held_out"))
        assert len({("shot" in name) for name in items(split, "test") if name.startswith("shot")}) <= 1
        own = read_document(Path(f"one/folds/{fold.fold}/eval.json"), Evaluation)
        assert fold.metrics["merged"] == own.models[1].metrics
        assert own.seen == "nothing"
        scored += fold.images
    assert len(scored) == len(set(scored)) == 7
    merged = found.models[1]
    assert merged.metrics["psnr_y_db"] == pytest.approx(
        np.mean([image.models["merged"]["psnr_y_db"] for image in found.images])
    )
    (test,) = (test for test in found.comparisons if test.metric == "psnr_y_db")
    assert test.scenes == 6  # the two crops are one witness
    assert test.ci95_low is not None
    assert test.ci95_low <= test.mean_difference

    final = read_document(Path("one/training/split.json"), SplitRecord)
    assert (len(final.train), final.held_out, final.test) == (7, (), ())
    best = sorted(fold.best_iteration for fold in found.folds)
    assert read_document(Path("one/training/card.json"), RunCard).planned_iterations == max(1, best[1])
    page = Path("one/report.html").read_text(encoding="utf-8")
    assert "Fold by fold" in page
    assert "each scored by one of 3 trainings, which has not seen it" in page

    shutil.rmtree("one/training")  # the folds are not trained again, and give the same final model
    adapter = Path("one/adapter.safetensors").read_bytes()
    Path("one/adapter.safetensors").unlink()
    again = adaptsr(*WORDS, "--data", pairs, "--run", "one")
    assert again.code == 0, again.err
    assert Path("one/adapter.safetensors").read_bytes() == adapter
    assert Path("one/folds/1/training/state.safetensors").read_bytes() == first
    assert "fold by fold, each scored by a training that has not seen it" in again.out
    refused = adaptsr("eval", "--data", pairs, "--run", "one")
    assert "the run was trained on every image" in refused.err


def test_what_cannot_be_folded_is_refused_before_work(adaptsr: Command, tmp_path: Path) -> None:
    pairs = write_data(tmp_path / "pairs")
    save_tiny("safmn", Path("m.safetensors"))
    words = ("adapt", "--data", pairs, "--metrics", "psnr", *QUICK)
    many = adaptsr(*words, "--folds", 7)
    assert many.code == 2
    assert "--folds 7 are more than the 6 independent images" in many.err
    few = adaptsr(*words, "--folds", 2)
    assert few.code == 2
    val = adaptsr(*words, "--folds", 3, "--val", pairs)
    assert val.code == 2
    assert "--folds together with --val" in val.err
    assert adaptsr("train", "--data", pairs, "--run", "two", "--lr", 0.01, *QUICK).code == 0
    late = adaptsr(*words, "--folds", 3, "--run", "two")
    assert late.code == 1
    assert "holds another training run, on other images or without --folds" in late.err
    assert not Path("two/folds").exists()
