"""Reading of artifacts of any kind.

Apart from `documents`, which every command imports: the table of all kinds takes longer to import than one kind.
"""

from __future__ import annotations

from adaptsr_cli.artifacts.base import StrictModel
from adaptsr_cli.artifacts.kinds import KINDS
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.strict_json import parse_json


def parse_artifact(text: str, place: str) -> StrictModel:
    """Read an artifact of any kind from JSON text; its field ``artifact`` says which.

    Raises:
        ArtifactError: It is not JSON, not an artifact, or not a valid one.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ArtifactError(f"{place} is damaged: {error}", "make it again") from error
    kind = KINDS.get(str(content.get("artifact"))) if isinstance(content, dict) else None
    if kind is None:
        raise ArtifactError(
            f"{place} is not an adaptsr artifact", "artifacts are the JSON and safetensors files of a run folder"
        )
    return parse_document(text, kind.model, place)
