"""Every method from `train` to a merged file that is the backbone's own file with other values."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from conftest import Command
from networks import save_tiny

from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.stages.common.adapter_file import attach_adapter, read_adapter

RUN = Path("adaptsr-run")


CASES = [(name, method, ()) for name in ("edsr_basicsr", "safmn", "swinir", "drct") for method in get_args(Method)] + [
    ("swinir", "lora", ("--conv-factorization", "kxk-1x1")),
    ("swinir", "dora", ("--conv-factorization", "single")),
    ("swinir", "lora", ("--init", "pissa")),
    ("swinir", "shira", ("--shira-mask", "snip")),
    ("swinir", "shira", ("--shira-mask", "magnitude")),
]


@pytest.mark.parametrize(("name", "method", "options"), CASES)
def test_merged_file_computes_the_same_and_has_the_same_tensors(
    name: str, method: Method, options: tuple[str, ...], adaptsr: Command, pairs: Path
) -> None:
    file = save_tiny(name, Path("net.safetensors"))
    adaptsr("score", "--data", pairs, "--model", file, "--batches", 1, "--batch", 2, "--patch", 64)
    assert adaptsr("allocate", "--budget", "20%").code == 0
    words = ("train", "--data", pairs, "--iterations", 3, "--batch", 2, "--patch", 64, "--method", method)
    train = adaptsr(*words, *options, "--lr", 0.003, "--objective", "charbonnier")
    assert train.code == 0, train.err
    header, _ = read_adapter(RUN / "adapter.safetensors")
    assert header.method == method
    merge = adaptsr("merge")
    assert merge.code == 0, merge.err
    backbone, merged = load_backbone(file), load_backbone(RUN / "merged.safetensors")
    theirs, ours = backbone.checkpoint.tensors, merged.checkpoint.tensors
    assert [(k, v.shape, v.dtype) for k, v in ours.items()] == [(k, v.shape, v.dtype) for k, v in theirs.items()]
    image = torch.rand(1, 3, 24, 24)
    attach_adapter(backbone, RUN / "adapter.safetensors")
    with torch.inference_mode():
        attached = super_resolve(backbone, image)
        difference = (super_resolve(merged, image) - attached).abs().max()
    assert difference <= 1e-6 * max(1.0, float(attached.abs().max()))


def test_a_run_of_another_method_is_refused(adaptsr: Command, pairs: Path) -> None:
    words = ("train", "--data", pairs, "--iterations", 2, "--batch", 2, "--patch", 64)
    assert adaptsr(*words, "--method", "bitfit").code == 0
    other = adaptsr(*words, "--method", "dora")
    assert other.code == 1
    assert "method was bitfit, now dora" in other.err
    unknown = adaptsr(*words, "--method", "lore")
    assert unknown.code == 2
    assert "lora" in unknown.err
