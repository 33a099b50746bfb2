"""Every method on every kind of network: starts at the backbone, trains, folds exactly, costs what it says."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from networks import save_tiny
from torch import nn
from torch.nn.functional import l1_loss
from torch.utils.flop_counter import FlopCounterMode

from adaptsr_cli.adapters.attach import Attachment, attach, detach, fold
from adaptsr_cli.adapters.difffit import ScaledBranch
from adaptsr_cli.adapters.dora import DecomposedUpdate
from adaptsr_cli.adapters.methods import METHODS as RECORDS
from adaptsr_cli.adapters.methods import validate_method_options
from adaptsr_cli.adapters.shira import choose_by_site, choose_over_sites, draw_importance, read_entries
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.artifacts.base import Factorization, Method
from adaptsr_cli.backbones.backbone import Backbone, Traits, set_differentiable, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.ranking.importance import measure_movement, measure_snip

Plan = list[tuple[Site, int]]
NAMES = ("edsr_basicsr", "safmn", "swinir", "drct")
METHODS: tuple[Method, ...] = get_args(Method)
# Every method, and the options of those that have some.
CASES: dict[str, dict[str, Any]] = {method: {"method": method} for method in METHODS} | {
    "lora kxk-1x1": {"factorization": "kxk-1x1"},
    "lora single": {"factorization": "single"},
    "dora kxk-1x1": {"method": "dora", "factorization": "kxk-1x1"},
    "dora single": {"method": "dora", "factorization": "single"},
    "rasa kxk-1x1": {"method": "rasa", "factorization": "kxk-1x1"},
    "rasa single": {"method": "rasa", "factorization": "single"},
    "lora pissa": {"principal": True},
    "lora pissa kxk-1x1": {"principal": True, "factorization": "kxk-1x1"},
    "dora pissa": {"method": "dora", "principal": True},
    "shira random": {"method": "shira"},
    "shira snip": {"method": "shira"},
    "shira movement": {"method": "shira"},
}
KEPT = {"entries", "start_A", "start_B"}  # what does not train


def tiny(name: str, folder: Path) -> tuple[Backbone, Plan]:
    """A network and ranks 0, 1, 2, 3, 0... as far as the sites allow."""
    backbone = load_backbone(save_tiny(name, folder / "net.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    return backbone, [(site, min(number % 4, site.max_rank)) for number, site in enumerate(sites)]


def put(
    backbone: Backbone, plan: Plan, case: str, seed: int = 0, saved: dict[str, torch.Tensor] | None = None
) -> Attachment:
    """The adapters of a case; resuming what was saved needs no second look at the data."""
    planned = [(site, rank) for site, rank in plan if rank]
    entries = read_entries(saved or {})
    if case == "shira random" and entries is None:
        entries = choose_by_site(draw_importance(planned, seed), planned)
    elif case in ("shira snip", "shira movement") and entries is None:
        image = torch.rand(2, 3, 16, 16)
        batch = Batch(image, torch.rand(2, 3, 16 * backbone.scale, 16 * backbone.scale))
        sites, is_snip = [site for site, _ in planned], case == "shira snip"
        measure = measure_snip if is_snip else measure_movement
        importance = measure(backbone, sites, [[batch]], device=torch.device("cpu"), precision="fp32")
        entries = (choose_by_site if is_snip else choose_over_sites)(importance, planned)
    return attach(backbone.model, plan, alpha=4.0, seed=seed, entries=entries, **CASES[case])


def flops(backbone: Backbone, image: torch.Tensor) -> int:
    """Floating-point operations of one forward pass."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        super_resolve(backbone, image)
    return counter.get_total_flops()


def train(backbone: Backbone, attachment: Attachment, steps: int = 2, seed: int = 1) -> torch.Tensor:
    """Trains on noise; returns the image that was trained on."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, 16, 16, generator=generator)
    target = torch.rand(1, 3, 16 * backbone.scale, 16 * backbone.scale, generator=generator)
    optimizer = torch.optim.Adam(attachment.parameters(), lr=1e-2)
    set_differentiable(backbone, True)
    for _ in range(steps):
        optimizer.zero_grad()
        l1_loss(super_resolve(backbone, image), target).backward()
        optimizer.step()
    set_differentiable(backbone, False)
    return image


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_starts_at_the_backbone_costs_what_it_says_trains_and_folds(name: str, case: str, tmp_path: Path) -> None:
    backbone, plan = tiny(name, tmp_path)
    image = torch.rand(1, 3, 16, 16)
    before = {key: tensor.clone() for key, tensor in backbone.model.state_dict().items()}
    cost, params = flops(backbone, image), formula(case, plan, backbone.model)
    with torch.inference_mode():
        expected = super_resolve(backbone, image)
    attachment = put(backbone, plan, case)
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters() if id(parameter) not in {
        id(trained) for trained in attachment.parameters()
    })  # fmt: skip
    with torch.inference_mode():
        assert torch.equal(super_resolve(backbone, image), expected)
    start = attachment.state()
    kept = {key: tensor for key, tensor in start.items() if key.rpartition(".")[2] not in KEPT}
    budget = sum(rank * site.rank_cost for site, rank in plan)
    assert attachment.params == sum(tensor.numel() for tensor in kept.values()) == params
    assert params <= budget or case in ("full", "difffit")

    train(backbone, attachment)
    moved = attachment.state()
    for key, tensor in moved.items():
        assert torch.equal(tensor, start[key]) == (key.rpartition(".")[2] in KEPT), key
    with torch.inference_mode():
        attached = super_resolve(backbone, image)
        assert not torch.equal(attached, expected)
        fold(attachment)
        folded = super_resolve(backbone, image)
    assert (folded - attached).abs().max() <= 1e-6 * max(1.0, float(attached.abs().max()))
    after = backbone.model.state_dict()
    assert {key: tensor.shape for key, tensor in after.items()} == {key: tensor.shape for key, tensor in before.items()}
    for key in after.keys() - set(attachment.changed):
        assert torch.equal(after[key], before[key]), key
    for key in attachment.changed:
        assert not torch.equal(after[key], before[key]), key
    assert flops(backbone, image) == cost


# Both together have every kind of site; what each architecture adds is in the test above.
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["safmn", "swinir"])
def test_detaching_restores_and_the_state_is_all_there_is(name: str, case: str, tmp_path: Path) -> None:
    backbone, plan = tiny(name, tmp_path)
    before = {key: tensor.clone() for key, tensor in backbone.model.state_dict().items()}
    attachment = put(backbone, plan, case)
    image = train(backbone, attachment)
    state = attachment.state()
    with torch.inference_mode():
        trained = super_resolve(backbone, image)
    detach(attachment)
    after = backbone.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    later = []
    for seed in (1, 2):
        other = put(backbone, plan, case, seed, state)
        other.load(state, "a.safetensors")
        with torch.inference_mode():
            assert torch.equal(super_resolve(backbone, image), trained)
        train(backbone, other, steps=1)
        later.append(other.state())
        detach(other)
    assert all(torch.equal(tensor, later[1][key]) for key, tensor in later[0].items())
    assert any(not torch.equal(tensor, state[key]) for key, tensor in later[0].items())
    other = put(backbone, plan, case, saved=state)
    first = next(iter(state))
    with pytest.raises(ArtifactError, match="lacks"):
        other.load({key: tensor for key, tensor in state.items() if key != first}, "a.safetensors")
    with pytest.raises(ArtifactError, match="has shape"):
        other.load(state | {first: torch.zeros(99)}, "a.safetensors")


def rank_cost(site: Site, factorization: Factorization) -> int:
    """Parameters of one rank, by the shapes of the factors."""
    out, inside, *kernel = site.shape
    if prod(kernel) == 1:
        return inside + out
    shapes = {
        "1x1-kxk": [(1, inside, 1, 1), (out, 1, *kernel)],
        "kxk-1x1": [(1, inside, *kernel), (out, 1, 1, 1)],
        "single": [(1, inside, 1, 1), (1, *kernel), (out, 1, 1, 1)],
    }
    return sum(prod(shape) for shape in shapes[factorization])


def formula(case: str, plan: Plan, model: nn.Module) -> int:
    """The parameter count that the docstring of each method states, computed from the plan alone."""
    method: Method = CASES[case].get("method", "lora")
    factorization: Factorization = CASES[case].get("factorization", "1x1-kxk")
    wanted = [(site, rank) for site, rank in plan if rank]
    biased = [site for site, _ in wanted if model.get_submodule(site.module).bias is not None]
    biases = sum(site.shape[0] for site in biased)
    if method in ("lora", "shira"):
        costs = [(rank * rank_cost(site, "1x1-kxk"), rank_cost(site, factorization)) for site, rank in wanted]
        return sum(budget // cost * cost for budget, cost in costs)
    if method == "full":
        return sum(site.params for site, _ in wanted)
    if method == "bitfit":
        return biases
    if method == "dora":
        total = 0
        for site, rank in wanted:
            cost = rank_cost(site, factorization)
            total += site.shape[0] + (rank * rank_cost(site, "1x1-kxk") - site.shape[0]) // cost * cost
        if factorization == "1x1-kxk":
            assert total == sum((rank - 1) * site.rank_cost + site.shape[0] for site, rank in wanted)
        return total
    if method == "difffit":
        norms = [module for module in model.modules() if type(module).__name__ in ("LayerNorm", "GroupNorm")]
        branches = 0
        for site, _ in wanted:
            holder, _, own = site.module.rpartition(".")
            layers = [
                name
                for name, child in model.get_submodule(holder).named_children()
                if isinstance(child, nn.Conv2d | nn.Linear)
            ]
            branches += bool(site.block) and site.rows is None and layers[-1] == own
        return biases + sum(p.numel() for norm in norms for p in norm.parameters()) + branches
    total = 0
    if method == "rasa":
        bought = [(site, rank * rank_cost(site, "1x1-kxk") // rank_cost(site, factorization)) for site, rank in wanted]
        for shape, members in Counter(site.shape for site, rank in bought if rank).items():
            ranks = [rank for site, rank in bought if site.shape == shape]
            cost = next(rank_cost(site, factorization) for site, _ in wanted if site.shape == shape)
            given = [-(-rank // 8) for rank in ranks]
            pool = sum(given) * cost // (cost + members)
            total += (sum(ranks) - sum(given)) * cost + pool * (cost + members) if pool else sum(ranks) * cost
        return total
    assert method == "arc"
    for width, members in Counter(site.shape[1] for site, _ in wanted).items():
        group = [(site, rank) for site, rank in wanted if site.shape[1] == width]
        spent = sum(site.shape[0] for site, _ in group if site in biased)
        rank = min(width, (sum(rank * site.rank_cost for site, rank in group) - spent) // (width + members))
        total += rank * (width + members) + spent
    return total


def two_layers(**options: bool) -> tuple[nn.ModuleDict, Plan]:
    model = nn.ModuleDict({"a": nn.Conv2d(8, 8, 3, **options), "b": nn.Conv2d(8, 8, 3, **options)})
    return model, [(site, 3) for site in find_sites(model, Traits()).sites]


def test_shared_tensors_are_one() -> None:
    for method, names in (("rasa", {"pool#8x8x3x3"}), ("arc", {"projection#8"})):
        model, plan = two_layers()
        attachment = attach(model, plan, alpha=1.0, method=method)  # type: ignore[arg-type]
        prefixes = {key.rsplit(".", 1)[0].removesuffix(".own") for key in attachment.state()}
        assert prefixes == {"a", "b"} | names
        weights = [model[name].weight.detach().clone() for name in "ab"]
        shared = next(adapter for name, adapter in attachment.adapters.items() if name in names)
        with torch.no_grad():
            for parameter in attachment.parameters():
                nn.init.normal_(parameter)
            first = [model[name].weight - weight for name, weight in zip("ab", weights, strict=True)]
            next(shared.parameters()).mul_(2)
            second = [model[name].weight - weight for name, weight in zip("ab", weights, strict=True)]
        assert all(not torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_dora_keeps_directions_and_lengths_apart() -> None:
    model, plan = two_layers()
    attachment = attach(model, plan, alpha=1.0, method="dora")
    adapter = attachment.adapters["a"]
    assert isinstance(adapter, DecomposedUpdate)
    assert adapter.direction is not None
    with torch.no_grad():
        nn.init.normal_(adapter.direction.lora_B)
        adapter.magnitude.fill_(2.5)
    torch.testing.assert_close(model["a"].weight.flatten(1).norm(dim=1), torch.full((8,), 2.5))


def test_dora_of_a_zero_row_is_zero() -> None:
    model, plan = two_layers()
    with torch.no_grad():
        model["a"].weight[3] = 0
    attach(model, plan, alpha=1.0, method="dora")
    assert not model["a"].weight[3].any()


def test_arc_is_the_layer_behind_a_projection() -> None:
    """W (I + U diag(c) U^T) is the layer fed with (I + U diag(c) U^T) x."""
    model, plan = two_layers(bias=False)
    weight = model["a"].weight.detach().clone()
    attachment = attach(model, plan, alpha=1.0, method="arc")
    basis = attachment.state()["projection#8.basis"]
    torch.testing.assert_close(basis.t() @ basis, torch.eye(basis.shape[1]))
    with torch.no_grad():
        coefficients = nn.init.normal_(dict(attachment.adapters["a"].named_parameters())["coefficients"])
    image = torch.randn(1, 8, 5, 5)
    mixed = torch.einsum("ij,bjhw->bihw", torch.eye(8) + basis @ torch.diag(coefficients) @ basis.t(), image)
    torch.testing.assert_close(
        nn.functional.conv2d(image, model["a"].weight), nn.functional.conv2d(mixed, weight), atol=1e-5, rtol=1e-5
    )
    assert "a.bias_delta" not in attachment.state()


def test_bitfit_without_a_bias_is_refused() -> None:
    model, plan = two_layers(bias=False)
    with pytest.raises(ArtifactError, match="none of the planned layers has a bias"):
        attach(model, plan, alpha=1.0, method="bitfit")


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("arc", {"init": "gradient"}, "`init` gradient is for `method` lora and dora"),
        ("rasa", {"init": "pissa"}, "`init` pissa is for `method` lora and dora"),
        ("full", {"factorization": "single"}, "`conv_factorization` is for"),
        ("lora", {"factorization": "kxk-1x1", "init": "gradient"}, "does not fit `conv_factorization` kxk-1x1"),
        ("dora", {"factorization": "single", "init": "pissa"}, "`init` pissa does not fit `conv_factorization` single"),
        ("lora", {"mask": "snip"}, "`shira_mask` snip is for `method` shira"),
    ],
)
def test_options_that_a_method_does_not_obey_are_refused(method: Method, options: dict[str, Any], said: str) -> None:
    chosen: dict[str, Any] = {"init": "default", "factorization": "1x1-kxk", "mask": "magnitude"} | options
    with pytest.raises(UsageError, match=said):
        validate_method_options(method, **chosen)


def test_difffit_scales_a_branch_at_its_end_only(tmp_path: Path) -> None:
    """By the names of the networks: what is added to the residual is scaled, and nothing before a nonlinearity."""
    ends = {
        "edsr_basicsr": {"body.0.conv2", "body.1.conv2"},
        "safmn": {f"feats.{block}.{end}" for block in (0, 1) for end in ("safm.aggr", "ccm.ccm.2")},
        "swinir": {
            f"layers.0.residual_group.blocks.{block}.{end}" for block in (0, 1) for end in ("attn.proj", "mlp.fc2")
        }
        | {"layers.0.conv"},
    }
    for name, expected in ends.items():
        backbone = load_backbone(save_tiny(name, tmp_path / f"{name}.safetensors"))
        plan = [(site, 1) for site in find_sites(backbone.model, backbone.traits).sites]
        adapters = attach(backbone.model, plan, alpha=1.0, method="difffit").adapters
        assert {site for site, adapter in adapters.items() if isinstance(adapter, ScaledBranch)} == expected
    model, _ = two_layers()
    plan = [(site, 1) for site in find_sites(model, Traits()).sites]
    adapters = attach(model, plan, alpha=1.0, method="difffit").adapters
    assert not any(isinstance(adapter, ScaledBranch) for adapter in adapters.values())  # no block, no branch


def test_every_method_has_its_record_and_its_name() -> None:
    """The names that the command line lists are those of the table."""
    assert get_args(Method) == tuple(RECORDS)
    for name, spec in RECORDS.items():
        assert spec.name == name
        assert spec.summary
        assert spec.inits[0] == "default"
        assert spec.learning_rate_factor > 0
