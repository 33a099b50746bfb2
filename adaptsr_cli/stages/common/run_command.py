"""A command on a run folder, for messages that say what to do next."""

from __future__ import annotations

import shlex

from adaptsr_cli.stages.common.fields import DEFAULT_RUN
from adaptsr_cli.stages.common.run_folder import RunFolder


def run_command(run: RunFolder, *words: str) -> str:
    """A command as one types it, quoted for the shell: ``adaptsr merge --force --run phone``.

    Args:
        run: Named where it is not the one that a command takes by itself.
        words: The command and its options.
    """
    where = () if run.root == DEFAULT_RUN else ("--run", str(run.root))
    return shlex.join(("adaptsr", *words, *where))
