"""The base of all artifacts (the files that one stage writes and the next reads) and the vocabularies of their fields.

Every artifact is a typed, frozen, validated model in a file of its own in this package; `adaptsr_cli.artifacts.kinds`
lists them. They are read and written by `adaptsr_cli.io.documents`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from adaptsr_cli.units import readable_texts

FORMAT_VERSION: Final = 1

HEADER: Final = "adaptsr"
"""Key of the metadata of a safetensors or ONNX file under which an artifact is stored as JSON."""

Scalar = str | int | float | bool | None
SiteKind = Literal["conv", "attention", "mlp", "linear"]
Factorization = Literal["1x1-kxk", "kxk-1x1", "single"]
EngineChoice = Literal["auto", "torch", "openvino", "onnxruntime"]
RawWhiteBalance = Literal["camera", "daylight", "auto"]
"""Whose white a raw file is rendered by."""

Criterion = Literal["gradient", "fisher", "activation", "weight", "snip", "random", "spectral"]
Method = Literal["lora", "full", "bitfit", "dora", "shira", "difffit", "arc", "rasa"]
MethodChoice = Literal["auto", Method]
"""``auto``: what the search for method and learning rate finds."""
LoraScaling = Literal["alpha/r", "alpha/sqrt(r)"]
LoraInit = Literal["default", "gradient", "pissa", "adapter"]
ShiraMask = Literal["movement", "magnitude", "random", "snip"]
Strategy = Literal["greedy", "uniform", "proportional", "spectral"]

NotNegative = Annotated[float, Field(ge=0)]


class StrictModel(BaseModel):
    """Base of all artifacts: immutable, strict types, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def model_post_init(self, _context: Any, /) -> None:
        """Write out what is no UTF-8 in texts: file names need not be, and JSON must be."""
        self.__dict__.update(readable_texts(self.__dict__))


def refuse_duplicates(names: Iterable[str]) -> None:
    """Refuse names that occur more than once.

    Raises:
        ValueError: Naming the first.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]} comes twice")


class BackboneIdentity(StrictModel):
    """Which weights an artifact belongs to.

    Attributes:
        architecture: Architecture id, for example ``SAFMN``.
        scale: Upscaling factor.
        params: Number of parameters of the network.
        sha256: Over names, types, shapes and bytes of all tensors, so the same in .pth and .safetensors.
        source: File name or catalogue name, for people.
        options: Arguments of the network's constructor that the user chose, since the weights do not tell them, and
            ``network``, which of several in the file is meant. Not written where empty.
    """

    architecture: str
    scale: Annotated[int, Field(ge=1)]
    params: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=r"[0-9a-f]{64}")]
    source: str
    # Left out where empty, so that older versions can read what needs no choice.
    options: dict[str, Scalar | tuple[Scalar, ...]] = Field(
        default_factory=dict, exclude_if=lambda options: not options
    )


class Provenance(StrictModel):
    """What made an artifact. No time stamp: the same command gives the same file."""

    tool_version: str
    command: str
    options: dict[str, Scalar | tuple[Scalar, ...]]
    seed: int
    data_fingerprint: str
