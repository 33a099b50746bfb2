"""Importing and calling the package leaves the process of its caller as it was."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import save_tiny
from PIL import Image

from adaptsr_cli import runtime
from adaptsr_cli.io import faults as image_faults
from adaptsr_cli.io.images import read_rgb, write_rgb
from adaptsr_cli.runtime import freed_memory_kept, random_state_kept

USE_EVERYTHING = """
import importlib, locale, logging, os, pkgutil, random, signal, sys, warnings
from pathlib import Path

import lpips, matplotlib, matplotlib.figure, numpy as np, PIL.ImageFile, PIL.PngImagePlugin, scipy.stats, skimage.data
import tifffile, torch
from PIL import Image

folder, model = Path(sys.argv[1]), Path(sys.argv[2])

loggers = [None, "PIL", "tifffile", "torch", "torch.utils.cpp_extension", *logging.root.manager.loggerDict]


def snapshot():
    umask = os.umask(0)
    os.umask(umask)
    numpy_state = np.random.get_state()
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "torch seed": torch.get_rng_state().numpy().tobytes(),
        "numpy seed": (numpy_state[1].tobytes(), *numpy_state[2:]),
        "numpy errors": np.geterr(),
        "python seed": random.getstate(),
        "Pillow": (
            Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES, PIL.PngImagePlugin.MAX_TEXT_CHUNK,
            PIL.PngImagePlugin.MAX_TEXT_MEMORY,
        ),
        "logging": [(n, logging.getLogger(n).level, list(logging.getLogger(n).handlers)) for n in loggers],
        "warnings": list(warnings.filters),
        "matplotlib": dict(dict.items(matplotlib.rcParams)),  # reading it otherwise would choose a backend
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "hooks": (sys.excepthook, sys.stdout, sys.stderr),
        "system": (umask, os.getcwd(), locale.setlocale(locale.LC_ALL)),
    }


before = snapshot()

import adaptsr_cli

for found in pkgutil.walk_packages(adaptsr_cli.__path__, "adaptsr_cli."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)

from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS
from adaptsr_cli.imaging.degrade import degrade
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.images import read_picture, read_rgb, write_rgb
from adaptsr_cli.report.page import page_of

rgb = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
for suffix in (".png", ".jpg", ".tif", ".webp"):
    write_rgb(folder / f"a{suffix}", rgb)
    read_picture(folder / f"a{suffix}")
(folder / "bad.tif").write_bytes((folder / "a.tif").read_bytes()[:-40])
try:
    read_rgb(folder / "bad.tif")
except adaptsr_cli.errors.AdaptsrError:
    pass
for degradation in DEGRADATIONS.values():
    degrade(rgb, 4, degradation, np.random.default_rng(0))
backbone = load_backbone(model)
Upscaler(backbone, device=torch.device("cpu")).run(rgb)
with page_of(folder / "page.png", 2, 2):
    pass

after = snapshot()
print(sorted(name for name in before if before[name] != after[name]))
known = sys.modules.get("torchvision.transforms.functional")
print(known is None or hasattr(known, "__file__"))
"""


def test_nothing_is_changed(tmp_path: Path) -> None:
    model = save_tiny("safmn", tmp_path / "model.safetensors")
    command = [sys.executable, "-W", "default", "-c", USE_EVERYTHING, str(tmp_path), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "True"]


def test_the_random_state_is_given_back() -> None:
    @random_state_kept()
    def draw() -> None:
        runtime.seed_everything(7)
        torch.rand(3)

    expected = [(random.random(), np.random.rand(), float(torch.rand(1))) for _ in [runtime.seed_everything(1)]]
    runtime.seed_everything(1)
    draw()
    assert [(random.random(), np.random.rand(), float(torch.rand(1)))] == expected


def test_pillows_limit_is_lifted_while_any_thread_reads_and_then_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    write_rgb(tmp_path / "a.png", np.zeros((60, 60, 3), np.uint8))
    faults: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                read_rgb(tmp_path / "a.png")
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(KeyError), image_faults.pixel_limit_lifted(), image_faults.pixel_limit_lifted():
        raise KeyError
    assert Image.MAX_IMAGE_PIXELS == 1000


class FakeLibrary:
    """A C library that notes how it is adjusted."""

    def __init__(self) -> None:
        self.settings: list[tuple[int, int]] = []
        self.trims = 0

    def mallopt(self, number: int, value: int) -> None:
        self.settings.append((number, value))

    def malloc_trim(self, keep: int) -> None:
        self.trims += 1


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of GNU")
def test_the_allocator_is_adjusted_once_by_blocks_that_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(runtime, "_glibc", lambda: library)
    first, second = (freed_memory_kept(torch.device("cpu")) for _ in range(2))
    first.__enter__()
    second.__enter__()
    assert len(library.settings) == 2
    first.__exit__(None, None, None)  # as a generator that is closed before the one it was opened in
    assert (len(library.settings), library.trims) == (2, 0)
    second.__exit__(None, None, None)
    assert (len(library.settings), library.trims) == (4, 1)
    with freed_memory_kept(torch.device("cuda")):
        assert len(library.settings) == 4
