"""The table of commands: help, completion in the shell, and what is imported for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import Command

from adaptsr_cli.cli.commands import COMMANDS

MAIN = "import sys; sys.argv[0] = 'adaptsr'; from adaptsr_cli.cli.app import main; main()"


def complete(words: str) -> list[str]:
    """What the shell offers at the end of a line, by the protocol that its script uses."""
    settings = {"_ADAPTSR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", MAIN], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_options_and_choices() -> None:
    assert complete("adaptsr re") == ["reallocate"]
    assert complete("adaptsr train --lr") == ["--lr-dir", "--lr"]
    assert complete("adaptsr train --objective ") == ["fidelity", "l1", "l1+fft", "charbonnier", "perceptual", "both"]
    assert complete("adaptsr train --preset p") == ["paper"]
    assert complete("adaptsr allocate --strategy gr") == ["greedy"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_whose_first_line_the_root_help_shows(name: str, adaptsr: Command) -> None:
    help_text = adaptsr(name, "--help")
    assert help_text.code == 0, help_text.err
    first_words = COMMANDS[name].describe().split()[:4]
    assert " ".join(first_words) in help_text.out
    assert " ".join([name, *first_words]) in " ".join(adaptsr("--help").out.split())


def test_the_help_lists_the_choices_and_the_defaults(adaptsr: Command) -> None:
    text = " ".join(adaptsr("train", "--help").out.split())
    assert "--preset <fast|paper>" in text
    assert "--lora-plus <float range>" in text
    assert "[default: cosine]" not in text  # the preset's
    assert "[default: alpha/r]" in text
    assert "--criterion <gradient|fisher|activation|weight|snip|random|spectral>" in adaptsr("score", "--help").out


def test_the_root_help_imports_neither_torch_nor_pydantic() -> None:
    program = (
        "import sys\nfrom adaptsr_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "slow = {'torch', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\nassert not slow, slow\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "reallocate" in done.stdout


def test_a_command_ignores_garbage_while_torch_is_imported_and_no_longer() -> None:
    program = (
        "import gc, sys\nfrom adaptsr_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert gc.isenabled()\nassert 'torch' in sys.modules\nassert gc.get_freeze_count() > 100_000\n"
    )
    words = [sys.executable, "-c", program, "info", __file__]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_models_does_not_import_torch() -> None:
    program = (
        "import sys\nfrom adaptsr_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "models"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_required_argument_is_asked_for_by_its_name(adaptsr: Command) -> None:
    missing = adaptsr("reallocate")
    assert missing.code == 2
    assert "ADAPTER is required" in missing.err


def test_work_for_one_process_is_refused_in_a_group(adaptsr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("os._exit", end)
    refused = adaptsr("allocate")
    assert refused.code == 2
    assert "process 1: allocate is work for one process" in refused.err


def test_a_process_of_a_group_ends_without_the_clean_up_that_its_threads_can_abort(
    adaptsr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []

    def end(code: int) -> None:
        ends.append(code)
        raise SystemExit(code)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("os._exit", end)
    shown = adaptsr("--version")
    assert shown.out.startswith("adaptsr ")
    assert ends == [shown.code] == [0]
