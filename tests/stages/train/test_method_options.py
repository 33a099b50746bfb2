"""Options of low-rank methods from the command line to the adapter file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Command

from adaptsr_cli.io.documents import read_toml
from adaptsr_cli.stages.common.adapter_file import read_adapter, write_adapter
from adaptsr_cli.stages.train import search
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.search import SMALL_PARAMS
from adaptsr_cli.training.state import read_state
from adaptsr_cli.units import format_params

RUN = Path("adaptsr-run")
WORDS = ("--iterations", 2, "--batch", 2, "--patch", 64)
QUICK = ("--iterations", 2, "--batch", 2, "--patch", 32)


def test_scale_and_lora_plus_are_kept_and_merged(adaptsr: Command, pairs: Path) -> None:
    train = adaptsr("train", "--data", pairs, *WORDS, "--lora-scaling", "alpha/sqrt(r)", "--lora-plus", 8)
    assert train.code == 0, train.err
    assert read_adapter(RUN / "adapter.safetensors")[0].lora_scaling == "alpha/sqrt(r)"
    request = read_toml(RUN / "training" / "config.toml", TrainOptions)
    assert (request.lora_scaling, request.lora_plus) == ("alpha/sqrt(r)", 8.0)
    assert "alpha/sqrt(r) with alpha 8" in adaptsr("info", RUN / "adapter.safetensors").out
    assert adaptsr("merge").code == 0


def test_gradient_start(adaptsr: Command, pairs: Path) -> None:
    """At iteration 0 the rows of A are orthogonal and of one length, and still the network is the backbone."""
    words = ("train", "--data", pairs, "--batch", 2, "--patch", 64, "--init", "gradient")
    train = adaptsr(*words, "--iterations", 1, "--lr", 1e-8)
    assert train.code == 0, train.err
    _, state = read_state(RUN / "training" / "state.safetensors")
    rows = [tensor.flatten(1) for name, tensor in state.items() if name.startswith("adapter/") and "lora_A" in name]
    assert rows
    for row in rows:
        torch.testing.assert_close(3 * row @ row.t(), torch.eye(len(row)), atol=1e-4, rtol=0)
    assert "directions" in adaptsr("info", RUN / "saliency.safetensors").out
    other = adaptsr(*words, "--iterations", 1, "--lr", 1e-8, "--method", "arc", "--force")
    assert other.code == 2
    assert "lora and dora" in other.err
    (RUN / "saliency.safetensors").unlink()
    gone = adaptsr(*words, "--iterations", 1, "--force")
    assert gone.code == 1
    assert "adaptsr score" in gone.err


def test_options_that_make_no_sense_are_refused(adaptsr: Command, pairs: Path) -> None:
    unknown = adaptsr("train", "--data", pairs, *WORDS, "--lora-scaling", "alpha")
    assert unknown.code == 2
    assert "alpha/r" in unknown.err
    for option, value in (("--lora-plus", 8), ("--alpha", 4), ("--lora-scaling", "alpha/sqrt(r)")):
        nothing = adaptsr("train", "--data", pairs, *WORDS, "--method", "bitfit", option, value)
        assert nothing.code == 2
        assert f"error: {option} is for --method lora, dora and rasa" in nothing.err


@pytest.fixture
def prepared(adaptsr: Command, pairs: Path) -> Path:
    """The pairs of a run folder that has been scored and allocated, quickly."""
    assert adaptsr("score", "--data", pairs, "--batches", 1, "--batch", 1, "--patch", 32).code == 0
    assert adaptsr("allocate", "--budget", "8%").code == 0
    return pairs


def test_another_factorisation_is_kept_told_and_merged(adaptsr: Command, prepared: Path) -> None:
    train = adaptsr("train", "--data", prepared, *QUICK, "--conv-factorization", "kxk-1x1", "--init", "pissa", "--json")
    assert train.code == 0, train.err
    assert "--conv-factorization kxk-1x1 buys whole ranks of other costs and leaves" in train.err.replace("\n", " ")
    header, tensors = read_adapter(RUN / "adapter.safetensors")
    assert (header.factorization, header.init) == ("kxk-1x1", "pissa")
    assert any(name.endswith(".start_A") for name in tensors)
    request = read_toml(RUN / "training" / "config.toml", TrainOptions)
    assert (request.conv_factorization, request.init) == ("kxk-1x1", "pissa")
    assert "kxk-1x1, alpha/r with alpha 8, init pissa" in adaptsr("info", RUN / "adapter.safetensors").out
    card = json.loads(train.out)
    trained = sum(tensor.numel() for name, tensor in tensors.items() if ".lora_" in name)
    assert (card["trainable_params"], card["inference_params"]) == (trained, 0)
    merge = adaptsr("merge", "--json")
    assert merge.code == 0, merge.err
    merged = json.loads(merge.out)
    assert (merged["updated_params"], merged["inference_params"]) == (trained, 0)
    assert merged["probe_max_difference"] <= 1e-6


def test_parameters_are_told_as_in_the_papers_table_3(adaptsr: Command, prepared: Path) -> None:
    train = adaptsr("train", "--data", prepared, *QUICK, "--method", "bitfit")
    count = sum(tensor.numel() for tensor in read_adapter(RUN / "adapter.safetensors")[1].values())
    line = f"updated / inference parameters: +{format_params(count)} / +0"
    assert line in train.out
    assert line in adaptsr("merge").out
    assert f"+{format_params(count)} / +0" in adaptsr("info", RUN / "training" / "card.json").out


@pytest.mark.parametrize(("mask", "said"), [("snip", "by SNIP"), ("movement", "by how far 20 steps")])
def test_a_measured_mask_is_chosen_once(adaptsr: Command, prepared: Path, mask: str, said: str) -> None:
    words = ("train", "--data", prepared, *QUICK, "--method", "shira")
    first = adaptsr(*words, "--shira-mask", mask, "--accumulate", 2)
    assert first.code == 0, first.err
    assert said in first.err
    again = adaptsr(*words, "--shira-mask", mask, "--accumulate", 2)
    assert again.code == 0, again.err
    assert said not in again.err
    assert "finished already" in again.err
    other = adaptsr(*words, "--shira-mask", "random", "--accumulate", 2)
    assert other.code == 1
    assert f"shira-mask was {mask}, now random" in other.err
    measured = read_adapter(RUN / "adapter.safetensors")[1]
    random = adaptsr(*words, "--shira-mask", "random", "--force")
    assert random.code == 0, random.err
    at_random = read_adapter(RUN / "adapter.safetensors")[1]
    assert sum(map(len, measured.values())) == sum(map(len, at_random.values()))
    names = [name for name in measured if name.endswith(".entries")]
    assert any(not torch.equal(measured[name], at_random[name]) for name in names)
    assert adaptsr("merge").code == 0


def test_options_that_the_method_does_not_obey_end_before_the_work(adaptsr: Command, pairs: Path) -> None:
    for words, said in (
        (("--method", "arc", "--conv-factorization", "single"), "lora, dora and rasa"),
        (("--shira-mask", "snip"), "is for"),
        (("--method", "rasa", "--init", "pissa"), "lora and dora"),
        (("--conv-factorization", "kxk"), "--conv-factorization': 'kxk' is not one of"),
    ):
        refused = adaptsr("train", "--data", pairs, *QUICK, *words)
        assert refused.code == 2
        assert said in refused.err.replace("\n", " ")
    assert not RUN.exists()


def test_an_adapter_that_contradicts_itself_is_refused(adaptsr: Command, prepared: Path) -> None:
    assert adaptsr("train", "--data", prepared, *QUICK, "--method", "bitfit").code == 0
    header, tensors = read_adapter(RUN / "adapter.safetensors")
    write_adapter(RUN / "adapter.safetensors", header.model_copy(update={"factorization": "single"}), tensors)
    merge = adaptsr("merge")
    assert merge.code == 1
    assert "contradicts itself" in merge.err


# LoRA by Adam: by Muon the first step on so few pixels bounds its rate.
@pytest.mark.parametrize(
    ("words", "rate"),
    [(("lora", "--optimizer", "adam"), 2e-3), (("full",), 1e-3), (("bitfit",), 2e-2)],
    ids=["lora", "full", "bitfit"],
)
def test_every_method_has_a_learning_rate_of_its_own(
    adaptsr: Command, pairs: Path, words: tuple[str, ...], rate: float
) -> None:
    train = adaptsr("train", "--data", pairs, *WORDS, "--method", *words)
    assert train.code == 0, train.err
    assert read_toml(RUN / "training" / "config.toml", TrainOptions).learning_rate == pytest.approx(rate)


def test_training_starts_at_the_gradient_unless_told_otherwise(adaptsr: Command, pairs: Path) -> None:
    """With the sidecar of `score` at its directions; without it at random, which is said; by the paper as the paper."""
    config = RUN / "training" / "config.toml"
    words = (*WORDS, "--method", "lora")
    assert adaptsr("train", "--data", pairs, *words).code == 0
    assert read_toml(config, TrainOptions).init == "gradient"
    elsewhere = ("train", "--data", pairs, *words, "--rank-map", RUN / "rank_map.json", "--run", "elsewhere")
    assert adaptsr(*elsewhere).code == 0
    assert read_toml(Path("elsewhere") / "training" / "config.toml", TrainOptions).init == "gradient"
    (RUN / "saliency.safetensors").unlink()
    train = adaptsr("train", "--data", pairs, *words, "--force")
    assert read_toml(config, TrainOptions).init == "default"
    assert "start at random" in train.err
    assert adaptsr("score", "--data", pairs, "--force", "--batches", 2, "--patch", 32).code == 0
    assert adaptsr("train", "--data", pairs, *words, "--preset", "paper", "--force").code == 0
    assert read_toml(config, TrainOptions).init == "default"


def test_a_budget_that_bounds_the_sites_alone_is_told(adaptsr: Command, prepared: Path) -> None:
    """Where the user has chosen it, and not the method."""
    said = "the budget of 12.0k parameters has chosen the sites"
    for budget, method, tells in (("8%", "auto", False), ("12k", "auto", True), ("12k", "full", False)):
        assert adaptsr("allocate", "--budget", budget, "--force").code == 0
        train = adaptsr("train", "--data", prepared, *QUICK, "--method", method, "--force")
        assert train.code == 0, train.err
        assert (said in train.err.replace("\n", " ")) == tells


@pytest.mark.parametrize(
    ("words", "limit", "method"),
    [
        ((), SMALL_PARAMS, "full"),
        (("--lr", 1e-4), SMALL_PARAMS, "full"),
        (("--lr", 1e-4), 100, "lora"),
        (("--lr", 1e-4, "--method", "lora"), SMALL_PARAMS, "lora"),
        (("--lr", 1e-4, "--alpha", 4), SMALL_PARAMS, "lora"),
        (("--preset", "paper", "--patch", 32), SMALL_PARAMS, "lora"),
    ],
)
def test_the_size_of_the_network_decides_what_is_trained(
    adaptsr: Command,
    prepared: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    limit: int,
    method: str,
) -> None:
    """Also where no search is: with a given rate, or in a training of a few steps. What was begun goes on as it was."""
    monkeypatch.setattr(search, "SMALL_PARAMS", limit)
    train = ("train", "--data", prepared, *QUICK, *words)
    begun = adaptsr(*train)
    assert begun.code == 0, begun.err
    assert read_toml(RUN / "training" / "config.toml", TrainOptions).method == method
    monkeypatch.setattr(search, "SMALL_PARAMS", 100 if limit > 100 else SMALL_PARAMS)
    longer = adaptsr(*train, "--iterations", 3)
    assert longer.code == 0, longer.err
    assert read_adapter(RUN / "adapter.safetensors")[0].method == method
