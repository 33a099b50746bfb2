"""Importing spandrel without torchvision."""

from __future__ import annotations

import subprocess
import sys

import pytest

from adaptsr_cli.backbones.architectures import _torchvision_deferred

PROBE = """
import sys
from adaptsr_cli.backbones.architectures import MAIN_REGISTRY
print("torchvision" in sys.modules, "torchvision.transforms.functional" in sys.modules, "torch._dynamo" in sys.modules)
names = sorted(support.architecture.id for support in MAIN_REGISTRY.architectures("detection"))
import torch
from spandrel.architectures.RestoreFormer import RestoreFormerArch
from spandrel.architectures import RestoreFormer, LaMa
image = torch.rand(1, 3, 4, 4)
from torchvision.transforms.functional import normalize, rotate
assert torch.equal(RestoreFormer.tv_normalize(image, [0.5] * 3, [0.5] * 3), normalize(image, [0.5] * 3, [0.5] * 3))
module = sys.modules["spandrel.architectures.LaMa.__arch.LaMa"]
turned = module.rotate(image, 20.0, module.InterpolationMode.BILINEAR, fill=0)
from torchvision.transforms.functional import InterpolationMode
assert torch.equal(turned, rotate(image, 20.0, InterpolationMode.BILINEAR, fill=0))
print(len(names), "LaMa" in names, "RestoreFormer" in names)
"""


def test_spandrel_comes_without_torchvision_and_all_its_architectures() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROBE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded, names = done.stdout.splitlines()
    assert loaded == "False False False"
    count, *known = names.split()
    assert int(count) >= 42
    assert known == ["True", "True"]


def test_a_module_that_is_there_is_used() -> None:
    import torchvision.transforms.functional as real

    with _torchvision_deferred():
        assert sys.modules["torchvision.transforms.functional"] is real
    assert sys.modules["torchvision.transforms.functional"] is real


def test_the_stand_in_goes_when_the_import_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torchvision.transforms.functional", raising=False)
    with pytest.raises(ImportError, match="spandrel"):
        _import_in_vain()
    assert "torchvision.transforms.functional" not in sys.modules


def _import_in_vain() -> None:
    with _torchvision_deferred():
        assert type(sys.modules["torchvision.transforms.functional"]).__name__ == "_DeferredModule"
        raise ImportError("no spandrel")
