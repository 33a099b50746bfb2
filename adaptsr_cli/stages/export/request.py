"""What a format is asked to write, and the proof that it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.merged_model import Probe


@dataclass(frozen=True)
class ExportRequest:
    """A network to write, and where.

    Attributes:
        output: The file, or for peft the folder.
        backbone: The network with the adapter folded in, on the CPU.
        before: The network's tensors before folding, by name; None where a merged file is exported, which does not
            tell them.
        changed: Names of the tensors that folding changed; none where a merged file is exported.
        header: What the file says of the adapters in it.
        probe: An image, and what adapter + backbone made of it before folding.
        half: Weights in half precision.
        tile_px: The only width and height of LR images; None for any.
        licence: Of the backbone's weights, as the user states it.
        progress: Where to tell.
    """

    output: Path
    backbone: Backbone
    before: Mapping[str, Tensor] | None
    changed: Sequence[str]
    header: MergedHeader
    probe: Probe
    half: bool
    tile_px: int | None
    licence: str | None
    progress: Progress

    def metadata(self) -> dict[str, str]:
        """What a program without our code can read off the file."""
        identity = self.header.backbone
        tile = {"tile_px": str(self.tile_px)} if self.tile_px else {}
        return {
            "architecture": identity.architecture,
            "source": identity.source,
            "scale": str(identity.scale),
            "tool": f"adaptsr {self.header.provenance.tool_version}",
            "backbone_sha256": identity.sha256,
            "adapter_sha256": self.header.adapter_sha256,
            "colour": "RGB as displayed (sRGB or the like)",
            "layout": "lr: (batch, 3, height, width) float32 RGB; sr: the same with scale times the height and width",
            "normalisation": "none outside of the graph: values in [0, 1] in and, not clamped, out",
            "licence": self.licence or "that of the backbone's weights",
            **tile,
        }


class ExportProof(Protocol):
    """How what was written compares with the network in torch."""

    @property
    def probe_difference(self) -> float:
        """Largest difference on the probe image, in parts of the image range."""

    def describe(self) -> Sequence[str]:
        """Lines for people."""

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
