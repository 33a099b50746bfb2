"""`info` of a whole run folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command
from networks import save_tiny

QUICK = ("--iterations", 2, "--batch", 1, "--patch", 32, "--model", "m.safetensors", "--lr", 0.01)


def test_a_run_folder_is_what_lies_in_it(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    assert adaptsr("train", "--data", pairs, "--run", "run", *QUICK).code == 0

    def files() -> list[str]:
        described = json.loads(adaptsr("info", "run", "--json").out)["files"]
        return [Path(entry["file"]).name for entry in described]

    trained = ["run.json", "saliency.json", "rank_map.json", "split.json", "card.json", "adapter.safetensors"]
    assert files() == trained
    assert adaptsr("merge", "--run", "run").code == 0
    assert adaptsr("eval", "--data", pairs, "--run", "run", "--metrics", "psnr").code == 0
    assert adaptsr("eval", "--data", pairs, "--run", "run", "--metrics", "psnr", "--split", "all").code == 0
    assert files() == [*trained, "merged.safetensors", "eval.json", "eval-camera-all.json"]


def test_other_files_of_a_run(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    assert adaptsr("train", "--data", pairs, "--run", "run", *QUICK).code == 0
    log = json.loads(adaptsr("info", "run/training/log.jsonl", "--json").out)["files"][0]
    assert (log["kind"], log["last iteration"]) == ("training log", "2")
    assert log["best held-out PSNR-Y"].endswith(" dB")
    Path("run/report.html").write_text("<html></html>", encoding="utf-8")
    page = adaptsr("info", "run/report.html")
    assert page.code == 1
    assert "report.html is neither an image nor an artifact of a run nor a checkpoint" in page.err


def test_the_training_folder_is_what_training_has_found(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    assert adaptsr("train", "--data", pairs, "--run", "run", *QUICK).code == 0
    described = json.loads(adaptsr("info", "run/training/", "--json").out)["files"]
    assert [Path(entry["file"]).name for entry in described] == ["split.json", "card.json"]


def test_a_damaged_artifact_of_a_run_fails_alone(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    assert adaptsr("score", "--data", pairs, "--run", "run", "--batches", 1, "--patch", 32, *QUICK[-4:-2]).code == 0
    Path("run/saliency.json").write_text("{", encoding="utf-8")
    told = adaptsr("info", "run")
    assert (told.code, "saliency.json" in told.err, "edsr" in told.out.lower()) == (1, True, True)


@pytest.mark.parametrize("format", ["safetensors", "pth"])
def test_a_merged_model_of_an_earlier_adapter_is_told(adaptsr: Command, pairs: Path, format: str) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))

    def is_told() -> bool:
        told = adaptsr("info", "run")
        assert told.code == 0, told.err
        return f"merged.{format} was made before run/adapter.safetensors as it is now" in told.err

    assert adaptsr("train", "--data", pairs, "--run", "run", *QUICK).code == 0
    assert adaptsr("merge", "--run", "run", "--format", format).code == 0
    Path("run/adapter.safetensors").touch()  # copied anew, perhaps: it is the same all the same
    assert not is_told()
    assert adaptsr("train", "--data", pairs, "--run", "run", "--seed", 1, "--force", *QUICK).code == 0
    assert is_told()
    assert adaptsr("merge", "--run", "run", "--format", format, "--force").code == 0
    assert not is_told()


def test_scores_of_an_earlier_merged_model_are_told(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    scores = ("eval", "--data", pairs, "--run", "run", "--metrics", "psnr")

    def told() -> list[str]:
        done = adaptsr("info", "run")
        assert done.code == 0, done.err
        return [line for line in done.err.splitlines() if "was made before" in line]

    assert adaptsr("train", "--data", pairs, "--run", "run", *QUICK).code == 0
    assert adaptsr("merge", "--run", "run").code == 0
    assert adaptsr(*scores).code == 0
    assert adaptsr(*scores, "--model", "m.safetensors", "--split", "all").code == 0  # not of the merged model
    assert told() == []
    assert adaptsr("merge", "--run", "run", "--strength", 0.5, "--force").code == 0
    (line,) = told()
    assert "run/eval.json was made before run/merged.safetensors as it is now" in line
    assert "adaptsr eval --force" in line
    assert adaptsr(*scores, "--force").code == 0
    assert told() == []


def test_a_damaged_merged_model_of_a_run_is_told_once(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    assert adaptsr("train", "--data", pairs, "--run", "run", *QUICK).code == 0
    Path("run/merged.safetensors").write_bytes(b"no model")
    told = adaptsr("info", "run")
    assert (told.code, told.err.count("merged.safetensors")) == (1, 1), told.err
