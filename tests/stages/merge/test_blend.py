"""Several adapters in one file: exact sums, and weights chosen on held-out images."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command, write_pairs
from networks import save_tiny
from stages.small_runs import QUICK, merge, train, weights_of, write_camera

from adaptsr_cli.stages.common.adapter_file import read_adapter
from adaptsr_cli.stages.merge.blend import MAX_STRENGTH, Tuned, Weights, tune_weights


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    return write_camera(tmp_path / "camera")


def test_blends_are_exact_sums(adaptsr: Command, camera: Path) -> None:
    """Two methods, any weights, any strength: W0 + strength * sum of weight * (W' - W0) of every tensor."""
    first, second = train(adaptsr, camera, "one"), train(adaptsr, camera, "two", "--method", "difffit", lr=0.003)
    base = weights_of(Path("m.safetensors"))
    a, b = merge(adaptsr, "a", "--adapter", first), merge(adaptsr, "b", "--adapter", second)
    both = ("--adapter", first, "--adapter", second)
    for name, words, (left, right) in (
        ("average", both, (0.5, 0.5)),
        ("sum", (*both, "--weights", "1,1"), (1.0, 1.0)),
        ("against", (*both, "--weights", "0.75,-0.5", "--strength", 0.5), (0.375, -0.25)),
        ("half", ("--adapter", first, "--strength", 0.5), (0.5, 0.0)),
    ):
        mixed = merge(adaptsr, name, *words)
        for key, tensor in base.items():
            expected = tensor.double() + left * (a[key] - tensor).double() + right * (b[key] - tensor).double()
            torch.testing.assert_close(mixed[key].double(), expected, rtol=0, atol=1e-6)
    merged = adaptsr("merge", "--run", "one", *both, "-o", "twice.safetensors")
    assert "0.5 x one/adapter, 0.5 x two/adapter" in merged.out
    assert f"merged {len(read_adapter(first)[0].sites)} sites" in merged.out  # the same ones
    told = adaptsr("info", "against.safetensors").out
    assert "0.75 x one/adapter" in told
    assert "strength" in told
    # At full strength a mixture of one is the plain merge, byte for byte.
    merge(adaptsr, "whole", "--adapter", first, "--weights", "1", "--strength", 1)
    assert Path("whole.safetensors").read_bytes() == Path("a.safetensors").read_bytes()
    assert b"blend" not in Path("a.safetensors").read_bytes()
    # What a mixture holds is not merged into it once more.
    again = adaptsr("merge", "--run", "new", "--adapter", second, "--model", "average.safetensors")
    assert again.code == 1
    assert "holds two/adapter.safetensors already" in again.err


def test_tuning_never_loses_and_looks_at_held_out_images_only(adaptsr: Command, camera: Path, tmp_path: Path) -> None:
    first, second = train(adaptsr, camera, "one"), train(adaptsr, camera, "two", lr=0.003)
    tuned = adaptsr("merge", "--run", "one", "--adapter", first, "--tune", camera, "-o", "t.safetensors", "--json")
    assert tuned.code == 0, tuned.err
    assert "4 images" in tuned.err
    assert "were trained on or kept for the test and are left out; 1 remains" in tuned.err
    tuning = json.loads(tuned.out)["blend"]["tuning"]
    assert tuning["images"] == 1
    assert tuning["psnr_y_db"] >= tuning["plain_psnr_y_db"]

    others = write_pairs(tmp_path / "others", count=3, side_px=72)
    words = ("merge", "--run", "one", "--adapter", first, "--adapter", second, "--tune", others)
    blend_file = adaptsr(*words, "-o", "s.safetensors", "--json")
    assert blend_file.code == 0, blend_file.err
    blend = json.loads(blend_file.out)["blend"]
    assert blend["tuning"]["psnr_y_db"] >= blend["tuning"]["plain_psnr_y_db"]
    repeated = adaptsr(*words, "-o", "r.safetensors")
    assert "dB PSNR-Y" in repeated.out
    assert Path("r.safetensors").read_bytes() == Path("s.safetensors").read_bytes()
    # The choice is what is in the file.
    share = [part["weight"] * blend["strength"] for part in blend["parts"]]
    named = merge(adaptsr, "n", "--adapter", first, "--adapter", second, "--weights", f"{share[0]},{share[1]}")
    for key, tensor in weights_of(Path("s.safetensors")).items():
        torch.testing.assert_close(named[key], tensor, rtol=0, atol=1e-7)
    run = Path("one/training/split.json")
    everything = json.loads(run.read_text())
    everything["train"] += everything["held_out"]
    run.write_text(json.dumps(everything))
    nothing = adaptsr("merge", "--run", "one", "--tune", camera)
    assert nothing.code == 1
    assert "the adapters were trained on every image of" in nothing.err


def test_what_cannot_be_merged_is_refused(adaptsr: Command, camera: Path, tmp_path: Path) -> None:
    first = train(adaptsr, camera, "one")
    other = save_tiny("edsr_basicsr", Path("other.safetensors"))
    done = adaptsr("train", "--data", camera, "--run", "stranger", *QUICK[:-1], other)
    assert done.code == 0, done.err
    stranger, copy = Path("stranger/adapter.safetensors"), Path("copy.safetensors")
    copy.write_bytes(first.read_bytes())
    one = ("merge", "--run", "one", "--adapter", first)
    for words, code, text in (
        ((*one, "--adapter", stranger), 1, ("stranger/adapter.safetensors was made for other", "one/adapter")),
        ((*one, "--adapter", copy), 2, ("copy.safetensors is the same adapter as one/adapter.safetensors",)),
        ((*one, "--weights", "0.5,0.5"), 2, ("--weights has 2 numbers for 1 --adapter",)),
        ((*one, "--weights", "half"), 2, ("--weights 'half' is not a list of numbers",)),
        ((*one, "--weights", "nan"), 2, ("--weights is nan; it should be a finite number",)),
        ((*one, "--tune", camera, "--strength", 0.5), 2, ("--tune chooses weights and strength",)),
        (
            (*one, "--format", "safetensors", "--output", "x.pth"),
            2,
            ("--output x.pth does not end in .safetensors", "hint: give the --format pth, or"),
        ),
        (
            (*one, "--output", "x.onnx"),
            2,
            ("--output x.onnx does not end in .safetensors", "hint: `adaptsr export` writes other formats, or"),
        ),
        ((*one, "--tune", tmp_path / "nowhere"), 1, ("nowhere",)),
    ):
        outcome = adaptsr(*words)
        assert outcome.code == code, (words, outcome.err)
        assert "Traceback" not in outcome.err
        for part in text:
            assert part in outcome.err.replace("\n", " ")
    assert not Path("one/merged.safetensors").exists()


def effective(tuned: Tuned) -> Weights:
    return tuple(tuned.strength * weight for weight in tuned.weights)


def _peak(best: Weights) -> Callable[[Weights], float]:
    return lambda weights: -sum((x - y) ** 2 for x, y in zip(weights, best, strict=True))


def test_the_search_finds_the_strength() -> None:
    tuned = tune_weights(1, _peak((0.66,)))
    assert effective(tuned)[0] == pytest.approx(0.66, abs=1 / 32)
    assert tuned.tried <= 14
    assert tune_weights(1, _peak((9.0,))).strength == MAX_STRENGTH
    assert effective(tune_weights(1, lambda weights: 0.0)) == (1.0,)  # nothing is better: as trained


def test_the_search_leaves_out_what_harms() -> None:
    tuned = tune_weights(3, _peak((0.5, 0.5, -0.4)))
    assert tuned.weights == (0.5, 0.5, 0.0)
    assert tuned.strength == 1


def test_the_search_is_never_worse_than_the_average() -> None:
    rng = random.Random(1)
    for _ in range(50):
        count = rng.randint(1, 5)
        table: dict[Weights, float] = {}
        tuned = tune_weights(count, lambda weights, table=table: table.setdefault(weights, rng.random()))
        assert tuned.plain == table[(1 / count,) * count]
        assert tuned.score == table[effective(tuned)] >= tuned.plain
        assert tuned.tried == len(table)
