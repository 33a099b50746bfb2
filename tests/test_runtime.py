"""Device, precision, memory."""

from __future__ import annotations

import pytest
import torch

from adaptsr_cli.errors import UsageError
from adaptsr_cli.runtime import autocast, free_memory_bytes, pick_device, pick_precision, seed_everything

CPU = torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"


@pytest.mark.parametrize("choice", ["gpu", "cpu:1", "cuda:x", "", "cuda:99"])
def test_devices_that_are_none(choice: str) -> None:
    with pytest.raises(UsageError):
        pick_device(choice)


def test_precision_is_fp32_on_the_cpu_unless_asked() -> None:
    assert pick_precision("auto", CPU, bf16=True, fp16=True) == "fp32"
    assert pick_precision("bf16", CPU, bf16=True, fp16=True) == "bf16"
    with pytest.raises(UsageError, match="does not stand fp16"):
        pick_precision("fp16", CPU, bf16=True, fp16=False)
    with pytest.raises(UsageError, match="unknown"):
        pick_precision("int8", CPU, bf16=True, fp16=True)


def test_autocast_computes_in_the_precision() -> None:
    matrix = torch.rand(4, 4)
    with autocast(CPU, "bf16"):
        assert (matrix @ matrix).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert (matrix @ matrix).dtype == torch.float32


def test_seed_makes_draws_repeatable() -> None:
    seed_everything(5)
    first = torch.rand(3)
    seed_everything(5)
    assert torch.equal(first, torch.rand(3))


def test_free_memory_is_plausible() -> None:
    assert 1 << 26 < free_memory_bytes(CPU) < 1 << 45
