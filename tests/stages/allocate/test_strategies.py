"""Every criterion and every strategy through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from conftest import Command

from adaptsr_cli.artifacts.base import Criterion, Strategy
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.io.documents import read_document

RUN = Path("adaptsr-run")


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_a_criterion_is_the_score_and_all_are_kept(criterion: Criterion, adaptsr: Command, pairs: Path) -> None:
    score = adaptsr("score", "--data", pairs, "--batches", 2, "--patch", 64, "--criterion", criterion)
    assert score.code == 0, score.err
    saliency = read_document(RUN / "saliency.json", Saliency)
    assert saliency.criterion == criterion
    for site in saliency.sites:
        assert site.criteria is not None
        assert site.score == site.criteria[criterion]
    assert (saliency.mean_spearman is None) == (criterion in ("weight", "random", "spectral"))
    assert len({site.score for site in saliency.sites}) > 1


def test_every_strategy_keeps_the_budget_and_they_differ(adaptsr: Command, pairs: Path) -> None:
    adaptsr("score", "--data", pairs, "--batches", 2, "--patch", 64)
    found = set()
    for strategy in get_args(Strategy):
        allocate = adaptsr("allocate", "--budget", "15k", "--strategy", strategy, "--force")
        assert allocate.code == 0, allocate.err
        rank_map = read_document(RUN / "rank_map.json", RankMap)
        assert rank_map.strategy == strategy
        assert rank_map.total_params <= 15_000
        found.add(tuple(site.rank for site in rank_map.sites))
    assert len(found) == len(get_args(Strategy))


def test_spectral_needs_gains(adaptsr: Command, pairs: Path) -> None:
    adaptsr("score", "--data", pairs, "--batches", 1, "--patch", 64)
    path = RUN / "saliency.json"
    saliency = read_document(path, Saliency)
    old = [site.model_copy(update={"gains": None, "criteria": None}) for site in saliency.sites]
    path.write_text(saliency.model_copy(update={"sites": tuple(old)}).model_dump_json())
    allocate = adaptsr("allocate", "--strategy", "spectral")
    assert allocate.code == 1
    assert "older version" in allocate.err
    assert adaptsr("allocate", "--strategy", "greedy").code == 0
