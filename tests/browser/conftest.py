"""One Chromium for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser.chromium import Browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    from browser.chromium import Browser  # selenium may be missing, and the tests are skipped then

    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.driver.quit()
