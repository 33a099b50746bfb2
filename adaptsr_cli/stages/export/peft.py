"""The peft format: the adapter alone, as a LoRA adapter of peft for spandrel's network."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.stages.common.peft_library import import_peft
from adaptsr_cli.stages.export.request import ExportRequest
from adaptsr_cli.units import format_params

TOLERANCE: Final = 1e-5  # of the image range


@dataclass(frozen=True)
class PeftProof:
    """How peft's adapter on the backbone compares with ours.

    Attributes:
        probe_difference: Largest difference on the probe image, in parts of the image range.
        modules: How many modules of the network the adapter has factors for.
        params: Parameters of peft's factors.
    """

    probe_difference: float
    modules: int
    params: int

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)

    def describe(self) -> tuple[str, ...]:
        """One line."""
        return (
            f"loaded by peft on the backbone's network as spandrel builds it: {self.modules} modules, "
            f"{format_params(self.params)} parameters (a convolution's factors are k x k -> 1 x 1 there)",
        )


@dataclass(frozen=True)
class _Factors:
    """An update of one module as peft's two factors.

    Attributes:
        down: (r, in), or (r, in, k, k) of a convolution.
        up: (out, r), or (out, r, 1, 1) of a convolution.
    """

    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        return len(self.down)


def write_peft(request: ExportRequest) -> PeftProof:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, loaded by peft and compared before.

    An update of any method is written as the LoRA of the smallest rank that holds it, found by singular values.

    Raises:
        ArtifactError: The adapter changes what peft's LoRA cannot, which is named; or peft computes something else.
        UsageError: peft is not installed.
    """
    peft = import_peft()
    assert request.before is not None, "made from an adapter"
    base = copy.deepcopy(request.backbone.model)
    base.load_state_dict(dict(request.before))
    factors = dict(_factorise(request, base))
    with tempfile.TemporaryDirectory() as folder, request.progress.task("peft", 2, unit="step") as task:
        _save(peft, base, factors, Path(folder))
        task.advance()
        difference = _compare(peft, request, Path(folder))
        task.advance()
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            with replace_atomically(request.output / name) as temporary:
                temporary.write_bytes((Path(folder) / name).read_bytes())
    params = sum(one.down.numel() + one.up.numel() for one in factors.values())
    return PeftProof(difference, len(factors), params)


def _factorise(request: ExportRequest, base: nn.Module) -> Iterator[tuple[str, _Factors]]:
    """Each changed module with its update; those that do not change are left out."""
    assert request.before is not None
    after = request.backbone.model.state_dict()
    for name in request.changed:
        owner, _, leaf = name.rpartition(".")
        module = base.get_submodule(owner)
        fits = leaf == "weight" and (
            isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        )
        if not fits:
            raise ArtifactError(
                f"peft's LoRA cannot change {name} ({type(module).__name__}), which this adapter does",
                "export the merged model instead, or train with `adaptsr train --method lora` on other modules",
            )
        found = _split(request.before[name], after[name])
        if found is not None:
            yield owner, found


def _split(before: Tensor, after: Tensor) -> _Factors | None:
    """The update of a weight, (out, in) or (out, in, k, k), as two factors; None where there is none.

    Singular values below what rounding of the weights alone gives are noise.
    """
    delta = (after.double() - before.double()).flatten(1)  # (out, in * k * k)
    noise = torch.finfo(torch.float32).eps * float(after.abs().max()) * sum(side**0.5 for side in delta.shape)
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    rank = int((values > noise).sum())
    if rank == 0:
        return None
    root = values[:rank].sqrt()
    down = (root[:, None] * right[:rank]).reshape(rank, *before.shape[1:])  # (r, in) or (r, in, k, k)
    up = (left[:, :rank] * root).reshape(len(before), rank, *(1,) * (before.ndim - 2))  # (out, r) or (out, r, 1, 1)
    return _Factors(down.float(), up.float())


def _save(peft: Any, base: nn.Module, factors: Mapping[str, _Factors], folder: Path) -> None:
    """Write the adapter as peft does."""
    if not factors:
        raise ArtifactError("this adapter changes nothing", "train it first")
    ranks = {re.escape(name): one.rank for name, one in factors.items()}
    config = peft.LoraConfig(
        target_modules="|".join(map(re.escape, factors)),  # matched in full, as a regular expression
        rank_pattern=ranks,
        alpha_pattern=ranks,  # a scaling of 1
        lora_dropout=0.0,
        bias="none",
    )
    model = peft.get_peft_model(copy.deepcopy(base), config)
    with torch.no_grad():
        for name, one in factors.items():
            layer = model.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(one.down)
            layer.lora_B["default"].weight.copy_(one.up)
    model.save_pretrained(str(folder))


def _compare(peft: Any, request: ExportRequest, folder: Path) -> float:
    """The largest difference on the probe between the adapter that peft loads and ours.

    Raises:
        ArtifactError: It is too large.
    """
    before = request.before
    assert before is not None
    network = copy.deepcopy(request.backbone.model)
    network.load_state_dict(dict(before))
    loaded = peft.PeftModel.from_pretrained(network, str(folder)).eval()
    with torch.inference_mode():
        found = super_resolve(replace(request.backbone, model=loaded), request.probe.image)
    difference = float((found - request.probe.expected).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(request.probe.expected.abs().max())):
        raise ArtifactError(
            f"with peft this {request.backbone.identity.architecture} differs by {difference:.1e} of the range; not "
            "written",
            "its code uses weights other than by calling their modules, which peft needs; export the merged model",
        )
    return difference
