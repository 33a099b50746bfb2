"""Tiny seeded networks of the architectures that matter, and their checkpoints.

Every network is a real one as far as detection and loading go, only narrow and shallow.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from spandrel.architectures.DAT import DAT
from spandrel.architectures.DRCT import DRCT
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.HAT import HAT
from spandrel.architectures.PLKSR import RealPLKSR
from spandrel.architectures.RCAN import RCAN
from spandrel.architectures.SAFMN import SAFMN
from spandrel.architectures.SPAN import SPAN
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor, nn

from adaptsr_cli.backbones.edsr import DIV2K_MEAN_RGB, EDSR, PIXEL_RANGE, BasicsrEDSR
from adaptsr_cli.io.tensors import write_pth, write_tensors

_WINDOWED = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "mlp_ratio": 2, "upsampler": "pixelshuffle"}


def _edsr_pytorch(scale: int = 4) -> nn.Module:
    model = EDSR(scale, width=8, blocks=2, kernel_size=3, residual_scale=1.0, pixel_range=PIXEL_RANGE)
    shift = PIXEL_RANGE * torch.tensor(DIV2K_MEAN_RGB)
    model.sub_mean.bias.copy_(-shift)
    model.add_mean.bias.copy_(shift)
    return model


def _edsr_basicsr(scale: int = 4) -> nn.Module:
    return BasicsrEDSR(scale, width=8, blocks=2, kernel_size=3, residual_scale=1.0)


def _safmn(scale: int = 4) -> nn.Module:
    return SAFMN(dim=8, n_blocks=2, upscaling_factor=scale)


def _swinir(scale: int = 4) -> nn.Module:
    return SwinIR(**_WINDOWED, upscale=scale, window_size=8, img_size=16, img_range=1.0, resi_connection="1conv")


def _hat(scale: int = 4) -> nn.Module:
    return HAT(
        **_WINDOWED,
        upscale=scale,
        window_size=8,
        img_size=16,
        img_range=1.0,
        compress_ratio=3,
        squeeze_factor=4,
        overlap_ratio=0.5,
        resi_connection="1conv",
    )


def _drct(scale: int = 4) -> nn.Module:
    options = {**_WINDOWED, "upscale": scale, "window_size": 8, "img_size": 16, "img_range": 1.0, "gc": 8}
    return DRCT(**options, resi_connection="1conv")


def _dat(scale: int = 4) -> nn.Module:
    return DAT(
        img_size=16,
        split_size=[8, 8],
        embed_dim=32,
        depth=[2],
        num_heads=[2],
        expansion_factor=2,
        upscale=scale,
        img_range=1.0,
        resi_connection="1conv",
        upsampler="pixelshuffle",
    )


def _span(scale: int = 4) -> nn.Module:
    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=scale)


def _realplksr(scale: int = 4) -> nn.Module:
    return RealPLKSR(dim=8, n_blocks=2, upscaling_factor=scale, kernel_size=5)


def _rrdb(scale: int = 4) -> nn.Module:
    return ESRGAN(num_filters=8, num_blocks=2, scale=scale)


def _rcan(scale: int = 4) -> nn.Module:
    return RCAN(scale=scale, n_resgroups=1, n_resblocks=2, n_feats=8, reduction=4)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "edsr_pytorch": _edsr_pytorch,
    "edsr_pytorch_x2": partial(_edsr_pytorch, 2),
    "edsr_pytorch_x3": partial(_edsr_pytorch, 3),
    "edsr_basicsr": _edsr_basicsr,
    "edsr_basicsr_x2": partial(_edsr_basicsr, 2),
    "edsr_basicsr_x3": partial(_edsr_basicsr, 3),
    "safmn": _safmn,
    "safmn_x2": partial(_safmn, 2),
    "swinir": _swinir,
    "hat": _hat,
    "drct": _drct,
    "dat": _dat,
    "span": _span,
    "span_x2": partial(_span, 2),
    "realplksr": _realplksr,
    "rrdb": _rrdb,
    "rrdb_new": _rrdb,
    "rcan": _rcan,
}
"""Name -> what builds it. x4 where the name says nothing else."""

ARCHITECTURES = {
    "edsr_pytorch": "EDSR",
    "edsr_basicsr": "EDSR",
    "safmn": "SAFMN",
    "swinir": "SwinIR",
    "hat": "HAT",
    "drct": "DRCT",
    "dat": "DAT",
    "span": "SPAN",
    "realplksr": "PLKSR",
    "rrdb": "ESRGAN",
    "rrdb_new": "ESRGAN",
    "rcan": "RCAN",
}
"""One x4 network of each architecture and key style -> the id it must be recognised by."""


def tiny_state(name: str) -> dict[str, Tensor]:
    """The state dict of a tiny network, the same every time, under the keys of its official checkpoints."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # in spandrel's code
        model = NETWORKS[name]().eval()
        for parameter_name, parameter in model.named_parameters():
            if not parameter_name.startswith(("sub_mean", "add_mean")):
                parameter.copy_(_seeded_values(parameter_name, parameter.shape))
        if isinstance(model, SPAN):
            model.upsampler[0].weight.div_(model.img_range)  # takes 0-255, gives 0-1
        model(torch.zeros(1, 3, 16, 16))  # SPAN computes the convolutions that it evaluates with
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    return _new_rrdb_keys(state) if name == "rrdb_new" else state


def _seeded_values(name: str, shape: torch.Size) -> Tensor:
    """Values that depend on name and shape only, not on torch's initialisations, scaled to keep signals in range."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    noise = torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))
    if len(shape) > 1:
        return noise / max(1, shape[1:].numel()) ** 0.5
    return 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise


def _new_rrdb_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the keys of the first ESRGAN release (``model.0``) to those of BasicSR (``conv_first``), for x4."""
    blocks = max(int(key.split(".")[3]) for key in state if key.startswith("model.1.sub.") and ".RDB" in key) + 1
    names = {
        "model.0": "conv_first",
        f"model.1.sub.{blocks}": "conv_body",
        "model.3": "conv_up1",
        "model.6": "conv_up2",
        "model.8": "conv_hr",
        "model.10": "conv_last",
    }
    renamed = {}
    for key, tensor in state.items():
        module, kind = key.rsplit(".", 1)
        if module not in names:
            _, _, _, block, dense, conv, _ = module.split(".")
            names[module] = f"body.{block}.{dense.lower()}.{conv}"
        renamed[f"{names[module]}.{kind}"] = tensor
    return renamed


def save_tiny(name: str, path: Path) -> Path:
    """Writes a tiny network to `path`: ``.safetensors``, or ``.pth`` with the weights under ``params``."""
    if path.suffix == ".safetensors":
        write_tensors(path, tiny_state(name), {})
    else:
        write_pth(path, {"params": tiny_state(name)})
    return path
