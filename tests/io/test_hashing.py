from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from adaptsr_cli.errors import DataError
from adaptsr_cli.io.hashing import file_fingerprint, file_sha256


def test_a_file_fingerprint_survives_a_move_and_sees_changes_at_both_ends(tmp_path: Path) -> None:
    data = bytes(300_000)
    first = tmp_path / "a.bin"
    first.write_bytes(data)
    (tmp_path / "b.bin").write_bytes(data)
    print_ = file_fingerprint(first)
    assert len(print_) == 16
    assert file_fingerprint(tmp_path / "b.bin") == print_
    for changed in (b"\1" + data[1:], data[:-1] + b"\1", data[:-1]):
        first.write_bytes(changed)
        assert file_fingerprint(first) != print_
    with pytest.raises(DataError, match="missing"):
        file_fingerprint(tmp_path / "missing")


def test_the_checksum_is_that_of_all_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(200_000))
    assert file_sha256(tmp_path / "a") == hashlib.sha256(bytes(200_000)).hexdigest()
