"""The dial between faithful and sharp: two adapters of one run, mixed exactly by every command."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, write_pairs
from networks import save_tiny
from stages.small_runs import QUICK, weights_of

from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.dial import DialRecord
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.stages.common.adapter_file import read_adapter
from adaptsr_cli.stages.common.dial import join_dials
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.train import rate_bound, setup
from adaptsr_cli.training.objective import PixelObjective, Term
from adaptsr_cli.training.state import read_state

TRAIN = ("train", "--run", "r", "--objective", "both", "--lr", "0.002", *QUICK)


class Contrast(PixelObjective):
    """Stands in for the perceptual objective, which needs trained networks: it wants more contrast than is true."""

    seeks_psnr = False

    def __init__(self) -> None:
        def loss(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
            return (sr - (1.5 * hr - 0.25)).abs().mean()

        super().__init__("perceptual", (Term("contrast", "contrast", 1.0, loss),))


@pytest.fixture
def camera(adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pairs, the network ``m.safetensors``, and `Contrast` as the perceptual objective."""
    made = setup.make_objective

    def make(choice: Any, **rest: Any) -> Any:
        return Contrast() if choice == "perceptual" else made(choice, **rest)

    monkeypatch.setattr(setup, "make_objective", make)
    monkeypatch.setattr(setup, "load_perceptual_distance", lambda *_: None)
    save_tiny("safmn", Path("m.safetensors"))
    return write_pairs(tmp_path / "camera", count=5, side_px=64)


@pytest.fixture
def run(adaptsr: Command, camera: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both adapters; trained once, and copied."""
    trained = tmp_path_factory.getbasetemp() / "dial-run"
    if not trained.exists():
        done = adaptsr(*TRAIN, "--data", camera)
        assert done.code == 0, done.err
        shutil.copytree("r", trained)
    elif not Path("r").exists():
        shutil.copytree(trained, "r")
    return Path("r")


def test_the_configuration_repeats_both_trainings(adaptsr: Command, run: Path) -> None:
    """What each found for itself is left open: the first has another method, optimizer and schedule than the second."""
    done = adaptsr("train", "--config", run / "training" / "config.toml", "--run", "again")
    assert done.code == 0, done.err
    for folder in (Path(), Path("perceptual")):
        states = [read_state(root / folder / "training" / "state.safetensors") for root in (run, Path("again"))]
        assert states[0][0].plan.config == states[1][0].plan.config
        first, second = (read_adapter(root / folder / "adapter.safetensors")[1] for root in (run, Path("again")))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_small_network_gets_full_updates_and_the_perceptual_adapter_on_top_low_rank_ones(run: Path) -> None:
    assert read_adapter(run / "adapter.safetensors")[0].method == "full"
    assert read_adapter(run / "perceptual" / "adapter.safetensors")[0].method == "lora"


def test_every_command_mixes_the_same_weights(adaptsr: Command, run: Path) -> None:
    def merge(name: str, *words: object) -> dict[str, torch.Tensor]:
        done = adaptsr("merge", "--run", run, *words, "-o", f"{name}.safetensors")
        assert done.code == 0, done.err
        return weights_of(Path(f"{name}.safetensors"))

    base, faithful = weights_of(Path("m.safetensors")), merge("plain")
    merge("zero", "--sharpness", 0)
    half, sharp = merge("half", "--sharpness", 0.5), merge("sharp", "--sharpness", 1)
    # At 0 it is the faithful model, bit for bit, and the file says nothing of a sharpness.
    assert Path("zero.safetensors").read_bytes() == Path("plain.safetensors").read_bytes()
    assert any(not torch.equal(faithful[key], sharp[key]) for key in base)
    for key, tensor in faithful.items():
        middle = tensor.double() + 0.5 * (sharp[key].double() - tensor.double())
        torch.testing.assert_close(half[key].double(), middle, rtol=0, atol=1e-7)
    # The strength is of the faithful update alone.
    weak = merge("weak", "--strength", 0.5, "--sharpness", 1)
    for key, tensor in base.items():
        expected = tensor + 0.5 * (faithful[key] - tensor) + (sharp[key] - faithful[key])
        torch.testing.assert_close(weak[key], expected, rtol=0, atol=1e-6)
    told = adaptsr("info", "half.safetensors").out
    assert "0.5 of perceptual/adapter.safetensors" in told
    assert "on top of" in adaptsr("info", "r/perceptual/adapter.safetensors").out

    # upscale and export make the same of it, in memory.
    assert adaptsr("merge", "--run", run).code == 0
    for name, words in (("plain", ()), ("zero", ("--sharpness", 0)), ("half", ("--sharpness", "0.5"))):
        done = adaptsr("upscale", "camera/lr/000.png", "--run", run, *words, "-o", f"{name}.png")
        assert done.code == 0, done.err
    done = adaptsr("upscale", "camera/lr/000.png", "--model", "half.safetensors", "-o", "merged.png")
    assert done.code == 0, done.err
    assert np.array_equal(read_rgb(Path("zero.png")), read_rgb(Path("plain.png")))
    assert np.array_equal(read_rgb(Path("half.png")), read_rgb(Path("merged.png")))
    assert not np.array_equal(read_rgb(Path("half.png")), read_rgb(Path("plain.png")))
    done = adaptsr("export", "--to", "safetensors", "--run", run, "--sharpness", 0.5, "-o", "e.safetensors", "--card")
    assert done.code == 0, done.err
    exported = weights_of(Path("e.safetensors"))
    assert all(torch.equal(exported[key], tensor) for key, tensor in half.items())
    assert "sharpness: 0.5" in Path("e.md").read_text()


def test_training_measures_the_curve_on_held_out_images(adaptsr: Command, run: Path, camera: Path) -> None:
    record = read_document(run / "perceptual/training/dial.json", DialRecord)
    assert record.adapter_sha256 == file_sha256(run / "perceptual/adapter.safetensors")
    card, above = (
        read_document(path, RunCard) for path in (run / "training/card.json", run / "perceptual/training/card.json")
    )
    assert record.curve.backbone == {"psnr_y_db": card.backbone_psnr_y_db}
    scores = [point.metrics["psnr_y_db"] for point in record.curve.points]
    assert scores[0] == pytest.approx(card.best_psnr_y_db, abs=1e-9)
    assert scores[-1] == pytest.approx(above.best_psnr_y_db, abs=0.01)  # summed in another order
    told = adaptsr(*TRAIN, "--data", camera)
    assert "auto begins at sharpness" in told.err


def test_eval_measures_the_curve(adaptsr: Command, run: Path, camera: Path) -> None:
    assert adaptsr("merge", "--run", run).code == 0
    done = adaptsr("eval", "--run", run, "--data", camera, "--split", "all", "--metrics", "psnr", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [model["name"] for model in found["models"]] == ["backbone", "merged"]
    points = {point["sharpness"]: point["metrics"]["psnr_y_db"] for point in found["dial"]["points"]}
    assert list(points) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert points[0.0] == pytest.approx(found["models"][1]["metrics"]["psnr_y_db"], abs=1e-12)
    assert found["dial"]["backbone"]["psnr_y_db"] == pytest.approx(found["models"][0]["metrics"]["psnr_y_db"])
    assert len(set(points.values())) == 5
    page = Path("r/report.html").read_text()
    assert "Between faithful and sharp" in page
    assert ">sharpness 1</option>" in page
    # Of other models there is nothing to dial.
    other = adaptsr("eval", "--run", run, "--data", camera, "--model", "m.safetensors", "--json", "--force")
    assert "dial" not in json.loads(other.out)


def test_the_second_training_resumes_bit_for_bit(
    adaptsr: Command, camera: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = Path("r/perceptual/adapter.safetensors").read_bytes()
    faithful = Path("r/adapter.safetensors").read_bytes()
    words = ["stopped" if word == "r" else word for word in TRAIN]
    steps = {"perceptual": 0}
    losses = Contrast.losses

    def stop_at_the_second(self: Contrast, *batch: Any) -> Any:
        steps["perceptual"] += 1
        if steps["perceptual"] == 1 + 2:  # the bound of the rate takes one as well
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(self, *batch)

    monkeypatch.setattr(Contrast, "losses", stop_at_the_second)
    stopped = adaptsr(*words, "--data", camera)
    assert stopped.code == 130
    assert "iteration 2 of 3" in stopped.err
    assert Path("stopped/adapter.safetensors").read_bytes() == faithful
    assert adaptsr(*words, "--data", camera).code == 0
    assert steps["perceptual"] == 1 + 3
    assert Path("stopped/perceptual/adapter.safetensors").read_bytes() == straight
    assert "already" in adaptsr(*words, "--data", camera).err
    assert steps["perceptual"] == 1 + 3


def test_a_rate_out_of_proportion_is_lowered_once(
    adaptsr: Command, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_bound, "bound_rate", lambda step, usual: usual / 8)
    done = adaptsr(*TRAIN, "--data", camera)
    assert done.code == 0, done.err
    assert "perceptual adapter: the preset's learning rate of 0.002" in done.err
    header, _ = read_adapter(Path("r/perceptual/adapter.safetensors"))
    assert header.provenance.options["learning_rate"] == pytest.approx(0.002 / 8)
    monkeypatch.setattr(rate_bound, "bound_rate", lambda step, usual: usual)
    again = adaptsr(*TRAIN, "--data", camera)  # goes on at that rate, whatever would be found now
    assert again.code == 0, again.err
    assert "finished already" in again.err


def test_a_changed_faithful_adapter_gets_a_new_one_on_top(adaptsr: Command, camera: Path, run: Path) -> None:
    longer = adaptsr(*TRAIN, "--data", camera, "--iterations", 6)
    assert longer.code == 0, longer.err
    assert "trained anew" in longer.err
    assert adaptsr("merge", "--run", run, "--sharpness", 1).code == 0


def test_the_guards_strength_is_what_lies_below(adaptsr: Command, camera: Path) -> None:
    plain = ["fidelity" if word == "both" else word for word in TRAIN]
    assert adaptsr(*plain, "--data", camera).code == 0
    guard = GuardRecord(
        adapter_sha256=file_sha256(Path("r/adapter.safetensors")),
        varied="cameras",
        versions=1,
        images=1,
        strengths=(0.0, 0.5),
        low_db=(0.0, 0.1),
        median_db=(0.0, 0.2),
        strength=0.5,
    )
    write_document(Path("r/training/guard.json"), guard)
    done = adaptsr(*TRAIN, "--data", camera)
    assert done.code == 0, done.err
    header, _ = read_adapter(Path("r/perceptual/adapter.safetensors"))
    assert header.base is not None
    assert header.base.strength == 0.5
    for name, words in (("plain", ()), ("zero", ("--sharpness", 0)), ("given", ("--sharpness", 0, "--strength", 1))):
        assert adaptsr("merge", "--run", "r", *words, "-o", f"{name}.safetensors").code == 0
    assert Path("zero.safetensors").read_bytes() == Path("plain.safetensors").read_bytes()
    assert Path("zero.safetensors").read_bytes() != Path("given.safetensors").read_bytes()
    assert adaptsr("upscale", "camera/lr/000.png", "--run", "r", "--sharpness", 0, "-o", "a.png").code == 0
    assert adaptsr("upscale", "camera/lr/000.png", "--model", "plain.safetensors", "-o", "b.png").code == 0
    assert np.array_equal(read_rgb(Path("a.png")), read_rgb(Path("b.png")))


@pytest.mark.slow
def test_folds_train_and_measure_both(adaptsr: Command, camera: Path) -> None:
    words = ("--folds", 3, "--objective", "both", "--budget", "2k", "--metrics", "psnr", "--lr", 0.01, *QUICK)
    done = adaptsr("adapt", *words, "--data", camera, "--run", "f", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["dial"]["images"] == 5
    assert found["dial"]["points"][0]["metrics"] == pytest.approx(found["models"][1]["metrics"])
    assert found["dial"]["backbone"] == pytest.approx(found["models"][0]["metrics"])
    assert read_document(Path("f/perceptual/training/card.json"), RunCard).iterations == 3
    curves = [read_document(RunFolder(Path(f"f/folds/{k}")).perceptual.dial, DialRecord).curve for k in (1, 2, 3)]
    curve = read_document(RunFolder(Path("f")).perceptual.dial, DialRecord).curve
    assert curve == join_dials(curves)  # the final adapters are trained on the images that are left to measure on
    assert curve.images == sum(each.images for each in curves)
    assert "repeat it" not in Path("f/training/config.toml").read_text()
    assert "Between faithful and sharp" in Path("f/report.html").read_text()


def test_networks_that_are_missing_are_told_before_the_first_training(adaptsr: Command, pairs: Path) -> None:
    done = adaptsr("train", "--data", pairs, "--objective", "both", "--iterations", 3)
    assert done.code == 1
    assert "no-weights" in done.err
    assert not Path("adaptsr-run").exists()


def test_what_cannot_be_is_said_in_a_line(adaptsr: Command, camera: Path, run: Path) -> None:
    plain = ("train", "--run", "p", "--lr", "0.003", *QUICK, "--data", camera)
    assert adaptsr(*plain).code == 0
    perceptual = "r/perceptual/adapter.safetensors"
    for words, code, said in (
        (("merge", "--run", "p", "--sharpness", 0.5), 1, "--sharpness needs a perceptual adapter, and p has none"),
        (("upscale", "camera/lr/000.png", "--run", "p", "--sharpness", 0), 1, "adapt --objective both"),
        (("export", "--to", "pth", "--run", "p", "--sharpness", 1), 1, "--sharpness needs a perceptual adapter"),
        (("merge", "--run", "r", "--sharpness", 1.5), 2, "from 0 (faithful) to 1 (sharp)"),
        (("merge", "--run", "r", "--sharpness", "much"), 2, "from 0 (faithful) to 1 (sharp)"),
        (("merge", "--run", "r", "--sharpness", 1, "--weights", "1"), 2, "together with --weights"),
        (("export", "--to", "peft", "--run", "r", "--sharpness", 1), 2, "which holds one adapter"),
        (("merge", "--run", "r", "--adapter", perceptual, "-o", "x.safetensors"), 1, "does not stand alone"),
        (("merge", "--run", "r", "--adapter", "p/adapter.safetensors", "--sharpness", 1), 1, "of another adapter than"),
    ):
        done = adaptsr(*words)
        assert (done.code, said in done.err) == (code, True), (words, done.err)
    assert not Path("x.safetensors").exists()
