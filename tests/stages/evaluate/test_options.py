"""Options of ``eval``: what they default to, what they refuse, and the tables that they must name completely."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from conftest import write_pairs

from adaptsr_cli.errors import UsageError
from adaptsr_cli.metrics.protocol import PROTOCOLS
from adaptsr_cli.report.tables import TABLES
from adaptsr_cli.stages.evaluate.options import EvaluateOptions, ProtocolName
from adaptsr_cli.stages.evaluate.stage import run_evaluate


def test_every_protocol_and_table_can_be_asked_for() -> None:
    assert get_args(ProtocolName) == tuple(PROTOCOLS)
    assert set(TABLES) <= EvaluateOptions.model_fields.keys()


def test_what_is_scored_follows_from_what_is_named() -> None:
    run = EvaluateOptions(data="photos")
    assert (run.scores_models_of_run, run.scores_folders_only) == (True, False)
    folders = EvaluateOptions(data="photos", sr="theirs=out/x")
    assert (folders.scores_models_of_run, folders.scores_folders_only) == (False, True)
    assert folders.output_folders == (("theirs", Path("out/x")),)
    beside = EvaluateOptions(data="photos", sr="theirs=out", adapters="a.safetensors")
    assert (beside.scores_models_of_run, beside.scores_folders_only) == (False, False)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "`data`"),
        ({"hr_dir": "hr"}, "`hr_dir` without `lr_dir`"),
        ({"data": "photos", "sr": "out"}, "`sr` 'out' is not NAME=FOLDER"),
        ({"data": "photos", "protocol": "mine"}, "`protocol` is 'mine'; it should be 'paper', "),
    ],
)
def test_wrong_options_are_refused_by_the_names_of_their_fields(values: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError) as refused:
        EvaluateOptions.of(values)
    assert text in refused.value.message


def test_a_python_program_gets_scores_and_files(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", count=2)
    options = EvaluateOptions(
        data=str(pairs), run=tmp_path / "run", metrics="psnr", csv=tmp_path / "t.csv", device="cpu", sr=f"hr={pairs}/hr"
    )
    result = run_evaluate(options)
    assert result.evaluation.models[0].metrics["psnr_y_db"] == 100
    assert result.to_json()["models"][0]["name"] == "hr"
    assert result.eval_json == tmp_path / "run" / "eval.json"
    assert result.comparison is not None
    assert all(path.exists() for path in (result.eval_json, result.report, result.comparison, *result.tables))
