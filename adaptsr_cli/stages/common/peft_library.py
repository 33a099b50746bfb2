"""The door to peft, and the updates of an adapter that it wrote."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from adaptsr_cli.errors import ArtifactError, UsageError

_INSTALL: Final = "pip install 'adaptsr[peft]'"


def import_peft() -> Any:
    """Import peft, which takes seconds.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise UsageError("peft's format needs the package peft", _INSTALL) from error
    return peft


def read_peft_updates(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """Read what a LoRA adapter of peft adds to the weights of a network.

    Args:
        model: The network as spandrel builds it, on the CPU; left as it is.
        folder: With ``adapter_config.json`` and the weights.

    Returns:
        Module name -> its update, of its weight's shape.

    Raises:
        ArtifactError: It is no adapter of peft's, is not a LoRA of Linear and Conv2d layers alone, or does not fit.
        UsageError: peft is not installed.
    """
    if not (folder / "adapter_config.json").is_file():
        raise ArtifactError(f"{folder} is no adapter of peft: it has no adapter_config.json", "name such a folder")
    peft = import_peft()
    try:
        loaded = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(folder))
    except Exception as error:  # peft, safetensors and torch each have errors of their own here
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ArtifactError(f"{folder} does not fit this network: {said}", "name the backbone by `model`") from error
    network = loaded.base_model.model
    layers = peft.tuners.lora.layer.LoraLayer
    updates = {}
    with torch.no_grad():
        for name, module in network.named_modules():
            if not isinstance(module, layers):
                continue
            kind = type(module.get_base_layer())
            if kind not in (nn.Linear, nn.Conv2d) or any(getattr(module, "use_dora", {}).values()):
                raise ArtifactError(f"{folder} changes {name} ({kind.__name__}) in a way that is no plain LoRA")
            updates[name] = module.get_delta_weight("default").detach().clone()
    if not updates:
        raise ArtifactError(f"{folder} is no LoRA adapter", "only peft's LoRA can be continued")
    return updates
