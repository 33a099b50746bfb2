"""Results of earlier calls are no inputs, wherever they lie and whatever they are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from upscaling import Run, contents, make_run, photo

from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.stages.upscale import stage


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    write_rgb(Path("in/a.png"), photo(0))
    return make_run(tmp_path)


def test_results_beside_the_inputs_are_no_inputs(run: Run) -> None:
    write_rgb(Path("in/b.png"), photo(0))
    assert run(Path("in"), output=None)[0].summary == "2 ok, 0 failed, 0 skipped"
    again, progress = run(Path("in"), output=None)
    assert again.summary == "0 ok, 0 failed, 2 skipped, 2 left out"
    assert sum("not upscaled again" in note for note in progress.notes) == 2
    assert sorted(path.name for path in Path("in").iterdir()) == ["a.png", "a_x2.png", "b.png", "b_x2.png"]


@pytest.mark.parametrize(
    "options",
    [
        {"ext": "jpg"},
        {"outscale": 3},
        {"suffix": "_big"},
        {"output": Path("in/up")},
        {"output": Path("in/../in/up")},
        {"output": Path("elsewhere")},
    ],
)
@pytest.mark.parametrize("first", ["png", "jpg", "tif", "webp", "bmp"])
def test_another_call_does_not_upscale_them_again(run: Run, options: dict[str, object], first: str) -> None:
    run(Path("in"), output=None, ext=first)
    report, progress = run(Path("in"), **({"output": None} | options))
    assert [source for source, _ in (*report.written, *report.failed)] in ([], [Path("in/a.png")])
    assert [path for path, _ in report.left_out] == [Path(f"in/a_x2.{first}")]
    assert any("not upscaled again" in note for note in progress.notes)


@pytest.mark.parametrize("place", ["in/up", "up"])
def test_a_pattern_of_the_shell_is_treated_as_a_folder(run: Run, place: str) -> None:
    write_rgb(Path("in/b.png"), photo(1))
    run(Path("in"), output=Path(place))
    names = [*Path("in").glob("*.png"), *Path(place).glob("*.png")]
    report, _ = run(*names, output=Path("new"))
    assert report.summary == "2 ok, 0 failed, 0 skipped, 2 left out"
    write_rgb(Path("in/a.png"), photo(3))  # its result is still one
    report, _ = run(*names, output=Path("newer"))
    assert report.summary == "2 ok, 0 failed, 0 skipped, 2 left out"


def test_one_that_is_named_by_itself_is_upscaled_again(run: Run) -> None:
    run(Path("in"))
    report, _ = run(Path("out/a_x2.png"))
    assert report.summary == "1 ok, 0 failed, 0 skipped"
    assert set(contents(Path("out"))) == {"a_x2.png", "a_x2_x2.png"}


def test_a_folder_of_results_alone_needs_no_network(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Path("in"))
    monkeypatch.setattr(stage, "open_upscaler", lambda *_: pytest.fail("loaded for nothing"))
    report, progress = run(Path("out"), output=Path("more"))
    assert report.summary == "0 ok, 0 failed, 0 skipped, 1 left out"
    assert "out/a_x2.png was made by adaptsr (x2): not upscaled again (name it by itself" in progress.notes[0]


def test_one_of_any_version_is_a_result(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Path("in"))
    monkeypatch.setattr("adaptsr_cli.io.result_mark.read_note", lambda _: '{"artifact": "upscaled", "new": [1]}')
    assert run(Path("out"), output=Path("more"))[0].summary == "0 ok, 0 failed, 0 skipped, 1 left out"


@pytest.mark.parametrize(
    ("name", "size", "is_result"),
    [
        ("a_x3.bmp", (27, 24), True),
        ("a_x2.5.bmp", (22, 20), True),
        ("a_x3.bmp", (27, 25), False),
        ("a_x1.bmp", (9, 8), False),
        ("b_x3.bmp", (27, 24), False),
        ("a_3.bmp", (27, 24), False),
    ],
)
def test_without_metadata_name_and_size_tell(run: Run, name: str, size: tuple[int, int], is_result: bool) -> None:
    write_rgb(Path("in") / name, photo(1, *size))
    report, _ = run(Path("in"))
    assert len(report.left_out) == is_result
    assert len(report.written) == 2 - is_result


def test_pictures_of_the_user_with_such_names_are_inputs(run: Run) -> None:
    for name in ("a_x2.png", "a_x4.png", "a2.png", "x2.png"):
        write_rgb(Path("in") / name, photo(5, 50, 70))
    assert run(Path("in"), suffix="_up")[0].summary == "5 ok, 0 failed, 0 skipped"
