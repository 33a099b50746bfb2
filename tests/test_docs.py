"""The documentation says what the code says."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adaptsr_cli
from adaptsr_cli.options import OptionsModel

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
MAX_README_LINES = 170


@pytest.fixture(scope="module")
def generated() -> dict[str, Callable[[], str]]:
    """The functions of docs/generate.py that make a page, by its file name."""
    pages: dict[str, Callable[[], str]] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]
    return pages


@pytest.mark.parametrize("name", ["cli.md", "config.md", "artifacts.md"])
def test_generated_pages_are_not_stale(name: str, generated: dict[str, Callable[[], str]]) -> None:
    committed = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    # By words: where a line of the help breaks depends on the version of typer.
    assert committed.split() == generated[name]().split(), "run python docs/generate.py"


def test_every_options_model_of_the_api_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "config.md").read_text(encoding="utf-8")
    names = [name for name in adaptsr_cli.__all__ if name.endswith("Options")]
    assert len(names) >= 10
    assert [name for name in names if f"## {name}\n" not in page] == []
    assert all(issubclass(getattr(adaptsr_cli, name), OptionsModel) for name in names)


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_README_LINES
    links = re.findall(r"\]\(([^)#]+)", text)
    assert len(links) > 20
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_included_files_and_named_scripts_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = [
        *re.findall(r'--8<-- "([^":]+)(?::\d+)*"', text),
        *re.findall(r"`((?:benchmarks|tests|examples)/[\w./]+)`", text),
    ]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs/guide").glob("*.md"))], ids=lambda page: page.name
)
def test_options_named_in_the_text_exist(page: Path) -> None:
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    known = {*re.findall(r"(?<![\w-])--[a-z][a-z-]*", reference), "--node-rank"}  # the last one is of torchrun
    spans = re.findall(r"`(--[a-z][a-z-]*)[^`]*`", page.read_text(encoding="utf-8"))
    assert [flag for flag in spans if flag not in known] == []


def flags_in(text: str) -> Iterator[tuple[str, str]]:
    """Command and flag of the `adaptsr` calls in the code blocks of a page."""
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
        for call in re.findall(r"adaptsr(?:_cli)? ([a-z]+ [^\n|&#]*)", block.replace("\\\n", " ")):
            command, *words = call.split()
            yield from ((command, word) for word in words if word.startswith("--"))


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_commands_in_examples_exist(page: Path) -> None:
    reference = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## adaptsr (\w+)\n(.*?)(?=^## |\Z)", reference, flags=re.MULTILINE | re.DOTALL))
    unknown = [
        f"{command} {flag}"
        for command, flag in flags_in(page.read_text(encoding="utf-8"))
        if not re.search(rf"{flag}\b", sections.get(command, ""))
    ]
    assert unknown == []
