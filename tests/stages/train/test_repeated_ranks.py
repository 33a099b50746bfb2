"""``training/config.toml`` and the ranks: those that the user chose are repeated, the usual ones made anew."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from conftest import Command

from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.stages.common.adapter_file import read_adapter
from adaptsr_cli.stages.common.run_folder import RunFolder

TRAINING = ("--iterations", 2, "--batch", 2, "--patch", 32, "--lr", 0.005, "--method", "lora")
SCORING = ("--batches", 1, "--batch", 2, "--patch", 32)


def config_of(run: str) -> Path:
    return RunFolder(Path(run)).config


def ranks_of(run: str) -> dict[str, int]:
    header, _ = read_adapter(RunFolder(Path(run)).adapter)
    return {site.name: site.rank for site in header.sites}


@pytest.mark.parametrize(
    "allocating", [(), ("--budget", "30%"), ("--strategy", "greedy"), ("--max-rank", 2), ("--modules", "conv")]
)
def test_ranks_that_were_chosen_are_repeated(adaptsr: Command, pairs: Path, allocating: tuple[object, ...]) -> None:
    assert adaptsr("score", "--data", pairs, *SCORING, "--run", "a").code == 0
    assert adaptsr("allocate", *allocating, "--run", "a").code == 0
    assert adaptsr("train", "--data", pairs, *TRAINING, "--run", "a").code == 0
    repeated = adaptsr("train", "--config", config_of("a"), "--run", "b")
    assert repeated.code == 0, repeated.err
    assert ranks_of("b") == ranks_of("a")
    assert RunFolder(Path("b")).adapter.read_bytes() == RunFolder(Path("a")).adapter.read_bytes()
    assert config_of("b").read_bytes() == config_of("a").read_bytes()


def test_ranks_of_scores_that_were_chosen_are_repeated(adaptsr: Command, pairs: Path) -> None:
    assert adaptsr("score", "--data", pairs, *SCORING, "--criterion", "random", "--run", "a").code == 0
    assert adaptsr("train", "--data", pairs, *TRAINING, "--run", "a").code == 0
    assert adaptsr("train", "--config", config_of("a"), "--run", "b").code == 0
    assert ranks_of("b") == ranks_of("a")


def test_ranks_that_nobody_chose_are_made_anew(adaptsr: Command, pairs: Path) -> None:
    """So that the file holds for other images and networks too."""
    assert adaptsr("train", "--data", pairs, *TRAINING, "--run", "a").code == 0
    assert "rank_map" not in tomllib.loads(config_of("a").read_text(encoding="utf-8"))
    assert adaptsr("train", "--config", config_of("a"), "--run", "b").code == 0
    assert RunFolder(Path("b")).rank_map.exists()


def test_adapt_repeats_them_unless_a_budget_is_named(adaptsr: Command, pairs: Path) -> None:
    words = ("adapt", *TRAINING, "--metrics", "psnr")
    assert adaptsr(*words, "--data", pairs, "--budget", "30%", "--run", "a").code == 0
    first = read_document(RunFolder(Path("a")).rank_map, RankMap)
    for more, run in (((), "b"), (("--budget", "5%"), "c")):
        done = adaptsr("adapt", "--config", config_of("a"), *more, "--metrics", "psnr", "--run", run)
        assert done.code == 0, done.err
    assert ranks_of("b") == ranks_of("a") == {site.name: site.rank for site in first.sites if site.rank}
    fewer = read_document(RunFolder(Path("c")).rank_map, RankMap)
    assert fewer.provenance.options["budget"] == "5%"
    assert ranks_of("c") == {site.name: site.rank for site in fewer.sites if site.rank}
    again = adaptsr("adapt", "--config", config_of("a"), "--metrics", "psnr", "--run", "b")  # it is resumed likewise
    assert again.code == 0, again.err
