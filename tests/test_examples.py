"""The examples run as they are, with fewer iterations."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import score_little_in
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
def test_the_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    score_little_in(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["adapt_in_python.py", str(tmp_path), "--iterations", "3"])
    runpy.run_path(str(EXAMPLES / "adapt_in_python.py"), run_name="__main__")
    assert "PSNR-Y" in capsys.readouterr().out
    with (
        Image.open(tmp_path / "pairs" / "test" / "lr" / "coffee.png") as lr,
        Image.open(tmp_path / "coffee_x4.png") as sr,
    ):
        assert np.array_equal(np.array(sr.size), 4 * np.array(lr.size))


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    score_little_in(monkeypatch)
    monkeypatch.setattr(plt, "show", lambda: None)  # what is drawn without a screen cannot be shown
    cells = json.loads((EXAMPLES / "adapt.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "iterations = 100" in sources[0]
    sources[0] = sources[0].replace("iterations = 100", "iterations = 3")
    names: dict[str, object] = {}
    for number, source in enumerate(sources):
        exec(compile(source, f"cell {number}", "exec"), names)
    plt.close("all")
    assert "merged.safetensors" in capsys.readouterr().out
