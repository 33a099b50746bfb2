from __future__ import annotations

from pathlib import Path

import pytest

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.log import append_row, cut_log, read_log

ROWS = [
    LogRow(iteration=1, loss=0.5, learning_rate=1e-3),
    LogRow(iteration=2, val_psnr_y_db=30.0),
    LogRow(iteration=3, loss=0.4),
]


def write_rows(path: Path) -> None:
    for row in ROWS:
        append_row(path, row)


def test_rows_come_back_and_a_torn_last_line_does_not(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    write_rows(path)
    with path.open("ab") as handle:
        handle.write(b'{"iteration": 4, "loss\xff')
    assert read_log(path) == ROWS


def test_rows_after_an_iteration_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_rows(path)
    cut_log(path, 2)
    assert read_log(path) == ROWS[:2]


@pytest.mark.parametrize("spoilt", [b"\xff", b"{", b'{"iteration": -1}', b'{"iteration": 1, "iteration": 2}'])
def test_a_damaged_row_names_the_file(tmp_path: Path, spoilt: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(spoilt + b"\n")
    write_rows(path)
    with pytest.raises(ArtifactError, match=r"log\.jsonl"):
        read_log(path)
