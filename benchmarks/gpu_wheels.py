"""Fetches the wheels that a machine with torch still lacks, to be carried to one that reaches no package index.

    python -m pip list --format=json > there.json          # on that machine
    python benchmarks/gpu_wheels.py --there there.json --python 3.12 --to wheels
    python -m pip install --no-index --no-deps --target site wheels/*.whl      # there again, then PYTHONPATH=site

What is needed is read from the requirements of this project, with those of the extra ``test`` that
`benchmarks/gpu_check.py` uses, and from what is installed here, requirement by requirement; what the other machine has
in a version that suits is left out. Versions are those installed here. ``--dry-run`` only lists them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
TESTED_WITH = ("pytest", "hypothesis", "pytest-xdist")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")


def own_requirements() -> list[Requirement]:
    """What the project needs to run and to be checked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [Requirement(text) for text in project["optional-dependencies"]["test"]]
    wanted = [Requirement(text) for text in project["dependencies"]]
    return wanted + [extra for extra in extras if canonicalize_name(extra.name) in TESTED_WITH]


def missing(
    wanted: Iterable[Requirement], there: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Name and version here of everything that is wanted, also by what is wanted, and not there.

    Args:
        wanted: Requirements.
        there: Versions by normalised name.
        environment: Of the other machine, for the markers of requirements.

    Raises:
        SystemExit: Something is not installed here, so that its version and needs are unknown.
    """
    seen: set[str] = set()
    waiting = list(wanted)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if requirement.marker and not any(requirement.marker.evaluate({**environment, "extra": it}) for it in extras):
            continue
        if name in seen or (name in there and requirement.specifier.contains(there[name], prereleases=True)):
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{requirement} is not installed here: install it, so that its needs are known") from None
        yield name, found.version
        waiting += [Requirement(text) for text in found.requires or ()]


def main() -> int:
    """List and fetch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--there", type=Path, required=True, help="`pip list --format=json` of the other machine")
    parser.add_argument("--python", default="3.12", help="its version of Python")
    parser.add_argument("--machine", default="x86_64", help="its processor")
    parser.add_argument("--to", type=Path, default=Path("wheels"), help="where the wheels go")
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    options = parser.parse_args()
    listed = json.loads(options.there.read_text(encoding="utf-8"))
    there = {canonicalize_name(entry["name"]): entry["version"] for entry in listed}
    environment = {
        **default_environment(),
        "python_version": options.python,
        "python_full_version": f"{options.python}.0",
        "platform_machine": options.machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
    }
    wanted = sorted(missing(own_requirements(), there, environment))  # type: ignore[arg-type]
    for name, version in wanted:
        print(f"{name}=={version}")
    if options.dry_run or not wanted:
        return 0
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(options.to)]
    command += ["--python-version", options.python, "--implementation", "cp"]
    command += [word for name in PLATFORMS for word in ("--platform", f"{name}_{options.machine}")]
    return subprocess.run([*command, *(f"{name}=={version}" for name, version in wanted)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
