from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adaptsr_cli.cli.console import LOG_INTERVAL_S, Console
from adaptsr_cli.errors import UsageError
from adaptsr_cli.progress import Progress

LONG_NAME = "Canon_001_HR_a_file_name_that_does_not_fit_[x4]_:smile:.png"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def err() -> io.StringIO:
    return io.StringIO()


def test_it_is_a_progress(out: io.StringIO, err: io.StringIO) -> None:
    progress: Progress = Console(out=out, err=err)
    with progress.task("count", 1) as task:
        task.advance()


def test_results_go_to_stdout_and_remarks_to_stderr(out: io.StringIO, err: io.StringIO) -> None:
    console = Console(out=out, err=err)
    console.line("result")
    console.note("remark")
    console.warn("odd")
    console.error(UsageError("budget 'x' is no number", "write 8%"))
    assert out.getvalue() == "result\n"
    assert err.getvalue() == "remark\nwarning: odd\nerror: budget 'x' is no number\nhint: write 8%\n"


def test_an_error_without_hint_is_one_line(out: io.StringIO, err: io.StringIO) -> None:
    Console(out=out, err=err).error(UsageError("no such file"))
    assert err.getvalue() == "error: no such file\n"


@pytest.mark.parametrize("text", ["[red]x[/red].png", "[/]", "a[0].png", ":smile:", "x" * 300, "1.5 'quoted' http://a"])
def test_text_from_outside_is_shown_letter_by_letter(text: str, out: io.StringIO, err: io.StringIO) -> None:
    console = Console(out=out, err=err)
    console.line(text)
    console.note(text)
    console.table("", ("name", "n"), [(text, "1")])
    assert out.getvalue().startswith(text + "\n")
    assert err.getvalue() == text + "\n"
    assert text in out.getvalue().splitlines()[-1]


def test_a_name_with_line_ends_stays_in_one_line(out: io.StringIO, err: io.StringIO) -> None:
    console, name = Console(out=out, err=err), "a\nb\r\tc\x1b[0m.png"
    console.line(name)
    console.table(name, ("name", name), [(name, "1")])
    console.note(name)
    console.warn(name)
    with console.task(name, 1) as task:
        task.show(shot=name)
    shown = r"a\nb\r\tc\x1b[0m.png"
    assert len(out.getvalue().splitlines()) == 5
    assert len(err.getvalue().splitlines()) == 3
    assert out.getvalue().count(shown) == 4
    assert err.getvalue().count(shown) == 4


def test_colours_stay_out_of_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, err = Terminal(), Terminal()
    console = Console(out=out, err=err)
    console.line("12.5 [bold]x[/bold] 'a' /path/b.png")
    console.warn("careful")
    assert out.getvalue() == "12.5 [bold]x[/bold] 'a' /path/b.png\n"
    assert "\x1b[33mwarning: \x1b[0mcareful" in err.getvalue()


def test_forced_colours_do_not_reach_a_pipe(
    monkeypatch: pytest.MonkeyPatch, out: io.StringIO, err: io.StringIO
) -> None:
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"):
        monkeypatch.setenv(name, "1")
    console = Console(out=out, err=err)
    console.table("t", ("a", "b"), [("1", "2")])
    with console.task("work", 3) as task:
        task.advance(3)
    console.error(UsageError("bad"))
    assert "\x1b" not in out.getvalue() + err.getvalue()
    assert "\r" not in err.getvalue()


def test_a_table_in_a_pipe_has_one_line_a_row(out: io.StringIO, err: io.StringIO) -> None:
    Console(out=out, err=err).table(
        "Scores", ("image", "PSNR-Y"), [(LONG_NAME * 3, "27.31 dB"), ("b.png", "9.1 dB")], numeric=("PSNR-Y",)
    )
    lines = out.getvalue().splitlines()
    assert lines[0] == "Scores"
    assert lines[1].split() == ["image", "PSNR-Y"]
    assert lines[3].split(maxsplit=1) == [LONG_NAME * 3, "27.31 dB"]
    assert lines[4].split(maxsplit=1) == ["b.png", "9.1 dB"]
    assert len(lines) == 5


def test_a_narrow_terminal_folds_names_and_loses_no_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    console = Console(out=out, err=Terminal())
    console.table("", ("image", "PSNR-Y"), [(LONG_NAME, "27.31")], numeric=("PSNR-Y",))
    lines = without_colours(out.getvalue()).splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert "".join(line[:-8].rstrip() for line in lines[2:]) == LONG_NAME
    assert "27.31" in lines[2]


def test_columns_of_numbers_are_found_and_set_flush_right(out: io.StringIO, err: io.StringIO) -> None:
    rows = [("0001.png", "9.1 dB", "36x36", ""), ("2.png", "27.31 dB", "4", "1.2e-05")]
    Console(out=out, err=err).table("", ("image", "score", "shape", "small"), rows)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[2].index("9.1 dB") + 6 == lines[3].index("27.31 dB") + 8
    assert lines[2].index("36x36") == lines[3].index("4 ")
    assert lines[2].startswith("0001.png")
    assert lines[3].startswith("2.png")


def test_a_table_without_headings_has_no_head(out: io.StringIO, err: io.StringIO) -> None:
    Console(out=out, err=err).table("", ("", ""), [("scale", "4")])
    assert out.getvalue().split() == ["scale", "4"]


def test_json_mode_prints_one_object_and_nothing_else(out: io.StringIO, err: io.StringIO) -> None:
    console = Console(as_json=True, out=out, err=err)
    console.line("text")
    console.table("t", ("a",), [("1",)])
    console.json({"path": Path("a") / "b.png", "name": "写\udcff", "psnr_y_db": 27.5})
    assert json.loads(out.getvalue()) == {"path": str(Path("a") / "b.png"), "name": "写\\xff", "psnr_y_db": 27.5}


def test_json_is_silent_in_text_mode_and_refuses_nan(out: io.StringIO, err: io.StringIO) -> None:
    Console(out=out, err=err).json({"a": 1})
    assert out.getvalue() == ""
    with pytest.raises(ValueError, match="JSON"):
        Console(as_json=True, out=out, err=err).json({"a": float("nan")})
    with pytest.raises(TypeError, match="set is no JSON value"):
        Console(as_json=True, out=out, err=err).json({"a": {1}})
    assert out.getvalue() == ""


def test_a_pipe_gets_a_line_every_ten_seconds_and_one_at_the_end(out: io.StringIO, err: io.StringIO) -> None:
    clock = Clock()
    console = Console(out=out, err=err, clock=clock)
    with console.task("train", 25) as task:
        task.advance(0)
        for _ in range(25):
            clock.now_s += 1.0
            task.advance()
            task.show(loss="0.03")
    lines = err.getvalue().splitlines()
    assert lines == [
        "train: 10/25 it, 1.0 it/s, eta 15.0 s, loss 0.03",
        "train: 20/25 it, 1.0 it/s, eta 5.0 s, loss 0.03",
        "train: 25/25 it in 25.0 s, 1.0 it/s, loss 0.03",
    ]
    assert out.getvalue() == ""


def test_short_inner_tasks_are_not_logged(out: io.StringIO, err: io.StringIO) -> None:
    clock = Clock()
    console = Console(out=out, err=err, clock=clock)
    with console.task("train", 2) as outer:
        with console.task("validate", 5) as inner:
            inner.advance(5)
        with console.task("long validation", 5) as inner:
            clock.now_s += LOG_INTERVAL_S
            inner.advance(5)
        outer.advance(2)
    assert "\nvalidate" not in "\n" + err.getvalue()
    assert "long validation: 5/5" in err.getvalue()


def test_a_failing_task_says_how_far_it_came(out: io.StringIO, err: io.StringIO) -> None:
    console = Console(out=out, err=err, clock=Clock())

    def fail() -> None:
        with console.task("train", 10) as task:
            task.advance(3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert err.getvalue() == "train: 3/10 it in 0.0 s\n"
    with console.task("again", 1) as task:
        task.advance()
    assert err.getvalue().endswith("again: 1/1 it in 0.0 s\n")


@pytest.mark.parametrize("columns", [30, 60, 140])
def test_a_terminal_gets_a_bar_that_fits(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    out, err = Terminal(), Terminal()
    console = Console(out=out, err=err)
    with console.task("train [bold]a very long description of the work", 10, unit="it") as task:
        task.advance(4)
        task.show(loss="0.0312", val="27.31 dB (+0.52)", lr="1.0e-03")
        console.line("a result between")
        console.note("a remark between")
        with console.task("validate", None, unit="image") as inner:
            inner.advance(2)
    assert "a result between" in out.getvalue()
    assert "a remark between" in err.getvalue()
    last = err.getvalue().rpartition("train")[2]
    assert "4/10" in last
    assert "loss 0.0312" in last
    assert "validate" not in last
    assert err.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_an_ascii_stream_gets_escapes_instead_of_a_crash() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(out=stream, err=io.StringIO())
    console.line("写真.png")
    console.table("", ("a", "b"), [("é", "1")])
    stream.flush()
    assert b"\\u5199\\u771f.png" in raw.getvalue()
    assert b"\\xe9" in raw.getvalue()


class Log:
    """The log of a program with windows: it can be written to, and that is all."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_a_program_without_a_terminal_can_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    with Console(err=log).task("work", 1) as task:  # type: ignore[arg-type]
        task.advance()
    assert "work" in log.text
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    console = Console()
    console.note("nobody hears it")
    with console.task("work", 1) as task:
        task.advance()


def test_importing_the_console_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "rich", "pydantic", "matplotlib", "PIL"]
    code = f"import sys, adaptsr_cli.cli.console; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
