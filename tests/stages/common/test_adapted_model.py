"""Adapters in memory and in any strength: exactly what merging and interpolating the weights gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, write_pairs
from networks import save_tiny

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.images import read_note, read_rgb
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.common.adapted_model import model_sha256, open_adapted
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.run_folder import RunFolder

QUICK = ("--iterations", 2, "--batch", 1, "--patch", 32, "--lr", 0.01)


def weights(backbone: Backbone) -> dict[str, torch.Tensor]:
    return dict(backbone.model.state_dict())


def train(adaptsr: Command, pairs: Path, run: str, seed: int) -> Path:
    done = adaptsr("train", "--data", pairs, "--run", run, "--model", "m.safetensors", "--seed", seed, *QUICK)
    assert done.code == 0, done.err
    return Path(run) / "adapter.safetensors"


def test_adapters_in_memory_equal_the_merged_file(adaptsr: Command, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "camera", count=4, side_px=64)
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    run, progress = RunFolder(Path("run")), Silent()
    first, second = train(adaptsr, pairs, "run", 0), train(adaptsr, pairs, "other", 1)
    choice = ModelSpec(None, tmp_path, True)

    def open_(*adapters: Path, strength: float | None = None, model: str | None = None) -> Backbone:
        named = ModelSpec(model, tmp_path, True)
        return open_adapted(run, named, progress, adapters=adapters, strength=strength)

    base = weights(load_backbone(Path("m.safetensors")))
    unmerged = weights(open_(strength=1.0))
    assert all(torch.equal(unmerged[name], tensor) for name, tensor in weights(open_(first)).items())
    assert all(torch.equal(weights(open_())[name], tensor) for name, tensor in base.items())  # with a warning
    assert adaptsr("merge", "--run", "run").code == 0
    merged = load_backbone(run.merged)
    full = weights(open_(first))
    assert all(torch.equal(full[name], tensor) for name, tensor in weights(merged).items())
    changed = [name for name in base if not torch.equal(base[name], full[name])]
    assert changed
    assert model_sha256(open_(first)) == model_sha256(merged) != model_sha256(load_backbone(Path("m.safetensors")))

    # Strength: exact at both ends, a scaled delta between them, the same from the adapter and from the merged file.
    for adapters, model in (((first,), None), ((), None), ((), str(run.merged))):
        for strength in (0.0, 0.3, 1.0):
            found = weights(open_(*adapters, strength=strength, model=model))
            for name, tensor in base.items():
                expected = tensor + strength * (full[name] - tensor)
                torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6)
                if strength in {0.0, 1.0}:
                    assert torch.equal(found[name], tensor if strength == 0 else full[name])

    # Several adapters add up.
    both, other = weights(open_(first, second)), weights(open_(second))
    for name, tensor in base.items():
        torch.testing.assert_close(both[name], full[name] + other[name] - tensor, rtol=0, atol=1e-6)

    # Through the command line, and in the metadata of the result.
    image = pairs / "lr" / "000.png"
    assert adaptsr("upscale", image, "-o", "merged.png", "--run", "run").code == 0
    assert adaptsr("upscale", image, "-o", "memory.png", "--run", "run", "--adapter", first).code == 0
    assert Path("merged.png").read_bytes() == Path("memory.png").read_bytes()
    half = adaptsr("upscale", image, "-o", "half.png", "--run", "run", "--strength", 0.5)
    assert half.code == 0, half.err
    assert read_note(Path("half.png")) != read_note(Path("merged.png"))
    assert not np.array_equal(read_rgb(Path("half.png")), read_rgb(Path("merged.png")))

    # What does not belong together is refused.
    stranger = str(save_tiny("edsr_pytorch", Path("stranger.safetensors")))
    with pytest.raises(ArtifactError, match="was made for"):
        open_adapted(RunFolder(Path("none")), ModelSpec(stranger, tmp_path, True), progress, adapters=(first,))
    with pytest.raises(ArtifactError, match="there is no adapter"):
        open_(Path("missing.safetensors"))
    with pytest.raises(ArtifactError, match="not an adapted form"):
        open_(strength=0.5, model=stranger)
    with pytest.raises(UsageError, match=r"`strength` 0\.5 needs an adapted model"):
        open_adapted(RunFolder(Path("none")), choice, progress, strength=0.5)
    with pytest.raises(UsageError, match=r"stranger\.safetensors does not say which network it was adapted from"):
        open_adapted(RunFolder(Path("none")), ModelSpec(stranger, tmp_path, True), progress, strength=0.5)
    with pytest.raises(UsageError, match=r"and m\.safetensors is the backbone itself"):
        open_(strength=0.5, model="m.safetensors")
