"""What ``adapt`` does with results that are there already; and with trainings that were stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, write_pairs
from networks import save_tiny

from adaptsr_cli.training.step import GradientStep

QUICK = ("--iterations", 4, "--batch", 1, "--patch", 32, "--lr", 0.01, "--method", "lora", "--model", "m.safetensors")
ADAPT = ("adapt", *QUICK, "--budget", "2k", "--metrics", "psnr", "--run", "run")
RUN = Path("run")


def test_a_model_that_the_user_merged_is_kept(adaptsr: Command, pairs: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    assert adaptsr(*ADAPT, "--data", pairs).code == 0
    usual = (RUN / "merged.safetensors").read_bytes()
    again = adaptsr(*ADAPT, "--data", pairs)
    assert again.code == 0, again.err
    assert "it is kept" not in again.err
    assert (RUN / "merged.safetensors").read_bytes() == usual
    assert adaptsr("merge", "--run", RUN, "--strength", 0.5, "--force").code == 0
    half = (RUN / "merged.safetensors").read_bytes()
    kept = adaptsr(*ADAPT, "--data", pairs)
    assert kept.code == 0, kept.err
    said = " ".join(kept.err.split())
    assert (
        "merged.safetensors was merged at strength 0.5: it is kept, and scored (`adaptsr merge --force --run run`"
        in said
    )
    assert (RUN / "merged.safetensors").read_bytes() == half
    assert adaptsr("merge", "--run", RUN, "--force").code == 0  # at the usual strength: nothing of the user's
    assert "it is kept" not in adaptsr(*ADAPT, "--data", pairs).err
    assert adaptsr(*ADAPT, "--data", pairs, "--force").code == 0
    assert (RUN / "merged.safetensors").read_bytes() == usual


def test_damaged_files_that_are_not_needed_are_no_obstacle(adaptsr: Command, pairs: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    assert adaptsr(*ADAPT, "--data", pairs).code == 0
    usual = (RUN / "merged.safetensors").read_bytes()
    (RUN / "merged.safetensors").write_bytes(usual[:100])
    again = adaptsr(*ADAPT, "--data", pairs)
    assert again.code == 0, again.err
    assert (RUN / "merged.safetensors").read_bytes() == usual
    state = RUN / "training" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    merged = adaptsr("merge", "--run", RUN, "--force")
    assert merged.code == 0, merged.err


def test_scores_of_another_data_set_lie_beside_the_first(adaptsr: Command, pairs: Path, tmp_path: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    assert adaptsr(*ADAPT, "--data", pairs).code == 0
    first = {name: (RUN / name).read_bytes() for name in ("eval.json", "report.html")}
    other = write_pairs(tmp_path / "other", count=2, side_px=64, seed=100)
    done = adaptsr(*ADAPT, "--data", pairs, "--test", other)
    assert done.code == 0, done.err
    assert {name: (RUN / name).read_bytes() for name in first} == first
    assert (RUN / "eval-other.json").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("merged.safetensors", "adapter.safetensors", "saliency.safetensors", "saliency.png", "rank_map.png"),
        *("comparison.png", "report.html", "eval.json", "training/log.jsonl", "upscaled/000.png"),
    ],
)
def test_files_of_the_users_are_not_replaced(adaptsr: Command, pairs: Path, name: str) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    own = RUN / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    refused = adaptsr(*ADAPT, "--data", pairs)
    assert refused.code == 1, refused.err
    assert refused.err.startswith("error: ")  # before any work
    assert f"error: run/{name.split('/')[0]} " in refused.err
    assert (own.read_text(), sorted(RUN.iterdir())) == ("mine", [RUN / name.split("/")[0]])


def test_a_model_of_the_users_in_a_run_is_not_replaced(adaptsr: Command, pairs: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    assert adaptsr("score", "--data", pairs, "--model", "m.safetensors", "--batches", 1, "--run", RUN).code == 0
    own = save_tiny("safmn", RUN / "merged.safetensors").read_bytes()
    refused = adaptsr(*ADAPT, "--data", pairs)
    assert "run/merged.safetensors exists already, and adaptsr did not make it" in refused.err
    assert (RUN / "merged.safetensors").read_bytes() == own
    assert adaptsr(*ADAPT, "--data", pairs, "--force").code == 0
    assert (RUN / "merged.safetensors").read_bytes() != own


def test_a_page_of_the_users_is_not_replaced_by_scores(adaptsr: Command, pairs: Path) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    words = ("eval", "--data", pairs, "--model", "m.safetensors", "--metrics", "psnr", "--run", RUN)
    RUN.mkdir()
    (RUN / "report.html").write_text("mine")
    refused = adaptsr(*words)
    assert (refused.code, (RUN / "report.html").read_text()) == (1, "mine")
    assert "run/report.html exists already, and adaptsr did not make it" in refused.err
    assert adaptsr(*words, "--force").code == 0
    assert adaptsr(*words).code == 0  # the page is ours now


@pytest.mark.parametrize("force", [False, True])
def test_a_stopped_training_says_how_to_go_on_and_merge_that_it_is_not_finished(
    adaptsr: Command, pairs: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    save_tiny("safmn", Path("m.safetensors"))
    words = ("train", *QUICK, "--val-freq", 1, "--run", RUN, "--data", pairs)
    assert adaptsr(*words).code == 0
    more = ("--iterations", 40)
    run, steps = GradientStep.run, iter(range(40))

    def stop(self: GradientStep, *batch: Any) -> Any:
        if next(steps) == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return run(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(GradientStep, "run", stop)
        stopped = adaptsr(*words, *more, *(["--force"] if force else []))
    assert stopped.code == 130
    hint = "the same command without --force goes on from here" if force else "the same command resumes from here"
    assert f"hint: {hint}" in stopped.err
    merged = adaptsr("merge", "--run", RUN, "-o", "early.safetensors")
    assert merged.code == 0, merged.err
    assert "the training is not finished (iteration " in merged.err
    resumed = adaptsr(*words, *more)
    assert resumed.code == 0, resumed.err
    assert "not finished" not in adaptsr("merge", "--run", RUN).err
