"""Arguments of the networks' constructors: what spandrel reads wrongly out of the tensors, and what no tensor tells.

Spandrel deduces a constructor's arguments from names and shapes. Every architecture was built with each argument
changed, stored, loaded again and compared; what came back as another network is listed here.

* `CORRECTIONS` mend what the tensors do tell, or what the authors' recipes make plain.
* `UNTOLD` are arguments that change the result and that no tensor tells. They are as in the authors' published
  recipes; a network trained otherwise needs `model_options`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from adaptsr_cli.artifacts.base import Scalar
from adaptsr_cli.errors import UsageError, nearest

State = Mapping[str, Tensor]
Arguments = Mapping[str, Any]
Value = Scalar | tuple[Scalar, ...]

DIV2K_MEAN_RGB: Final = (0.4488, 0.4371, 0.4040)

NETWORK: Final = "network"
"""The choice that is none of a constructor: which of several networks in a file is meant."""

UNTOLD: Final[Mapping[str, tuple[str, ...]]] = {
    "ATD": ("img_range", "category_size"),
    "CRAFT": ("img_range", "qk_scale", "window_size"),
    "DAT": ("img_range", "qk_scale"),
    "DCTLSA": ("num_head",),
    "DITN": ("patch_size",),
    "DRCT": ("img_range", "qk_scale"),
    "EDSR": ("residual_scale", "pixel_range"),
    "ESRGAN": ("act",),
    "GRL": ("img_range", "window_size", "stripe_size", "stripe_groups", "stripe_shift", "euclidean_dist"),
    "HAT": ("img_range", "conv_scale", "qk_scale"),
    "PLKSR": ("norm_groups", "with_idt"),
    "RCAN": ("act_mode",),
    "RGT": ("img_range", "qk_scale", "num_heads"),
    "SPAN": ("img_range", "rgb_mean"),
    "SeemoRe": ("img_range", "use_shuffle", "recursive", "topk"),
    "Swin2SR": ("img_range",),
    "SwinIR": ("img_range", "qk_scale"),
}

# Ratios of two whole numbers of channels, of which the constructor makes the second again, rounding down.
_RATIOS: Final = re.compile(r"(\w+_)?(ratio|expansion_factor|ffn_scale|expansion_msg)")
_SEEMORE_SIZES: Final = ((6, 36), (8, 48), (16, 48))
_A_LITTLE: Final = 1 + 1e-9


def _correct_window_attention(state: State, arguments: Arguments) -> dict[str, Any]:
    """SwinIR and Swin2SR.

    The range of 255 belongs to the authors' networks against JPEG artefacts, which spandrel knows by their windows of
    7 px. Those keep the size of the image; in all recipes that enlarge the range is 1.
    """
    changes: dict[str, Any] = {}
    if arguments["upsampler"]:
        changes["img_range"] = 1.0
    block = "layers.0.residual_group.blocks.0"
    if f"{block}.attn.logit_scale" not in state:  # SwinIR; of Swin2SR spandrel reads these
        changes["qkv_bias"] = f"{block}.attn.qkv.bias" in state
        changes["patch_norm"] = "patch_embed.norm.weight" in state
        changes["ape"] = "absolute_pos_embed" in state
        deep = any(".blocks.1." in key for key in state)
        if deep and not any(key.endswith(".attn_mask") for key in state):
            changes["img_size"] = arguments["window_size"]  # images of one window, which are not shifted
        if changes["ape"]:
            changes["img_size"] = math.isqrt(state["absolute_pos_embed"].shape[1])
    return changes


def _correct_drct(state: State, _arguments: Arguments) -> dict[str, Any]:
    """DRCT, whose blocks have different widths: one ratio that gives the hidden channels of all."""
    widths = [state.get(f"layers.0.swin{place}.mlp.fc1.weight") for place in (1, 2, 3)]
    return {"mlp_ratio": max(weight.shape[0] / weight.shape[1] for weight in widths if weight is not None)}


def _correct_dat(state: State, _arguments: Arguments) -> dict[str, Any]:
    """DAT: the size of the training patch from whichever block has masks."""
    masks = next((tensor for key, tensor in state.items() if key.endswith(".attn_mask_0")), None)
    return {} if masks is None else {"img_size": math.isqrt(masks.shape[0] * masks.shape[1])}


def _correct_rgt(state: State, _arguments: Arguments) -> dict[str, Any]:
    """RGT: height and width of the windows in their order, which the farthest offset tells."""
    return {"split_size": [int(offset) + 1 for offset in state["layers.0.blocks.0.attn.attns.0.rpe_biases"][-1]]}


def _correct_craft(state: State, _arguments: Arguments) -> dict[str, Any]:
    """CRAFT: as RGT."""
    first, second = (int(offset) + 1 for offset in state["biases_h"][-1])
    return {"split_size_0": first, "split_size_1": second}


def _correct_rcan(state: State, _arguments: Arguments) -> dict[str, Any]:
    """RCAN: what white is inside, from the offset of the mean shift, which is -range x mean."""
    return {} if "sub_mean.bias" not in state else {"rgb_range": read_pixel_range(state["sub_mean.bias"])}


CORRECTIONS: Final[Mapping[str, Callable[[State, Arguments], dict[str, Any]]]] = {
    "CRAFT": _correct_craft,
    "DAT": _correct_dat,
    "DRCT": _correct_drct,
    "RCAN": _correct_rcan,
    "RGT": _correct_rgt,
    "Swin2SR": _correct_window_attention,
    "SwinIR": _correct_window_attention,
}


def read_pixel_range(shift_bias: Tensor) -> float:
    """What white is inside a network, from the offset of its first mean shift: -range x mean of DIV2K."""
    ratio = float((-shift_bias.float() / torch.tensor(DIV2K_MEAN_RGB)).mean())
    return 255.0 if ratio > 255.0 / 2 else 1.0


def settle(architecture: str, state: State, deduced: Arguments, choices: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments to build a network with.

    Args:
        architecture: Its id.
        state: Its tensors.
        deduced: What spandrel makes of them.
        choices: What the user knows better.

    Raises:
        UsageError: A choice that is no argument of this network, or of another kind than it.
    """
    arguments = dict(deduced)
    if correct := CORRECTIONS.get(architecture):
        arguments |= correct(state, deduced)
    for name, value in arguments.items():
        if isinstance(value, float) and _RATIOS.fullmatch(name) and not value.is_integer():
            arguments[name] = value * _A_LITTLE
    return arguments | {name: _fit(architecture, name, value, arguments) for name, value in choices.items()}


def _fit(architecture: str, name: str, value: Value, arguments: Arguments) -> Any:
    """A choice in the type of what was deduced."""
    if name not in arguments:
        names = [known for known, now in arguments.items() if _is_plain(now)]
        hint = nearest(name, names) or f"{architecture} has {', '.join(names)}"
        raise UsageError(f"`model_options` {name} is not an option of {architecture}", hint)
    now = arguments[name]
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    if isinstance(now, list | tuple):
        items = value if isinstance(value, tuple) else (value,)
        kinds = {type(item) for item in now} - {type(None)}
        fits = not kinds or all(_cast(item, next(iter(kinds))) is not None or item is None for item in items)
        if fits:
            return type(now)(_cast(item, next(iter(kinds))) if kinds and item is not None else item for item in items)
        what = "numbers with commas between"
    else:
        if now is None or value is None or (fitted := _cast(value, type(now))) is not None:
            return value if now is None or value is None else fitted
        what = wanted.get(type(now), "nothing that can be chosen")
    raise UsageError(f"`model_options` {name} is {format_value(value)}; {architecture} takes {what} there")


def _cast(value: object, kind: type) -> Any:
    """`value` as a `kind`; None where it is none."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is kind else None


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | tuple)


def parse_choices(texts: Iterable[str]) -> dict[str, Value]:
    """Read ``img_range=1``: numbers, true, false, none, words, and lists with commas.

    Raises:
        UsageError: A text without ``=``, or a name that comes twice with different values.
    """
    choices: dict[str, Value] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise UsageError(f"`model_options` {text!r} is not NAME=VALUE", "for example img_range=1")
        items = tuple(_parse(item.strip()) for item in value.strip("[]()").split(",") if item.strip())
        parsed: Value = items if len(items) != 1 or value[0] in "[(" else items[0]
        parsed = value if name == NETWORK else parsed
        if choices.get(name, parsed) != parsed:
            raise UsageError(f"`model_options` {name} is given twice, as {format_value(choices[name])} and {value}")
        choices[name] = parsed
    return choices


def _parse(text: str) -> Scalar:
    if text.lower() in ("none", "null"):
        return None
    try:
        found = json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:
        return text
    return found if isinstance(found, bool | int | float) and math.isfinite(found) else text


def format_value(value: object) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, list | tuple):
        return ",".join(map(format_value, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def format_choices(choices: Mapping[str, Any]) -> str:
    """``img_range=1, qk_scale=none``."""
    return ", ".join(f"{name}={format_value(value)}" for name, value in choices.items())


def list_choices(choices: Mapping[str, Any]) -> list[str]:
    """Choices as `parse_choices` reads them."""
    return [f"{name}={format_value(value)}" for name, value in choices.items()]


def format_untold(architecture: str, arguments: Arguments, choices: Mapping[str, Value]) -> str:
    """The arguments that no tensor tells, but for those that were chosen; empty where there is none."""
    names = [name for name in UNTOLD.get(architecture, ()) if name in arguments and name not in choices]
    return format_choices({name: arguments[name] for name in names})


def doubtful_guess(
    architecture: str, arguments: Arguments, names: Container[str], choices: Mapping[str, Value]
) -> str | None:
    """What to tell of a network that is none of the published ones, or of which two published ones disagree.

    Args:
        architecture: Its id.
        arguments: What it was built with.
        names: Of its tensors.
        choices: What the user knew better.

    Returns:
        None where there is no doubt.
    """
    untold = [name for name in UNTOLD.get(architecture, ()) if name in arguments]
    if architecture in ("SwinIR", "Swin2SR") and arguments["window_size"] == 7:
        doubtful, why = ["img_range"], "windows of 7 px are otherwise those of networks with 255, which do not enlarge"
    elif architecture == "ATD" and arguments["embed_dim"] not in (48, 210):
        doubtful, why = ["category_size"], "no published network has this width"
    elif architecture == "DCTLSA" and arguments["nf"] != 55:
        doubtful, why = ["num_head"], "no published network has this width"
    elif architecture == "SeemoRe" and (arguments["num_layers"], arguments["embedding_dim"]) not in _SEEMORE_SIZES:
        doubtful, why = untold, "no published network has this size"
    elif architecture == "GRL" and "table_w" not in names:
        doubtful, why = ["window_size", "stripe_size"], "published networks differ in them"
    else:
        return None
    doubtful = [name for name in doubtful if name not in choices]
    if not doubtful:
        return None
    taken = format_choices({name: arguments[name] for name in doubtful})
    return f"the file does not tell {taken}, and {why}: give `model_options` NAME=VALUE if yours was built otherwise"
