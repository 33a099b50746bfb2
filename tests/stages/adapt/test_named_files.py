"""Files that ``adapt`` is given by name: what is wrong with them is said before the network is scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command, write_pairs
from networks import save_tiny
from stages.small_runs import QUICK

WORDS = ("adapt", "--data", "pairs", "--metrics", "psnr", "--lr", 0.01, *QUICK)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--config", "nowhere.toml"), "there is no rank map nowhere.json"),
        (("--config", "broken.toml"), "broken.json"),
        (("--from-peft", "nowhere"), "there is no folder nowhere"),
        (("--from-peft", "pairs"), "pairs"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_before_scoring(
    words: tuple[str, str], said: str, adaptsr: Command, tmp_path: Path
) -> None:
    write_pairs(tmp_path / "pairs", count=5, side_px=64)
    save_tiny("safmn", Path("m.safetensors"))
    Path("broken.json").write_text("{", encoding="utf-8")
    for name in ("nowhere", "broken"):
        Path(f"{name}.toml").write_text(f'rank_map = "{name}.json"\n', encoding="utf-8")
    refused = adaptsr(*WORDS, *words)
    assert refused.code == 1
    assert said in refused.err
    assert not Path("adaptsr-run").exists()
