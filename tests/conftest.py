"""Fixtures that all tests share. Tiny seeded networks are built in `tests/networks.py`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


def find_shared() -> Path | None:
    """The folder of real images and genuine weights beside the checkout, if there is one."""
    named = os.environ.get("ADAPTSR_TEST_DATA")
    place = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return place if (place / "data").is_dir() else None


@pytest.fixture
def shared() -> Path:
    """The folder of real images and genuine weights; the test is skipped where it is missing."""
    place = find_shared()
    if place is None:
        pytest.skip("no folder ../shared with real images and weights (or ADAPTSR_TEST_DATA)")
    return place


@pytest.fixture(autouse=True)
def _fresh_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts from the same random state and without the user's settings."""
    torch.manual_seed(0)
    for name in ("ADAPTSR_RUN", "ADAPTSR_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked ``gpu`` where no CUDA device is."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
