"""``adaptsr truncate``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.truncate.options import TruncateOptions

_COLUMNS = ("site", "rank", "left", "share of the squared update kept")


def run(options: TruncateOptions, as_json: bool) -> None:
    """Make an adapter file smaller: to a rank, or to a budget that is spent best by singular values."""
    from adaptsr_cli.cli.text import suggest
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.truncate.stage import run_truncate

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_truncate(options, progress=console)
    rows = [
        (cut.name, str(cut.rank_before), str(cut.rank), f"{cut.kept / cut.energy if cut.energy else 1:.2%}")
        for cut in result.cuts
    ]
    console.table("truncated", _COLUMNS, rows, numeric=_COLUMNS[1:])
    console.line(f"truncated to {result.params:,} parameters: {result.kept_share:.2%} of the squared updates are kept")
    console.line(f"wrote {result.output}")
    console.json(result.to_json())
    merged = RunFolder(options.run).merged
    console.line(suggest("merge", "--adapter", result.output, run=options.run, replaces=merged))


def make() -> Callable[..., None]:
    """The command."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.truncate.options import TruncateOptions

    return make_command(TruncateOptions, run)
