"""``report.html`` as ``eval`` and ``adapt`` write it."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import Command, write_pairs

from adaptsr_cli.io.images import read_rgb, write_rgb

REPORT = Path("adaptsr-run/report.html")
QUICK = ("--iterations", 4, "--batch", 2, "--patch", 64)


def test_adapt_tells_the_whole_story_and_eval_repeats_it(adaptsr: Command, pairs: Path) -> None:
    made = adaptsr("adapt", "--data", pairs, "--budget", "15k", "--metrics", "psnr", *QUICK)
    assert made.code == 0, made.err
    assert "report.html" in made.out
    page = REPORT.read_text(encoding="utf-8")
    for part in (
        "SAFMN ×4, adapted",
        "Where the ranks went",
        "Validation PSNR-Y",
        "full on",
        "never trained on, but they chose the iteration",
    ):
        assert part in page
    assert page.count("data:image/jpeg") == 4  # one image was held out: bicubic, backbone, merged, HR
    again = adaptsr("eval", "--data", pairs, "--metrics", "psnr", "--force")
    assert again.code == 0, again.err
    first = REPORT.read_bytes()
    assert adaptsr("eval", "--data", pairs, "--metrics", "psnr").code == 0
    assert REPORT.read_bytes() == first
    other = adaptsr("eval", "--data", pairs, "--metrics", "psnr", "--model", "safmn-x4-bicubic")
    assert other.code == 0, other.err
    assert REPORT.read_bytes() == first
    [beside] = set(REPORT.parent.glob("report*.html")) - {REPORT}
    assert "Where the ranks went" not in beside.read_text(encoding="utf-8")


def test_a_damaged_log_costs_the_curves_and_not_the_scores(adaptsr: Command, pairs: Path) -> None:
    made = adaptsr("adapt", "--data", pairs, "--budget", "15k", "--metrics", "psnr", *QUICK)
    assert made.code == 0, made.err
    Path("adaptsr-run/training/log.jsonl").write_text("{}\n")
    again = adaptsr("eval", "--data", pairs, "--metrics", "psnr")
    assert again.code == 0, again.err
    assert "report.html goes without log.jsonl" in again.err
    page = REPORT.read_text(encoding="utf-8")
    assert "Validation PSNR-Y" not in page
    assert "Where the ranks went" in page


def test_harmed_images_are_shown_too(adaptsr: Command, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "many", count=16)
    even, mixed = tmp_path / "even", tmp_path / "mixed"
    for number, path in enumerate(sorted((data / "hr").iterdir())):
        image = read_rgb(path)
        write_rgb(even / path.name, image // 4 * 4)
        write_rgb(mixed / path.name, image if number < 13 else image // 16 * 16)
    systems = ("--sr", f"even={even}", "--sr", f"mixed={mixed}")
    result = adaptsr("eval", "--data", data, *systems, "--metrics", "psnr")
    assert result.code == 0, result.err
    page = REPORT.read_text(encoding="utf-8")
    assert page.count('class="card"') == 12
    assert page.index("Most improved first") < page.index("Most harmed first")


def test_photographs_without_reference_have_no_truth_to_show(adaptsr: Command, pairs: Path, tmp_path: Path) -> None:
    shutil.copytree(pairs / "lr", tmp_path / "photos")
    words = ("eval", "--data", tmp_path / "photos", "--protocol", "no-reference", "--metrics", "noise,sharpness")
    result = adaptsr(*words)
    assert result.code == 0, result.err
    page = REPORT.read_text(encoding="utf-8")
    assert "there is no verdict" in page
    assert page.count("data:image/jpeg") == 6 * 2  # bicubic and the network
    told = adaptsr(*words, "--degrade", "phone", "--force")
    assert "--degrade phone is not used: protocol no-reference scores photographs as they are" in told.err
    told = adaptsr("eval", "--data", pairs, "--metrics", "psnr", "--degrade", "phone")
    assert "--degrade phone is not used: the pairs have LR images of their own" in told.err
