"""The file of a merged model, in the layout of the backbone's own file, proven on a probe image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.backbones.products import FACTORS, ProductConv, factorise, product_of
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.tensors import write_pth, write_tensors
from adaptsr_cli.stages.common.fields import FileFormat
from adaptsr_cli.stages.common.merged_model import Probe

# Largest probe difference accepted, in parts of the image range. A half-precision file cannot hold the fp32 sum.
_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def merged_tensors(backbone: Backbone, adapted: Iterable[str]) -> dict[str, Tensor]:
    """The file's tensors with the adapted ones, or their factors, replaced, each cast once from fp32.

    Args:
        backbone: The network with the adapters folded in.
        adapted: Names of the network's tensors that they changed.

    Raises:
        ArtifactError: A changed tensor is none of the file's.
    """
    tensors = dict(backbone.checkpoint.tensors)
    current = dict(backbone.model.state_dict())
    changed = set(adapted)
    for product in {name for tensor in changed if (name := product_of(backbone.model, tensor)) is not None}:
        names = [f"{product}.{factor}.{part}" for factor in FACTORS for part in ("weight", "bias")]
        published = {name.removeprefix(f"{product}."): tensors[_key_of(backbone, name)] for name in names}
        layer = backbone.model.get_submodule(product)
        assert isinstance(layer, ProductConv)
        factors = factorise(layer.eval_conv, published)
        current |= {f"{product}.{name}": tensor for name, tensor in factors.items()}
        changed |= {*names, f"{product}.eval_conv.weight", f"{product}.eval_conv.bias"}
    for name in changed:
        key = _key_of(backbone, name)
        tensors[key] = current[name].reshape(tensors[key].shape).to(tensors[key].dtype).cpu().contiguous()
    return tensors


def _key_of(backbone: Backbone, name: str) -> str:
    """The key in the file of a tensor of the network.

    Raises:
        ArtifactError: There is none.
    """
    key = backbone.keys.get(name)
    if key is None:
        raise ArtifactError(
            f"{backbone.checkpoint.path} has no tensor that is {name} of the network",
            "its architecture rearranges weights on loading; convert it to the network's own layout first",
        )
    return key


def write_merged(
    output: Path, format: FileFormat, tensors: dict[str, Tensor], header: MergedHeader, probe: Probe
) -> float:
    """Write the file under another name, load it as anyone would, compare, and only then give it its name.

    Args:
        output: The file.
        format: How it is written.
        tensors: By key of the file.
        header: What the file says of the adapters in it, and of choices that the tensors do not tell.
        probe: What it must compute.

    Returns:
        The largest difference on the probe, in parts of the image range.

    Raises:
        ArtifactError: It computes something else; nothing is written.
    """
    unproven = output.with_name(f".unproven-{output.name}")
    try:
        difference = _write_and_compare(unproven, format, tensors, header, probe)
        lowest = min((tensor.dtype for tensor in tensors.values()), key=lambda dtype: -_TOLERANCE.get(dtype, 0.0))
        if not difference <= _TOLERANCE.get(lowest, 0.0):
            raise ArtifactError(
                f"the merged file differs from adapter + backbone by {difference:.1e} of the range; not written",
                "please report this with the checkpoint's architecture",
            )
        unproven.replace(output)
    finally:
        unproven.unlink(missing_ok=True)
    return difference


def _write_and_compare(
    path: Path, format: FileFormat, tensors: dict[str, Tensor], header: MergedHeader, probe: Probe
) -> float:
    if format == "pth":
        write_pth(path, {"params": tensors, HEADER: _header_text(header)})
    else:
        write_tensors(path, tensors, {HEADER: _header_text(header)})
    with torch.inference_mode():
        return float((super_resolve(load_backbone(path), probe.image) - probe.expected).abs().max())


def _header_text(header: MergedHeader) -> str:
    """As JSON; without the blend where there is none, as older versions wrote it and can read it."""
    return header.model_dump_json(exclude={"blend"} if header.blend is None else None)
