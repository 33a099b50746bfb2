"""Hook of mkdocs that makes the pictures of ``benchmarks/results/`` part of the site, so that they are kept once."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds every picture under the path that it has in the repository."""
    for picture in sorted((ROOT / "benchmarks" / "results").rglob("*.png")):
        name = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files
