"""ncnn files: what is run is the image that was given, and the network is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import save_tiny

from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.backbones.ncnn_model import NcnnFiles, NcnnModel, WholeCells, export_ncnn
from adaptsr_cli.errors import CheckpointError

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


def test_parts_of_images_and_odd_sizes(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A part of an image is not laid out as a whole one, and ncnn's matrix does not own the memory it is made of."""
    backbone = load_backbone(save_tiny("safmn_x2", tmp_path / "net.safetensors"))
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    network = WholeCells(backbone)
    files = NcnnFiles(tmp_path / "net.param", tmp_path / "net.bin")
    export_ncnn(network, files, half=False)
    assert not recwarn.list
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.model.state_dict().items())
    model = NcnnModel(files)
    image = torch.rand(2, 3, 80, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for part in (image[:, :, 8:24, 16:40], image[:, :, ::2, ::2], image[:, :, 3:20, 5:36], image[1:]):
            assert float((model.run(part) - network(part)).abs().max()) < 1e-4
        whole = image[:, :, :48, :64]  # a whole number of cells: the network as it is
        assert float((network(whole) - super_resolve(backbone, whole)).abs().max()) < 1e-5


def test_an_operator_that_ncnn_lacks_is_named(tmp_path: Path) -> None:
    files = NcnnFiles(tmp_path / "net.param", tmp_path / "net.bin")
    files.param.write_text("7767517\n2 2\nInput in0 0 1 data\ntorch.roll roll_0 1 1 data output\n", encoding="ascii")
    files.bin.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no operator for torch\.roll"):
        NcnnModel(files)
