"""The table of all artifacts: one line for each kind of file, from which it is recognised, read and documented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.base import StrictModel
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.dial import DialRecord
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.artifacts.pairs import PairsRecord
from adaptsr_cli.artifacts.preflight import PreflightRecord
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.artifacts.saliency import InitDirectionsHeader, Saliency
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.artifacts.train_state import LoopState
from adaptsr_cli.artifacts.upscale import UpscaleMetadata
from adaptsr_cli.artifacts.warm_start import WarmStartHeader

Storage = Literal["json", "json lines", "tensors", "image"]
"""``json``: a JSON file; ``json lines``: one artifact a line; ``tensors``: JSON in the metadata of a safetensors file,
under the key `HEADER`; ``image``: JSON in the metadata of an image file."""


@dataclass(frozen=True)
class ArtifactKind:
    """One kind of artifact.

    Attributes:
        file: Where it lies: in the run folder, or what is said in brackets.
        model: Its fields.
        storage: How it is stored.
    """

    file: str
    model: type[StrictModel]
    storage: Storage

    @property
    def name(self) -> str | None:
        """The value of its field ``artifact``, by which it is recognised; None for lines of a log."""
        field = self.model.model_fields.get("artifact")
        return None if field is None else str(field.default)


ARTIFACTS: Final = (
    ArtifactKind("(folder of pairs) pairs.json", PairsRecord, "json"),
    ArtifactKind("run.json", RunRecord, "json"),
    ArtifactKind("saliency.json", Saliency, "json"),
    ArtifactKind("saliency.safetensors", InitDirectionsHeader, "tensors"),
    ArtifactKind("rank_map.json", RankMap, "json"),
    ArtifactKind("rank_map.safetensors", WarmStartHeader, "tensors"),
    ArtifactKind("degradation.json", DegradationRecord, "json"),
    ArtifactKind("training/split.json", SplitRecord, "json"),
    ArtifactKind("training/search.json", SearchRecord, "json"),
    ArtifactKind("training/log.jsonl", LogRow, "json lines"),
    ArtifactKind("training/state.safetensors", LoopState, "tensors"),
    ArtifactKind("training/card.json", RunCard, "json"),
    ArtifactKind("training/guard.json", GuardRecord, "json"),
    ArtifactKind("adapter.safetensors", AdapterHeader, "tensors"),
    ArtifactKind("perceptual/training/dial.json", DialRecord, "json"),
    ArtifactKind("merged.safetensors", MergedHeader, "tensors"),
    ArtifactKind("eval.json", Evaluation, "json"),
    ArtifactKind("(upscaled images)", UpscaleMetadata, "image"),
    ArtifactKind("(cache folder) preflight/*.json", PreflightRecord, "json"),
)
"""All artifacts, in the order in which the stages write them."""

KINDS: Final[dict[str, ArtifactKind]] = {kind.name: kind for kind in ARTIFACTS if kind.name is not None}
"""The artifacts that say what they are, by the value of their field ``artifact``."""


def json_schemas() -> dict[str, dict[str, Any]]:
    """Make the JSON schema of every artifact, by the name of its file."""
    return {kind.file: kind.model.model_json_schema() for kind in ARTIFACTS}
