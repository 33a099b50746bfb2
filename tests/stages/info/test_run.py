"""`info` of a whole run folder."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Command
from networks import save_tiny

QUICK = ("--iterations", 2, "--batch", 1, "--patch", 32, "--model", "m.safetensors", "--lr", 0.01)


def test_a_run_folder_is_what_lies_in_it(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    assert adaptsr("train", "--data", pairs, "--run", "run", *QUICK).code == 0

    def files() -> list[str]:
        described = json.loads(adaptsr("info", "run", "--json").out)["files"]
        return [Path(entry["file"]).name for entry in described]

    trained = ["run.json", "saliency.json", "rank_map.json", "adapter.safetensors"]
    assert files() == trained
    assert adaptsr("merge", "--run", "run").code == 0
    assert adaptsr("eval", "--data", pairs, "--run", "run", "--metrics", "psnr").code == 0
    assert adaptsr("eval", "--data", pairs, "--run", "run", "--metrics", "psnr", "--split", "all").code == 0
    assert files() == [*trained, "merged.safetensors", "eval.json", "eval-camera-all.json"]


def test_a_damaged_artifact_of_a_run_fails_alone(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    assert adaptsr("score", "--data", pairs, "--run", "run", "--batches", 1, "--patch", 32, *QUICK[-4:-2]).code == 0
    Path("run/saliency.json").write_text("{", encoding="utf-8")
    told = adaptsr("info", "run")
    assert (told.code, "saliency.json" in told.err, "edsr" in told.out.lower()) == (1, True, True)
