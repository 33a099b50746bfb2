"""The shape of the code: imports point down only, files stay small, every library is declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "adaptsr_cli"
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))

# The part of the package that each layer holds. "" is the package's own __init__.
LAYERS: dict[str, int] = {
    **dict.fromkeys(("", "artifacts", "errors", "evaluation", "progress", "units"), 0),
    **dict.fromkeys(("backbones", "distributed", "energy", "io", "runtime"), 1),
    **dict.fromkeys(("adapters", "data", "imaging", "inference", "metrics", "ranking", "report", "training"), 2),
    "stages": 3,
    **dict.fromkeys(("__main__", "cli"), 4),
}

# Which parts of its own layer a part may import; everything else within a layer is a fault.
SIBLINGS: dict[str, set[str]] = {
    "evaluation": {"artifacts"},
    "units": {"errors"},
    "backbones": {"io", "runtime"},
    "imaging": {"data"},
    "metrics": {"data"},
    "training": {"adapters", "data", "inference", "metrics"},
    "ranking": {"adapters", "data"},
    "report": {"ranking"},
    "__main__": {"cli"},
}

MOST_LINES = 400


def module_of(path: Path) -> str:
    """The dotted name of a file of the package, ``__init__`` left out."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The part that a module belongs to: ``adaptsr_cli.io.atomic`` -> ``io``."""
    return module.split(".")[1] if "." in module else ""


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported anywhere in a file, inside of functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def layer_faults(module: str, source: str) -> list[str]:
    """The imports of a file that do not point down."""
    part = part_of(module)
    faults = []
    for line, name in imports_of(source):
        if name.split(".")[0] != PACKAGE:
            continue
        target = part_of(name)
        target = "" if target not in LAYERS and name.count(".") == 1 else target  # from adaptsr_cli import __version__
        down = LAYERS[target] < LAYERS[part] or target == part or target in SIBLINGS.get(part, set())
        if not down:
            faults.append(f"{module}, line {line}: {part or PACKAGE} may not import {name}")
    return faults


def called_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of everything called, ``print`` or ``importlib.import_module``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


@cache
def declared_libraries() -> set[str]:
    """The names under which the declared run-time dependencies are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # Extras of the user, which are asked for where they are missing; not those of the developer.
    extras = [
        text
        for name, texts in project["optional-dependencies"].items()
        if name not in {"test", "dev"}
        for text in texts
    ]
    declared = {normal(re.split(r"[<>=!~;\[ ]", text)[0]) for text in (*project["dependencies"], *extras)}
    modules = packages_distributions()
    return {module for module, owners in modules.items() if declared & {normal(owner) for owner in owners}}


def normal(distribution: str) -> str:
    """The normalised name of a distribution."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_every_part_has_a_layer() -> None:
    assert len(FILES) > 20
    assert {part_of(module_of(path)) for path in FILES} <= set(LAYERS)
    assert all(LAYERS[part] == LAYERS[sibling] for part, siblings in SIBLINGS.items() for sibling in siblings)


def test_siblings_do_not_import_each_other_in_circles() -> None:
    reached = dict(SIBLINGS)
    for _ in SIBLINGS:
        reached = {part: near.union(*(reached.get(other, set()) for other in near)) for part, near in reached.items()}
    assert [part for part, far in reached.items() if part in far] == []


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_down(path: Path) -> None:
    assert layer_faults(module_of(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_the_console_prints_and_nothing_is_imported_by_text(path: Path) -> None:
    calls = list(called_names(path.read_text(encoding="utf-8")))
    if module_of(path) != f"{PACKAGE}.cli.console":
        assert [line for line, name in calls if name == "print"] == []
    by_text = {"__import__", "import_module", "importlib.import_module"}
    assert [line for line, name in calls if name in by_text] == []


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_library_is_declared(path: Path) -> None:
    known = {PACKAGE, *sys.stdlib_module_names, *declared_libraries()}
    names = {name.split(".")[0] for _, name in imports_of(path.read_text(encoding="utf-8"))}
    assert names - known == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("io.images", "from adaptsr_cli.training.loop import train"),
        ("io.images", "def f():\n    from adaptsr_cli.backbones import loader"),
        ("report.figures", "import adaptsr_cli.metrics.fidelity"),
        ("errors", "from adaptsr_cli import units"),
        ("stages.train", "if TYPE_CHECKING:\n    from adaptsr_cli.cli.console import Console"),
        ("metrics.fidelity", "from adaptsr_cli.inference import tiles as t"),
    ],
)
def test_an_import_that_points_up_or_aside_is_found(module: str, source: str) -> None:
    assert len(layer_faults(f"{PACKAGE}.{module}", source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cli.train", "from adaptsr_cli.stages.train import train\nfrom adaptsr_cli.cli import options"),
        ("training.loop", "from adaptsr_cli.metrics.protocol import PAPER\nimport adaptsr_cli.io.atomic"),
        ("stages.run_folder", "from adaptsr_cli import __version__"),
        ("io.atomic", "import os, torch"),
    ],
)
def test_an_import_that_points_down_is_no_fault(module: str, source: str) -> None:
    assert layer_faults(f"{PACKAGE}.{module}", source) == []


def test_undeclared_libraries_would_be_found() -> None:
    libraries = declared_libraries()
    assert {"PIL", "skimage", "torch", "rich"} <= libraries
    assert not {"pytest", "mypy", "numba"} & libraries
