"""Wrong inputs: each gets one clear line, a non-zero exit, and nothing is lost."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, Outcome, write_pairs
from networks import save_tiny

from adaptsr_cli.cli.commands import COMMANDS
from adaptsr_cli.io.images import write_rgb


def assert_one_clear_fault(outcome: Outcome, code: int, *texts: str) -> None:
    assert outcome.code == code, outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    assert outcome.out == ""
    for text in texts:
        assert text in outcome.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "code", "texts"),
    [
        (["train"], 2, ["--data is missing", "--hr-dir and --lr-dir"]),
        (["trian"], 2, ["No such command 'trian'", "did you mean train?"]),
        (["train", "camera"], 2, ["'camera' stands without an option", "such as --data", "adaptsr train --help"]),
        (["allocate", "--budget", "8%", "9%", "--force"], 2, ["'9%' stands without an option", "such as --budget"]),
        (["train", "--data", "missing"], 1, ["missing"]),
        (["train", "--data", "camera", "--itertions", "3"], 2, ["No such option"]),
        (["train", "--data", "camera", "--iterations", "many"], 2, ["--iterations is 'many'; it should be a valid"]),
        (["train", "--data", "camera", "--preset", "slow"], 2, ["'--preset'", "'slow' is not one of 'fast', 'paper'"]),
        (["train", "--data", "camera", "--device", "abacus"], 2, ["--device 'abacus' is not a device"]),
        (["train", "--data", "camera", "--device", "gpu"], 2, ["--device gpu: torch calls NVIDIA's and", "cuda:N"]),
        (["train", "--data", "camera", "--device", "mps"], 2, ["--device mps: Apple's GPUs are not supported"]),
        (["train", "--data", "camera", "--device", "rocm"], 2, ["--device rocm: torch for ROCm calls AMD's GPUs cuda"]),
        (["train", "--data", "camera", "--patch", "500"], 1, ["less than --patch 500"]),
        (["train", "--data", "camera", "--lr", "high"], 2, ["--lr is 'high'; it should be auto, or a number above 0"]),
        (["train", "--data", "camera", "--degrade", "x", "--model", "nothing"], 2, ["nothing"]),
        (["allocate"], 1, ["there is no", "saliency.json", "adaptsr score"]),
        (["allocate", "--budget", "lots"], 2, ["budget 'lots' is not a number", "886k"]),
        (["merge"], 1, ["there is no", "adapter.safetensors", "adaptsr train"]),
        (["eval", "--data", "camera", "--metrics", "pnsr"], 2, ["metric 'pnsr' is unknown", "psnr"]),
        (["eval", "--data", "camera", "--protocol", "mine"], 2, ["--protocol", "'mine' is not one of 'paper'"]),
        (["eval", "--data", "camera", "--sr", "x"], 2, ["--sr 'x' is not NAME=FOLDER"]),
        (["upscale", "missing.png"], 2, ["missing.png does not exist"]),
        (["upscale", "camera/lr/000.png", "--tile", "3"], 2, ["--tile '3' is not a valid tile size"]),
        (["upscale", "camera/lr/000.png", "--ext", "docx"], 2, ["the file type .docx cannot be written", "--ext"]),
        (["upscale", "camera/lr/000.png", "--suffix", ""], 2, ["overwritten by its own result"]),
        (["upscale", "camera"], 2, ["camera has no image", "--recursive"]),
        (["models", "--download", "swinir-x9"], 2, ["swinir-x9"]),
        (["upscale", "camera/notes.txt"], 2, ["notes.txt is no image", "name images, or folders of them"]),
        (["upscale"], 2, ["no image to upscale"]),
        (["upscale", "--list", "nothing.txt"], 2, ["cannot read --list nothing.txt: No such file"]),
        (["upscale", "camera/lr", "--compile", "on"], 2, ["'on' is not one of 'off', 'auto'"]),
        (["upscale", "a.png", "--outscale", "0"], 2, ["--outscale is '0'; it should be greater than or equal to 0.1"]),
        (["truncate", "--to-rank", "0"], 2, ["--to-rank is '0'; it should be greater than or equal to 1"]),
        (["info"], 2, ["FILE is required"]),
        (["info", "nothing.json"], 1, ["nothing.json does not exist"]),
        (["info", f"{'x' * 300}.json"], 1, ["too long: xxx", "check the path"]),
    ],
)
def test_wrong_words(words: list[str], code: int, texts: list[str], adaptsr: Command, pairs: Path) -> None:
    (pairs / "notes.txt").write_text("fog", encoding="utf-8")
    before = sorted(pairs.rglob("*"))
    assert_one_clear_fault(adaptsr(*words), code, *texts)
    assert sorted(pairs.rglob("*")) == before
    assert not Path("adaptsr-run/adapter.safetensors").exists()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must never run",)


def _write_bad_model(kind: str) -> Path:
    path = Path(f"{kind}.pth")
    if kind == "unsafe":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "unknown":
        torch.save({"params": {"some.layer.weight": torch.zeros(3, 3)}}, path)
    elif kind == "truncated":
        path = save_tiny("safmn", Path("truncated.safetensors"))
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["unsafe", "unknown", "truncated", "empty", "text", "folder", "missing"])
def test_bad_models(kind: str, adaptsr: Command, pairs: Path) -> None:
    path = _write_bad_model(kind)
    for words in (["train", "--data", pairs], ["upscale", pairs / "lr" / "000.png"], ["eval", "--data", pairs]):
        outcome = adaptsr(*words, "--model", path)
        assert outcome.code in {1, 2}, outcome.err
        assert "Traceback" not in outcome.err
        assert path.name in outcome.err.replace("\n", "")
        assert "this must never run" not in outcome.out


def test_bad_images_are_named(adaptsr: Command, pairs: Path) -> None:
    broken = pairs / "lr" / "003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    assert_one_clear_fault(adaptsr("train", "--data", pairs), 1, "003.png")
    broken.unlink()
    assert_one_clear_fault(adaptsr("train", "--data", pairs), 1, "003")
    empty = Path("empty")
    empty.mkdir()
    assert_one_clear_fault(adaptsr("train", "--data", empty), 1, "empty")


@pytest.mark.parametrize("words", [["train"], ["adapt", "--folds", "3"], ["score"]])
def test_images_too_small_are_refused_before_any_work(words: list[str], adaptsr: Command, pairs: Path) -> None:
    photos = (pairs / "lr").rename("photos")
    for name, side_px in (("icon.png", 8), ("dot.png", 3), ("least.png", 12)):
        write_rgb(photos / name, np.full((side_px, 24, 3), 99, np.uint8))
    refused = adaptsr(*words, "--data", photos)
    told = "2 of 9 images are too small to train on x4: photos/dot.png has 24 x 3 px, photos/icon.png has 24 x 8 px"
    assert_one_clear_fault(refused, 1, told, "12 x 12 px of HR is the least")
    assert "measuring the camera" not in refused.err


def test_pairs_of_another_scale_are_refused(adaptsr: Command, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "x2", count=3, scale=2)
    assert_one_clear_fault(adaptsr("train", "--data", pairs), 1, "x2")


def test_damaged_artifacts_are_refused_untouched(adaptsr: Command, pairs: Path) -> None:
    adaptsr("score", "--data", pairs, "--batches", 1, "--patch", 64)
    saliency = Path("adaptsr-run/saliency.json")
    text = saliency.read_text()
    for damaged in (
        text[:100],
        "[]",
        text.replace('"criterion"', '"kriterion"'),
        text.replace('"score":', '"score":"x'),
    ):
        saliency.write_text(damaged)
        assert_one_clear_fault(adaptsr("allocate", "--budget", "15k"), 1, "saliency.json")
        assert saliency.read_text() == damaged
    saliency.write_text(text)
    adaptsr("allocate", "--budget", "15k")
    rank_map = Path("adaptsr-run/rank_map.json")
    rank_map.write_text(rank_map.read_text().replace('"rank": 1', '"rank": -1', 1))
    assert_one_clear_fault(adaptsr("train", "--data", pairs), 1, "rank_map.json")


def test_validation_images_must_not_be_trained_on(adaptsr: Command, pairs: Path) -> None:
    outcome = adaptsr("train", "--data", pairs, "--val", pairs)
    assert_one_clear_fault(outcome, 1, "6 images of --val", "are in the training data too: 000, 001, 002")


def test_budgets_that_cannot_be_spent(adaptsr: Command, pairs: Path) -> None:
    adaptsr("score", "--data", pairs, "--batches", 1, "--patch", 64)
    assert_one_clear_fault(adaptsr("allocate", "--budget", "50"), 1, "too small for one rank")
    assert_one_clear_fault(adaptsr("allocate", "--budget", "5M"), 1, "larger than the model can use")
    assert_one_clear_fault(
        adaptsr("allocate", "--budget", "5k", "--min-rank", 1), 1, "does not cover rank 1", "raise it to"
    )
    assert_one_clear_fault(adaptsr("allocate", "--modules", "atention"), 2, "did you mean attention")
    assert_one_clear_fault(adaptsr("allocate", "--modules", "mlp"), 2, "leaves no site")
    assert not Path("adaptsr-run/rank_map.json").exists()


def test_upscale_fails_file_by_file(adaptsr: Command, pairs: Path) -> None:
    broken = pairs / "lr" / "003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    outcome = adaptsr("upscale", pairs / "lr", "-o", "out")
    assert outcome.code == 1
    assert "5 ok, 1 failed, 0 skipped" in outcome.out
    assert "003.png" in outcome.err
    assert len(list(Path("out").iterdir())) == 5
    again = adaptsr("upscale", pairs / "lr", "-o", "out")
    assert "0 ok, 1 failed, 5 skipped" in again.out


def test_nothing_is_overwritten_without_force(adaptsr: Command, pairs: Path) -> None:
    image = pairs / "lr" / "000.png"
    assert adaptsr("upscale", image).code == 0
    target = pairs / "lr" / "000_x4.png"
    before = target.read_bytes()
    target.write_bytes(b"mine")
    assert "skipped" in adaptsr("upscale", image).err
    assert target.read_bytes() == b"mine"
    assert adaptsr("upscale", image, "--force").code == 0
    assert target.read_bytes() == before


def test_no_words_at_all_show_the_help(adaptsr: Command) -> None:
    outcome = adaptsr()
    assert outcome.code == 0
    assert outcome.err == ""
    assert "Commands:" in outcome.out


def test_ctrl_c_says_so_and_exits_130(adaptsr: Command, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adaptsr_cli.stages.score.stage.measure_gradients", press)
    assert_one_clear_fault(adaptsr("score", "--data", pairs), 130, "error: interrupted")
    assert not Path("adaptsr-run/saliency.json").exists()


def test_both_spellings_of_an_option(adaptsr: Command, pairs: Path) -> None:
    for spelling in ("--tile-pad", "--tile_pad"):
        outcome = adaptsr("upscale", pairs / "lr" / "001.png", "--force", spelling, 8)
        assert outcome.code == 0, outcome.err


def test_debug_shows_the_traceback(adaptsr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptsr_cli.cli.app import main
    from adaptsr_cli.errors import ArtifactError

    monkeypatch.setattr("sys.argv", ["adaptsr", "merge", "--debug"])
    with pytest.raises(ArtifactError, match="there is no"):
        main()


def test_help_does_not_import_torch() -> None:
    """For every command: neither torch nor anything else that is slow to load (the options are pydantic models)."""
    program = (
        "import sys\n"
        "from adaptsr_cli.cli.app import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "slow = {'torch', 'numpy', 'spandrel', 'matplotlib', 'PIL', 'rich'}\n"
        "slow &= set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    for words in [["--help"], *([command, "--help"] for command in COMMANDS)]:
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Usage: " in done.stdout
