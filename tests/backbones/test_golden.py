"""R10: what every backbone gives for a fixed image, so that a wrong range, mean, order or key mapping is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import NETWORKS, save_tiny

from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone

# Mean, standard deviation, and the pixels [R, 0, 0], [G, 17, 23], [B, -1, -1] of the output for the image below.
GOLDEN = {
    "edsr_pytorch": (0.44962, 0.49906, 0.62995, 0.62895, 0.31069),
    "edsr_pytorch_x2": (0.43786, 0.44433, 0.15212, 0.42252, 0.30350),
    "edsr_pytorch_x3": (0.46231, 0.46831, 0.90152, 0.04755, 0.38666),
    "edsr_basicsr": (0.42082, 0.45977, 0.52495, 0.58611, 0.34904),
    "edsr_basicsr_x2": (0.27842, 0.45938, 0.35362, 0.29711, 0.37608),
    "edsr_basicsr_x3": (0.45535, 0.47780, 0.46711, 0.13293, 0.32969),
    "safmn": (0.32989, 1.64693, -0.59227, 2.20499, -1.27611),
    "safmn_x2": (-0.08726, 1.68269, -0.59227, 1.08723, -1.42914),
    "swinir": (0.41430, 0.65611, 0.72557, 1.13933, 0.42436),
    "hat": (0.40434, 0.68088, 0.66047, 0.77104, 0.55924),
    "drct": (0.39738, 0.69669, 0.71251, 1.03302, 1.00228),
    "dat": (0.38799, 0.68397, 0.49881, 0.57270, 0.68543),
    "span": (-0.01089, 0.19993, -0.19675, -0.13468, -0.01689),
    "span_x2": (-0.02695, 0.20005, -0.19675, 0.17353, 0.17120),
    "realplksr": (0.43401, 1.63080, 1.35661, 2.46986, 1.40775),
    "rrdb": (-0.22134, 0.36799, -0.08004, 0.02458, 0.11769),
    "rrdb_new": (-0.22134, 0.36799, -0.08004, 0.02458, 0.11769),
    "rcan": (0.42488, 0.55194, 0.36413, 0.41092, 0.35544),
}


def test_every_tiny_network_has_a_golden_output() -> None:
    assert set(GOLDEN) == set(NETWORKS)


@pytest.mark.parametrize("name", GOLDEN)
def test_output_is_the_golden_one(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / "tiny.safetensors"))
    pixels = np.random.default_rng(7).random((1, 3, 20, 24), dtype=np.float32)
    with torch.no_grad():
        sr = super_resolve(backbone, torch.from_numpy(pixels))
    found = (sr.mean(), sr.std(), sr[0, 0, 0, 0], sr[0, 1, 17, 23], sr[0, 2, -1, -1])
    assert tuple(value.item() for value in found) == pytest.approx(GOLDEN[name], abs=1e-4, rel=1e-4)
