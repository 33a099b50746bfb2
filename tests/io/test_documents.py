from __future__ import annotations

from pathlib import Path

import pytest

from adaptsr_cli.artifacts.base import BackboneIdentity
from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io import documents
from adaptsr_cli.io.documents import parse_document, read_document, read_toml, write_document
from adaptsr_cli.options import OptionsModel

RECORD = RunRecord(
    backbone=BackboneIdentity(architecture="SAFMN", scale=4, params=10, sha256="0" * 64, source="x.pth"),
    model_path="embedded:x.pth",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_document(tmp_path / "run.json", RECORD)
    assert read_document(tmp_path / "run.json", RunRecord) == RECORD


@pytest.mark.parametrize(
    ("find", "put", "reason"),
    [
        ('"scale":4', '"scale":4,"scale":2', "the key 'scale' comes twice"),
        ('"scale":4', '"scale":NaN', "NaN"),
        ('"params":10', '"params":1' + 5000 * "0", "too large"),
        ('"artifact":"run",', "", "artifact is missing"),
        ('"format_version":1,', "", "format_version is missing"),
        ('"format_version":1,', '"format_version":2,', "format_version"),
        ('"format_version":1,', '"format_version":true,', "format_version is missing"),
        ('"scale":4', '"scale":"4"', "backbone.scale"),
        ('"model_path"', '"path"', "model_path"),
        ("{", 50_000 * '{"a":', "nested too deep"),
    ],
)
def test_each_fault_is_named(find: str, put: str, reason: str) -> None:
    text = RECORD.model_dump_json()
    with pytest.raises(ArtifactError, match=rf"here is not a valid RunRecord file: .*{reason}"):
        parse_document(text.replace(find, put, 1), RunRecord, "here")


def test_a_document_of_another_kind_is_told_by_its_name() -> None:
    text = RECORD.model_dump_json().replace('"artifact":"run"', '"artifact":"rank_map"')
    with pytest.raises(ArtifactError, match="here is of the kind 'rank map', not 'run'"):
        parse_document(text, RunRecord, "here")


def test_a_file_larger_than_any_document_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_document(path, RECORD)
    monkeypatch.setattr(documents, "MAX_CHARACTERS", path.stat().st_size - 1)
    with pytest.raises(ArtifactError, match="longer than any adaptsr document"):
        read_document(path, RunRecord)


class Wanted(OptionsModel):
    """Options of a file."""

    iterations: int
    batch: int
    learning_rate: float


@pytest.mark.parametrize("text", ["lr = " + "[" * 5000, "batch = " + "9" * 5000, "batch = 1\nbatch = 2", "\xe4", "lr"])
def test_toml_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match=r"config\.toml"):
        read_toml(path, Wanted)


def test_toml_is_typed_as_strictly_as_json(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    text = "iterations = 3\nbatch = 2\nlearning_rate = 1e-3\n"
    path.write_text(text)
    assert read_toml(path, Wanted) == Wanted(iterations=3, batch=2, learning_rate=1e-3)
    path.write_text(text.replace("batch = 2", 'batch = "2"'))
    with pytest.raises(ArtifactError, match="batch is '2'; it should be a valid integer"):
        read_toml(path, Wanted)
