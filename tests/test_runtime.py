"""Device, precision, memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptsr_cli.errors import UsageError
from adaptsr_cli.runtime import (
    autocast,
    exact_products,
    free_memory_bytes,
    pick_device,
    pick_precision,
    seed_everything,
)

CPU = torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert pick_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")  # each process of a group has its own
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 1)
    assert chosen[-1] == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="2 CUDA devices, too few for process 2"):
        pick_device("auto")


@pytest.mark.parametrize("choice", ["gpu", "cpu:1", "cuda:x", "", "cuda:99"])
def test_devices_that_are_none(choice: str) -> None:
    with pytest.raises(UsageError):
        pick_device(choice)


def test_precision_is_fp32_on_the_cpu_unless_asked() -> None:
    assert pick_precision("auto", CPU, bf16=True, fp16=True) == "fp32"
    assert pick_precision("bf16", CPU, bf16=True, fp16=True) == "bf16"
    with pytest.raises(UsageError, match="is not numerically stable in fp16"):
        pick_precision("fp16", CPU, bf16=True, fp16=False)
    with pytest.raises(UsageError, match="unknown"):
        pick_precision("int8", CPU, bf16=True, fp16=True)


@pytest.mark.parametrize(
    ("able", "precision"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")]
)
def test_a_cpu_trains_in_bf16_where_it_computes_in_it(
    able: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert pick_precision("auto", CPU, bf16=True, fp16=False, bf16_on_cpu=True) == precision
    assert pick_precision("auto", CPU, bf16=True, fp16=False) == "fp32"
    assert pick_precision("auto", CPU, bf16=False, fp16=False, bf16_on_cpu=True) == "fp32"
    assert pick_precision("fp32", CPU, bf16=True, fp16=False, bf16_on_cpu=True) == "fp32"


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


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_free_memory_keeps_to_the_limit_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (used + 300_000_000, resource.RLIM_INFINITY))
    assert 200_000_000 < free_memory_bytes(torch.device("cpu")) < 400_000_000
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1, resource.RLIM_INFINITY))
    assert free_memory_bytes(torch.device("cpu")) == 0


def test_products_on_cuda_are_exact_within_the_block_only() -> None:
    """The switches can be turned without a GPU."""
    backends: Any = torch.backends
    switches = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [switch.fp32_precision for switch in switches]
    with exact_products(torch.device("cuda")):
        assert not torch.backends.cudnn.allow_tf32
        assert "tf32" not in {switch.fp32_precision for switch in switches}
        with autocast(torch.device("cuda"), "fp32"):
            assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
    assert [switch.fp32_precision for switch in switches] == before
    with pytest.raises(KeyError), exact_products(torch.device("cuda")):
        raise KeyError
    assert [switch.fp32_precision for switch in switches] == before


def test_a_host_that_multiplies_in_tf32_does_so_again_behind_the_block() -> None:
    matmul: Any = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with exact_products(torch.device("cuda")):
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
