"""The contract of all stages: ``run_x(options, *, progress, world) -> XResult``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any, get_type_hints

import pytest

from adaptsr_cli.distributed import SINGLE_PROCESS
from adaptsr_cli.options import OptionsModel
from adaptsr_cli.progress import SILENT
from adaptsr_cli.stages.adapt.stage import run_adapt, run_demo
from adaptsr_cli.stages.allocate.reallocate import run_reallocate
from adaptsr_cli.stages.allocate.stage import run_allocate
from adaptsr_cli.stages.evaluate.stage import run_evaluate
from adaptsr_cli.stages.export.stage import run_export
from adaptsr_cli.stages.info.stage import run_info
from adaptsr_cli.stages.merge.stage import run_merge
from adaptsr_cli.stages.score.stage import run_score
from adaptsr_cli.stages.train.stage import run_train
from adaptsr_cli.stages.truncate.stage import run_truncate
from adaptsr_cli.stages.upscale.stage import UpscaleResult, run_upscale

STAGES = (
    run_score,
    run_allocate,
    run_reallocate,
    run_train,
    run_truncate,
    run_merge,
    run_export,
    run_evaluate,
    run_upscale,
    run_adapt,
    run_demo,
    run_info,
)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_every_stage_has_the_same_signature(stage: Callable[..., Any]) -> None:
    parameters = inspect.signature(stage).parameters
    assert list(parameters) == ["options", "progress", "world"]
    assert parameters["options"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert [parameters[name].kind for name in ("progress", "world")] == [inspect.Parameter.KEYWORD_ONLY] * 2
    assert (parameters["progress"].default, parameters["world"].default) == (SILENT, SINGLE_PROCESS)
    types = get_type_hints(stage)
    assert issubclass(types["options"], OptionsModel)
    assert types["return"].__dataclass_params__.frozen
    assert callable(types["return"].to_json)


def test_results_are_frozen_and_silence_keeps_nothing() -> None:
    result = UpscaleResult((), (), ())
    with pytest.raises(FrozenInstanceError):
        setattr(result, fields(result)[0].name, ())
    SILENT.note("a note")
    SILENT.warn("a warning")
    assert (SILENT.notes, SILENT.warnings) == ([], [])
