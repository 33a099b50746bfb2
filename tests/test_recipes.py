"""The recipes of CONTRIBUTING.md, followed: a toy method, criterion and metric are added and used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import save_tiny
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from adaptsr_cli.adapters.attach import attach, fold
from adaptsr_cli.adapters.methods import METHODS
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter
from adaptsr_cli.artifacts.metrics import METRICS, MetricName, MetricSpec
from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.errors import UsageError
from adaptsr_cli.metrics.measures import MEASURES, Measure, MeasureContext, Measures
from adaptsr_cli.metrics.protocol import PAPER, parse_metrics, score_images
from adaptsr_cli.progress import SilentTask
from adaptsr_cli.ranking.allocation import AllocationSite, allocate_greedy
from adaptsr_cli.ranking.criteria import CRITERIA, BatchEvidence, CriterionSpec
from adaptsr_cli.ranking.saliency import measure_gradients
from adaptsr_cli.report.metric_names import metric_text

ROOT = Path(__file__).resolve().parents[1]


class ChannelGains(SiteAdapter):
    """A toy method: one factor for every output channel, W' = (1 + g) W0."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.zeros(site.shape[0]))

    def adapt_weight(self, weight: Tensor) -> Tensor:
        return weight * (1 + self.gains).view(-1, *(1 for _ in weight.shape[1:]))


def place_gains(spec: AdapterSpec) -> AdapterLayout:
    return AdapterLayout(tuple(AdapterPlacement.at(site, ChannelGains(site)) for site, _ in spec.plan))


def test_a_toy_method_trains_is_stored_and_folds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = MethodSpec("toy", place_gains, summary="one factor for every output channel")  # type: ignore[arg-type]
    monkeypatch.setitem(METHODS, spec.name, spec)
    backbone = load_backbone(save_tiny("safmn", tmp_path / "net.safetensors"))
    plan = [(site, 1) for site in find_sites(backbone.model, backbone.traits).sites]
    lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64)
    before = super_resolve(backbone, lr)
    attachment = attach(backbone.model, plan, alpha=1.0, method="toy")  # type: ignore[arg-type]
    assert torch.equal(super_resolve(backbone, lr), before)
    assert attachment.params == sum(site.shape[0] for site, _ in plan)
    optimizer = torch.optim.Adam(attachment.parameter_groups(1.0), lr=0.01)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = l1_loss(super_resolve(backbone, lr), hr)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[0]
    attachment.load(attachment.state(), "toy.safetensors")
    with torch.no_grad():
        trained = super_resolve(backbone, lr)
    fold(attachment)
    assert torch.equal(super_resolve(backbone, lr), trained)
    with pytest.raises(UsageError, match="`init` pissa is for `method` lora and dora"):
        attach(backbone.model, plan, alpha=1.0, method="toy", principal=True)  # type: ignore[arg-type]


def test_a_toy_criterion_ranks_the_sites(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def largest_entry(batch: BatchEvidence) -> Tensor:
        return batch.gradient.abs().max()

    spec = CriterionSpec("toy", "largest entry of the gradient", of_batch=largest_entry)  # type: ignore[arg-type]
    monkeypatch.setitem(CRITERIA, spec.name, spec)
    backbone = load_backbone(save_tiny("edsr_basicsr", tmp_path / "net.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    batches = [Batch(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64)) for _ in range(2)]
    measured = measure_gradients(
        backbone, sites, batches, device=torch.device("cpu"), precision="fp32", task=SilentTask()
    )
    assert all(0 < entry.scores[spec.name] <= entry.scores["gradient"] for entry in measured.sites)
    assert all(spec.name in entry.spread for entry in measured.sites)
    assert -1 <= (measured.mean_spearman[spec.name] or 0.0) <= 1
    candidates = [
        AllocationSite(site.name, entry.scores[spec.name], site.rank_cost, site.max_rank)
        for site, entry in zip(sites, measured.sites, strict=True)
    ]
    best = max(candidates, key=lambda candidate: candidate.score)
    assert allocate_greedy(candidates, best.rank_cost, 0, 1)[best.name] == 1


def test_a_toy_metric_is_computed_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def make_largest_error(_context: MeasureContext) -> Measure:
        def measure(first: np.ndarray, second: np.ndarray | None) -> Mapping[str, float]:
            assert second is not None
            return {"largest_error": float(np.abs(first.astype(int) - second).max())}

        return measure

    spec = MetricSpec("toy", {"largest_error": MetricName("largest error", "levels", digits=0)})
    monkeypatch.setitem(METRICS, spec.name, spec)
    monkeypatch.setitem(MEASURES, spec.name, make_largest_error)
    names = parse_metrics("psnr,toy")
    measures = Measures(names, PAPER, tmp_path)
    assert measures.skipped == {}
    hr = np.random.default_rng(0).integers(0, 200, (32, 32, 3)).astype(np.uint8)
    sr = hr.copy()
    sr[16, 16, 0] += 7
    scores = score_images(sr, hr, protocol=PAPER, scale=4, metrics=names, others=measures.score)
    assert list(scores) == ["psnr_y_db", "psnr_rgb_db", "largest_error"]
    assert metric_text("largest_error", scores["largest_error"]) == "7 levels"


def test_contributing_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:adaptsr_cli|tests|docs|benchmarks)/[\w./]*)`", text))
    assert len(named) > 20
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
