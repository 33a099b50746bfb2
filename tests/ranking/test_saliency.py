"""Saliency: gradient norms against autograd done by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from networks import save_tiny
from scipy.stats import rankdata
from torch.nn.functional import l1_loss

from adaptsr_cli.adapters.factors import unfold_for_factors
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.artifacts.base import Criterion
from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.progress import SilentTask
from adaptsr_cli.ranking.criteria import CRITERIA
from adaptsr_cli.ranking.saliency import Measurement, _average_ranks, mean_rank_correlation, measure_gradients
from adaptsr_cli.ranking.spectral import signal_gains
from adaptsr_cli.ranking.spectrum import leading_singular_values, mean_and_noise_spectrum


def batches(count: int) -> Iterator[Batch]:
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        yield Batch(torch.rand(2, 3, 16, 16, generator=generator), torch.rand(2, 3, 64, 64, generator=generator))


def measure(folder: Path, name: str, count: int) -> tuple[Measurement, list[str]]:
    backbone = load_backbone(save_tiny(name, folder / "net.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    measurement = measure_gradients(
        backbone, sites, batches(count), device=torch.device("cpu"), precision="fp32", task=SilentTask()
    )
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    return measurement, [site.name for site in sites]


def test_scores_are_mean_gradient_norms(tmp_path: Path) -> None:
    measurement, names = measure(tmp_path, "swinir", 2)
    backbone = load_backbone(tmp_path / "net.safetensors")
    backbone.model.requires_grad_(True)
    norms: dict[str, list[float]] = {name: [] for name in names}
    mean_gradient = torch.zeros(())
    for batch in batches(2):
        backbone.model.zero_grad()
        l1_loss(super_resolve(backbone, batch.lr), batch.hr).backward()
        for site in find_sites(backbone.model, backbone.traits).sites:
            gradient = backbone.model.get_parameter(f"{site.module}.weight").grad
            assert gradient is not None
            part = gradient[slice(*site.rows)] if site.rows else gradient
            norms[site.name].append(float(part.norm()))
            if site.name == names[3]:
                mean_gradient = mean_gradient + part / 2
    for measured, name in zip(measurement.sites, names, strict=True):
        assert measured.scores["gradient"] == pytest.approx(np.mean(norms[name]), rel=1e-4)
        assert measured.spread["gradient"] == pytest.approx(np.std(norms[name]), rel=1e-2, abs=1e-7)
        assert measured.scores["fisher"] == pytest.approx(np.mean(np.square(norms[name])), rel=1e-4)
    values = torch.linalg.svdvals(unfold_for_factors(mean_gradient))
    assert measurement.sites[3].spectrum == pytest.approx(values[:64].tolist(), rel=1e-3, abs=1e-7)


def test_reparametrised_convolutions_get_gradients(tmp_path: Path) -> None:
    measurement, names = measure(tmp_path, "span", 1)
    assert all(site.reached for site in measurement.sites), names
    assert set(measurement.mean_spearman.values()) == {None}


def test_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("safmn", tmp_path / "net.safetensors"))
    bad = Batch(torch.full((1, 3, 16, 16), torch.inf), torch.zeros(1, 3, 64, 64))
    sites = find_sites(backbone.model, backbone.traits).sites
    with pytest.raises(TrainingError, match="not finite"):
        measure_gradients(backbone, sites, [bad], device=torch.device("cpu"), precision="fp32", task=SilentTask())


def test_rank_correlation_by_hand() -> None:
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    assert mean_rank_correlation(np.stack([rising, rising * 10])) == pytest.approx(1.0)
    assert mean_rank_correlation(np.stack([rising, rising[::-1]])) == pytest.approx(-1.0)
    # ranks 0 1 2 3 against 0 2 1 3: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8
    assert mean_rank_correlation(np.array([rising, [1.0, 5.0, 2.0, 9.0]])) == pytest.approx(0.8)
    # ties share their mean rank: 0.5 0.5 2 3 against 0 1 2 3
    assert mean_rank_correlation(np.array([[1.0, 1.0, 2.0, 3.0], rising])) == pytest.approx(0.9486833)
    assert mean_rank_correlation(rising[None]) is None


def test_spectrum_of_a_conv_gradient_is_that_of_its_factors() -> None:
    """A gradient that is exactly B A of rank 2 in the 1x1 -> kxk shape has two singular values."""
    across, kernels = torch.randn(2, 6), torch.randn(5, 2, 9)
    gradient = torch.matmul(across.t(), kernels).unflatten(2, (3, 3))  # (5, 6, 3, 3)
    values = leading_singular_values(gradient)
    assert len(values) == 6
    assert values[1] > 1e-2 > values[2]


def test_the_other_criteria_by_hand(tmp_path: Path) -> None:
    measurement, names = measure(tmp_path, "swinir", 1)
    backbone = load_backbone(tmp_path / "net.safetensors")
    site = {site.name: site for site in find_sites(backbone.model, backbone.traits).sites}[names[3]]
    assert site.rows is not None  # a row block of a fused projection, the hardest case
    layer = backbone.model.get_submodule(site.module)
    outputs: list[torch.Tensor] = []
    layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.detach()))
    backbone.model.requires_grad_(True)
    batch = next(batches(1))
    l1_loss(super_resolve(backbone, batch.lr), batch.hr).backward()
    rows = slice(*site.rows)
    weight, gradient = layer.weight.detach()[rows], layer.weight.grad[rows]
    scores = measurement.sites[3].scores
    assert scores["weight"] == pytest.approx(float(weight.norm()), rel=1e-4)
    assert scores["snip"] == pytest.approx(float((weight * gradient).abs().sum()), rel=1e-3)
    assert scores["activation"] == pytest.approx(float(outputs[0][..., rows].square().mean().sqrt()), rel=1e-4)
    assert scores["spectral"] == pytest.approx(float(gradient.norm()), rel=1e-3)  # one batch: no noise is known
    assert 0 <= scores["random"] < 1


def test_noise_alone_has_hardly_any_gain() -> None:
    """Pure noise buys little; a signal of rank one in the same noise keeps its square."""
    torch.manual_seed(1)
    even, odd = 10 * torch.randn(2, 30, 20) * 10**-0.5
    raw, noise = mean_and_noise_spectrum(even, odd, 20)
    assert sum(signal_gains(raw, noise)) < 0.1 * sum(value**2 for value in raw)
    signal = torch.outer(torch.ones(30), torch.ones(20))  # sigma = sqrt(600)
    gains = signal_gains(*mean_and_noise_spectrum(even + 10 * signal, odd + 10 * signal, 20))
    assert gains[0] == pytest.approx(600, rel=0.2)
    assert gains[1] < 20


def test_noise_of_unequal_halves_has_the_variance_of_the_mean() -> None:
    torch.manual_seed(0)
    batches = torch.randn(5, 60, 60)
    raw, noise = mean_and_noise_spectrum(batches[::2].sum(0), batches[1::2].sum(0), 5)
    assert sum(value**2 for value in noise) == pytest.approx(sum(value**2 for value in raw), rel=0.1)
    assert mean_and_noise_spectrum(None, None, 5) == ((), ())
    assert mean_and_noise_spectrum(batches[0], None, 1)[1] == ()


def test_every_criterion_has_its_record_and_its_name() -> None:
    """The names that the command line lists are those of the table; each record has one way to its value."""
    assert get_args(Criterion) == tuple(CRITERIA)
    for name, spec in CRITERIA.items():
        assert spec.name == name
        assert spec.summary
        assert (spec.of_batch is None) != (spec.of_site is None)


def test_ranks_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).integers(0, 9, 50).astype(float)  # with ties
    assert np.array_equal(_average_ranks(values), rankdata(values) - 1)
