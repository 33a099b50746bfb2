"""Names of results that are to be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptsr_cli.errors import UsageError
from adaptsr_cli.stages.common.places import require_suffix


@pytest.mark.parametrize(
    ("name", "better"),
    [("x", "x.onnx"), ("x.pth", "x.onnx"), ("x-1.2", "x-1.2.onnx"), ("x.", "x..onnx"), ("folder", "folder/model.onnx")],
)
def test_a_name_that_goes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, better: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    require_suffix(Path(better), ".onnx")
    with pytest.raises(UsageError, match=f"`output` {name} does not end in .onnx") as caught:
        require_suffix(Path(name), ".onnx")
    assert caught.value.hint == f"name a file such as {better}"
