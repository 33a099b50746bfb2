"""``run.json``: the backbone of a run folder."""

from __future__ import annotations

from typing import Literal

from adaptsr_cli.artifacts.base import FORMAT_VERSION, BackboneIdentity, StrictModel


class RunRecord(StrictModel):
    """``run.json``: the backbone of a run folder, where later commands find it."""

    artifact: Literal["run"] = "run"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    model_path: str
