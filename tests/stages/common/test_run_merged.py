"""Artifacts of a run that were made before those that they are made from: used, and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command, write_pairs
from networks import save_tiny

QUICK = ("--iterations", 2, "--batch", 1, "--patch", 32, "--model", "m.safetensors", "--method", "lora")
STALE = "was made before run/adapter.safetensors as it is now: `adaptsr merge --force --run run` comes first"


@pytest.fixture
def pairs(adaptsr: Command, tmp_path: Path) -> Path:
    """A run that is trained and merged, in `run`, and its pairs."""
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    pairs = write_pairs(tmp_path / "camera", count=4, side_px=64)
    _train(adaptsr, pairs, seed=0)
    return pairs


def _train(adaptsr: Command, pairs: Path, seed: int, rate: float = 0.01) -> str:
    words = ("--data", pairs, "--run", "run", "--lr", rate, "--seed", seed)
    done = adaptsr("train", *words, "--force", *QUICK)
    assert done.code == 0, done.err
    return done.err


@pytest.mark.parametrize("format", ["safetensors", "pth"])
def test_a_merged_model_of_an_earlier_adapter_is_told(adaptsr: Command, pairs: Path, format: str) -> None:
    image = pairs / "lr" / "000.png"
    uses = (
        ("upscale", image, "-o", "a.png", "--run", "run", "--force"),
        ("upscale", image, "-o", "b.png", "--run", "run", "--force", "--strength", 0.5),
        ("eval", "--data", pairs, "--run", "run", "--metrics", "psnr", "--force"),
        ("export", "--to", "safetensors", "-o", "c.safetensors", "--run", "run", "--force"),
    )

    def warned() -> set[bool]:
        answers = [adaptsr(*words) for words in uses]
        assert [answer.code for answer in answers] == [0] * len(uses), answers
        assert all(f"merged.{format}: " in answer.err for answer in answers)
        return {STALE in answer.err for answer in answers}

    assert adaptsr("merge", "--run", "run", "--format", format).code == 0
    assert warned() == {False}
    Path("run/adapter.safetensors").touch()  # copied anew, perhaps: it is the same all the same
    assert warned() == {False}
    _train(adaptsr, pairs, seed=1, rate=0.02)
    assert warned() == {True}
    assert adaptsr("merge", "--run", "run", "--format", format, "--force").code == 0
    assert warned() == {False}


def test_a_merged_model_of_other_adapters_is_none_of_an_earlier_one(adaptsr: Command, pairs: Path) -> None:
    assert adaptsr("truncate", "--run", "run", "--to-rank", 1, "-o", "small.safetensors").code == 0
    assert adaptsr("merge", "--run", "run", "--adapter", "small.safetensors").code == 0
    done = adaptsr("upscale", pairs / "lr" / "000.png", "-o", "a.png", "--run", "run")
    assert (done.code, "warning" in done.err) == (0, False), done.err


def test_the_model_that_is_used_is_told_where_there_are_two(adaptsr: Command, pairs: Path) -> None:
    told = "other commands use run/merged.safetensors, which is there too"
    for format, used in (("pth", "pth"), ("safetensors", "safetensors"), ("pth", "safetensors")):
        merged = adaptsr("merge", "--run", "run", "--format", format, "--force")
        assert (merged.code, told in merged.err) == (0, format != used)
        done = adaptsr("upscale", pairs / "lr" / "000.png", "-o", "a.png", "--run", "run", "--force")
        assert f"backbone merged.{used}: " in done.err
    for _ in range(2):  # a copy is no reason to refuse another one
        assert adaptsr("export", "--to", "pth", "--run", "run", "--force").code == 0
    told = adaptsr("info", "run/merged.pth", "run/merged.safetensors", "--json")
    pth, safetensors = json.loads(told.out)["files"]
    assert pth.items() > {name: safetensors[name] for name in ("kind", "backbone", "adapter")}.items()


def test_ranks_of_earlier_scores_are_told(adaptsr: Command, pairs: Path) -> None:
    told = "run/rank_map.json was not made by the scores of run/saliency.json: `adaptsr allocate --force` goes by them"
    assert told not in _train(adaptsr, pairs, seed=0)
    scored = adaptsr("score", "--data", pairs, "--run", "run", "--batches", 1, "--patch", 32, "--seed", 7, "--force")
    assert "next: adaptsr allocate --budget 8% --run run --force" in scored.out
    assert told in _train(adaptsr, pairs, seed=0)
    assert adaptsr("allocate", "--run", "run", "--force").code == 0
    assert told not in _train(adaptsr, pairs, seed=0)
    Path("run/saliency.json").write_text("{", encoding="utf-8")  # training needs the ranks alone
    assert "warning: run/saliency.json" in _train(adaptsr, pairs, seed=0)


def test_what_comes_next_means_the_same_run(adaptsr: Command, pairs: Path) -> None:
    trained = adaptsr("train", "--data", pairs, "--run", "run", "--lr", 0.01, "--seed", 0, *QUICK)
    assert "next: adaptsr merge --run run\n" in trained.out
    merged = adaptsr("merge", "--run", "run", "-o", "my network.safetensors")
    assert "next: adaptsr eval --data DIR --model 'my network.safetensors' --run run\n" in merged.out
    assert adaptsr("merge", "--run", "run").code == 0
    again = adaptsr("train", "--data", pairs, "--run", "run", "--lr", 0.01, "--seed", 0, *QUICK)
    assert "next: adaptsr merge --run run --force\n" in again.out
    assert adaptsr("eval", "--data", pairs, "--run", "run", "--metrics", "psnr").code == 0
    again = adaptsr("merge", "--run", "run", "--force")
    assert "next: adaptsr eval --data DIR --run run --force\n" in again.out
    allocated = adaptsr("allocate", "--run", "run", "--budget", "2k", "--force")
    assert "next: adaptsr train --data DIR --run run --force\n" in allocated.out
    smaller = adaptsr("truncate", "--run", "run", "--to-rank", 1, "-o", "small.safetensors")
    assert "next: adaptsr merge --adapter small.safetensors --run run --force\n" in smaller.out


def test_the_report_tells_how_the_scored_model_was_trained(adaptsr: Command, pairs: Path) -> None:
    def report() -> tuple[str, str]:
        done = adaptsr("eval", "--data", pairs, "--run", "run", "--metrics", "psnr", "--force")
        assert done.code == 0, done.err
        return Path("run/report.html").read_text(encoding="utf-8"), done.err

    training, ranks, score = "Validation PSNR-Y", "Where the ranks went", "<dt>score</dt>"
    assert adaptsr("merge", "--run", "run").code == 0
    page, _ = report()
    assert "never trained on, but they chose the iteration" in page
    assert [part in page for part in (training, ranks, score)] == [True, True, True]
    assert adaptsr("allocate", "--budget", "2k", "--run", "run", "--force").code == 0
    page, told = report()
    assert [part in page for part in (training, ranks, score)] == [True, False, False]
    assert "report.html goes without rank_map.json: adapter.safetensors has other ranks" in told
    _train(adaptsr, pairs, seed=1)
    page, told = report()
    assert [part in page for part in (training, ranks, score)] == [False, False, False]
    assert STALE in told
    assert "never trained on" not in page  # the earlier training may have had another split
