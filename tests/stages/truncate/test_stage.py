"""``truncate``: smaller adapter files, by rank and by budget."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, Outcome
from stages.small_runs import merge, train, write_camera

from adaptsr_cli.stages.common.adapter_file import read_adapter


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    return write_camera(tmp_path / "camera")


def truncate(adaptsr: Command, *words: object) -> Outcome:
    done = adaptsr("truncate", "--run", "one", *words)
    assert done.code == 0, done.err
    return done


def test_truncation_keeps_the_largest_singular_values(adaptsr: Command, camera: Path) -> None:
    adaptsr("score", "--data", camera, "--model", "m.safetensors", "--run", "one", "--batches", 1, "--patch", 32)
    assert adaptsr("allocate", "--run", "one", "--budget", "40%").code == 0
    adapter = train(adaptsr, camera, "one")
    header, tensors = read_adapter(adapter)
    plain = merge(adaptsr, "plain")
    largest = max(site.rank for site in header.sites)
    assert largest > 1
    whole = truncate(adaptsr, "--to-rank", largest, "-o", "full-adapter.safetensors")
    assert "nothing is cut off" in whole.err
    full = merge(adaptsr, "full", "--adapter", "full-adapter.safetensors")
    assert all(torch.equal(full[name], tensor) for name, tensor in plain.items())
    assert all(torch.equal(read_adapter(Path("full-adapter.safetensors"))[1][name], tensors[name]) for name in tensors)

    cut = truncate(adaptsr, "--to-rank", 1)
    assert "of the squared updates are kept" in cut.out
    small, _ = read_adapter(Path("one/adapter-truncated.safetensors"))
    assert {site.rank for site in small.sites} == {1}
    assert small.provenance.command == "truncate"
    merged = merge(adaptsr, "small", "--adapter", "one/adapter-truncated.safetensors")
    assert not all(torch.equal(merged[name], tensor) for name, tensor in plain.items())

    spent = sum(site.rank * _cost(site.shape) for site in header.sites)
    budget = truncate(adaptsr, "--budget", spent // 2, "-o", "b.safetensors", "--json")
    half, _ = read_adapter(Path("b.safetensors"))
    assert sum(site.rank * _cost(site.shape) for site in half.sites) <= spent // 2
    found = json.loads(budget.out)
    assert 0.5 < found["kept_share"] < 1
    assert {site["name"]: site["rank_before"] for site in found["sites"]} == {
        site.name: site.rank for site in header.sites
    }


def test_what_cannot_be_truncated_is_refused(adaptsr: Command, camera: Path) -> None:
    train(adaptsr, camera, "one")
    train(adaptsr, camera, "full", "--method", "full", lr=1e-3)
    one = ("truncate", "--run", "one")
    for words, code, text in (
        ((*one, "--to-rank", 1, "--budget", "1k"), 2, "both of --to-rank and --budget given"),
        (one, 2, "neither of --to-rank and --budget given"),
        ((*one, "--budget", "lots"), 2, "budget 'lots' is not a number of parameters"),
        (
            (*one, "--to-rank", 1, "-o", "x.pth"),
            2,
            "--output x.pth does not end in .safetensors hint: name a file such as x.safetensors",
        ),
        ((*one, "--budget", "3"), 1, "too small for one rank"),
        (("truncate", "--run", "full", "--to-rank", 1), 1, "full/adapter.safetensors is an adapter of the method full"),
        (("truncate", "--run", "none", "--to-rank", 1), 1, "there is no adapter none/adapter.safetensors"),
    ):
        outcome = adaptsr(*words)
        assert outcome.code == code, (words, outcome.err)
        assert "Traceback" not in outcome.err
        assert text in outcome.err.replace("\n", " ")
    assert not Path("one/adapter-truncated.safetensors").exists()
    assert adaptsr(*one, "--to-rank", 1).code == 0
    again = adaptsr(*one, "--to-rank", 1)
    assert again.code == 1
    assert "exists already (truncated adapter)" in again.err


def _cost(shape: tuple[int, ...]) -> int:
    return shape[1] + int(np.prod(shape)) // shape[1]
