"""`reallocate`: ranks by a trained adapter, and training that goes on from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import Command, write_pairs
from networks import save_tiny

from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.stages.common.adapter_file import attach_adapter, read_adapter, write_adapter

FIRST, SECOND = Path("first"), Path("second")
ADAPTER = FIRST / "adapter.safetensors"
QUICK = ("--batch", 2, "--patch", 48, "--method", "lora")


@pytest.fixture
def camera(adaptsr: Command, tmp_path: Path) -> Path:
    """Pairs, and a run that was trained on them with some ranks."""
    camera = write_pairs(tmp_path / "camera", count=5, side_px=64)
    model = save_tiny("edsr_basicsr", Path("m.safetensors"))
    adaptsr("score", "--data", camera, "--run", FIRST, "--model", model, "--batches", 1, "--patch", 48)
    assert adaptsr("allocate", "--run", FIRST, "--budget", "40%").code == 0
    train = adaptsr("train", "--data", camera, "--run", FIRST, *QUICK, "--iterations", 6, "--lr", 0.005)
    assert train.code == 0, train.err
    return camera


def reallocate(adaptsr: Command, *words: object) -> RankMap:
    done = adaptsr("reallocate", ADAPTER, "--run", SECOND, "--model", "m.safetensors", *words)
    assert done.code == 0, done.err
    assert "training continues from" in done.out
    return read_document(SECOND / "rank_map.json", RankMap)


def output(adapter: Path) -> torch.Tensor:
    backbone = load_backbone(Path("m.safetensors"))
    attach_adapter(backbone, adapter)
    with torch.inference_mode():
        return super_resolve(backbone, torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)))


def updates(adapter: Path) -> dict[str, torch.Tensor]:
    """What an adapter adds to each weight, as a matrix with the input channels as columns."""
    header, tensors = read_adapter(adapter)
    found = {}
    for site in header.sites:
        across, tall = tensors[f"{site.name}.lora_A"].flatten(1), tensors[f"{site.name}.lora_B"]
        found[site.name] = site.alpha / site.rank * (tall.movedim(1, -1).flatten(0, -2) @ across)
    return found


def best_approximation(update: torch.Tensor, rank: int) -> torch.Tensor:
    left, values, right = torch.linalg.svd(update.double(), full_matrices=False)
    return ((left[:, :rank] * values[:rank]) @ right[:rank]).float()


def test_pruned_and_grown_at_the_same_budget_and_gone_on_with(adaptsr: Command, camera: Path) -> None:
    rank_map = reallocate(adaptsr)
    header, _ = read_adapter(ADAPTER)
    before = {site.name: site.rank for site in header.sites}
    planned = read_document(FIRST / "rank_map.json", RankMap)
    assert rank_map.strategy == "adapter"
    assert rank_map.total_params <= rank_map.budget_params == planned.total_params
    after = {site.name: site.rank for site in rank_map.sites}
    assert any(after[name] > rank for name, rank in before.items())
    assert any(after[name] < rank for name, rank in before.items())
    again = {path.name: path.read_bytes() for path in SECOND.glob("rank_map.*")}
    assert len(again) == 3
    reallocate(adaptsr, "--force")
    assert {path.name: path.read_bytes() for path in SECOND.glob("rank_map.*")} == again
    assert "adapter.safetensors, from which" in adaptsr("info", SECOND / "rank_map.json").out
    assert "start" in adaptsr("info", SECOND / "rank_map.safetensors").out

    # At iteration 0 the updates are those of the adapter without the ranks taken away, though some sites have new ones.
    train = adaptsr("train", "--data", camera, "--run", SECOND, *QUICK, "--iterations", 1, "--lr", 1e-8)
    assert train.code == 0, train.err
    assert "continuing the adapter" in train.err
    assert "adapter before this training:" in train.err
    trained, started = updates(ADAPTER), updates(SECOND / "adapter.safetensors")
    assert set(started) == {name for name, rank in after.items() if rank}
    for name, update in started.items():
        expected = torch.zeros_like(update)
        if name in trained:
            expected = best_approximation(trained[name], min(before[name], after[name]))
        torch.testing.assert_close(update, expected, rtol=0, atol=1e-6)
    log = [json.loads(line) for line in (SECOND / "training" / "log.jsonl").read_text().splitlines()]
    card = json.loads((SECOND / "training" / "card.json").read_text())
    assert log[0]["val_psnr_y_db"] > card["backbone_psnr_y_db"]
    first_card = json.loads((FIRST / "training" / "card.json").read_text())
    assert card["backbone_psnr_y_db"] == pytest.approx(first_card["backbone_psnr_y_db"], abs=1e-6)


def test_nothing_changes_where_no_rank_is_taken_away(adaptsr: Command, camera: Path) -> None:
    """With twice the budget all that was learnt is kept: the same network at iteration 0, with more ranks."""
    spent = read_document(FIRST / "rank_map.json", RankMap).total_params
    rank_map = reallocate(adaptsr, "--budget", 2 * spent)
    header, _ = read_adapter(ADAPTER)
    after = {site.name: site.rank for site in rank_map.sites}
    assert all(after[site.name] >= site.rank for site in header.sites)
    train = adaptsr("train", "--data", camera, "--run", SECOND, *QUICK, "--iterations", 1, "--lr", 1e-8,
                    "--lora-scaling", "alpha/sqrt(r)", "--alpha", 3)  # fmt: skip
    assert train.code == 0, train.err
    expected = output(ADAPTER)
    difference = (output(SECOND / "adapter.safetensors") - expected).abs().max()
    assert difference <= 1e-6 * max(1.0, float(expected.abs().max()))


def test_going_on_repeats_and_is_told_from_other_starts(adaptsr: Command, camera: Path) -> None:
    reallocate(adaptsr)
    words = ("train", "--data", camera, "--run", SECOND, *QUICK, "--iterations", 3)
    assert adaptsr(*words).code == 0
    shutil.copytree(SECOND, "third", ignore=shutil.ignore_patterns("training", "adapter.*"))
    third = adaptsr("train", "--data", camera, "--run", "third", *QUICK, "--iterations", 3)
    assert third.code == 0, third.err
    assert Path("third/adapter.safetensors").read_bytes() == (SECOND / "adapter.safetensors").read_bytes()
    assert "finished already" in adaptsr(*words).err
    repeated = adaptsr(
        "train", "--config", SECOND / "training" / "config.toml", "--run", "fourth", "--model", "m.safetensors"
    )
    assert repeated.code == 0, repeated.err
    ours, theirs = (read_adapter(Path(run) / "adapter.safetensors")[1] for run in ("second", "fourth"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    anew = adaptsr(*words, "--init", "default")
    assert anew.code == 1
    assert "init was adapter, now default" in anew.err
    begun = adaptsr(*words, "--init", "default", "--force")
    assert begun.code == 0, begun.err
    assert "backbone before training" in begun.err
    assert adaptsr(*words, "--seed", 3, "--force").code == 0
    assert "trained on other images, or with another split" in adaptsr(*words, "--seed", 3, "--force").err


def test_kernels_first_go_on_too(adaptsr: Command, camera: Path) -> None:
    """By kxk -> 1x1, whose ranks cost other numbers of parameters than those of the plan."""
    kernels_first = ("--conv-factorization", "kxk-1x1")
    words = ("train", "--data", camera, "--model", "m.safetensors", *QUICK)
    source = Path("turned/adapter.safetensors")
    assert adaptsr("allocate", "--run", "turned", "--budget", "40%", "--saliency", FIRST / "saliency.json").code == 0
    assert adaptsr(*words, "--run", "turned", "--iterations", 4, "--lr", 0.005, *kernels_first).code == 0
    spent = read_document(Path("turned/rank_map.json"), RankMap).total_params
    model = ("--model", "m.safetensors")
    assert adaptsr("reallocate", source, "--run", SECOND, *model, "--budget", 2 * spent).code == 0
    other = adaptsr(*words, "--run", SECOND, "--iterations", 1)
    assert other.code == 2
    assert "is of --conv-factorization kxk-1x1, not 1x1-kxk" in other.err
    done = adaptsr(*words, "--run", SECOND, "--iterations", 1, "--lr", 1e-8, *kernels_first)
    assert done.code == 0, done.err
    expected = output(source)
    difference = (output(SECOND / "adapter.safetensors") - expected).abs().max()
    assert difference <= 1e-6 * max(1.0, float(expected.abs().max()))

    cut = adaptsr("truncate", "--run", "turned", "--budget", spent // 2, "--output", "small.safetensors")
    assert cut.code == 0, cut.err
    header, tensors = read_adapter(Path("small.safetensors"))
    assert header.factorization == "kxk-1x1"
    assert 0 < sum(tensor.numel() for tensor in tensors.values()) <= spent // 2
    assert output(Path("small.safetensors")).shape == expected.shape


def test_a_run_that_went_on_and_was_killed_goes_on_the_same(
    adaptsr: Command, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in (SECOND, Path("killed")):
        assert adaptsr("reallocate", ADAPTER, "--run", run, "--model", "m.safetensors").code == 0
    words = ("train", "--data", camera, *QUICK, "--iterations", 6, "--val-freq", 2, "--save-freq", 1)
    assert adaptsr(*words, "--run", SECOND).code == 0
    sample = BatchSampler.sample_part

    def fail(self: BatchSampler, iteration: int, first: int, count: int) -> Batch:
        if iteration == 4:
            raise OSError("the power went")
        return sample(self, iteration, first, count)

    with monkeypatch.context() as patch:
        patch.setattr(BatchSampler, "sample_part", fail)
        assert adaptsr(*words, "--run", "killed").code == 1
    resumed = adaptsr(*words, "--run", "killed")
    assert resumed.code == 0, resumed.err
    assert "resuming at iteration" in resumed.err
    assert Path("killed/adapter.safetensors").read_bytes() == (SECOND / "adapter.safetensors").read_bytes()


def test_what_cannot_be_gone_on_from_is_refused(adaptsr: Command, camera: Path) -> None:
    model = ("--model", "m.safetensors")
    train = ("train", "--data", camera, *QUICK, "--iterations", 1, *model)
    assert adaptsr(*train, "--run", "full", "--method", "full", "--lr", 1e-3).code == 0
    assert adaptsr(*train, "--run", "pissa", "--init", "pissa").code == 0
    assert adaptsr(*train, "--run", "single", "--conv-factorization", "single").code == 0
    header, tensors = read_adapter(ADAPTER)
    still = {name: tensor * (0 if name.endswith("lora_B") else 1) for name, tensor in tensors.items()}
    write_adapter(Path("zero.safetensors"), header, still)
    reallocate(adaptsr)
    new = ("--run", "new", *model)
    for words, code, text in (
        (("reallocate", "full/adapter.safetensors", *new), 1, "is an adapter of the method full"),
        (("reallocate", "zero.safetensors", *new), 1, "changes nothing"),
        (("truncate", "--run", FIRST, "--adapter", "zero.safetensors", "--to-rank", 1), 1, "changes nothing"),
        (("reallocate", "pissa/adapter.safetensors", *new), 1, "(`init` pissa) have other ranks"),
        (("truncate", "--run", "single", "--to-rank", 1), 1, "(`conv_factorization` single) have other ranks"),
        (("reallocate", "none.safetensors", *new), 1, "there is no adapter none.safetensors"),
        (("reallocate", ADAPTER, "--run", "fresh"), 1, "was made for m.safetensors"),
        (("reallocate", ADAPTER, *new, "--strategy", "uniform"), 2, "No such option"),
        (("reallocate", ADAPTER, *new, "--modules", "convs"), 2, "convs"),
        (("reallocate", ADAPTER, *new, "--budget", 2), 1, "too small"),
        (("allocate", *new), 2, "No such option"),
        (("reallocate", ADAPTER, "--run", SECOND), 1, "exists already"),
        ((*train, "--run", FIRST, "--init", "adapter"), 2, "was made without one"),
        ((*train, "--run", SECOND, "--method", "dora"), 2, "--method dora cannot do"),
    ):
        outcome = adaptsr(*words)
        assert outcome.code == code, (words, outcome.err)
        assert text in outcome.err.replace("\n", " ")
    sidecar = SECOND / "rank_map.safetensors"
    data = sidecar.read_bytes()
    sidecar.write_bytes(data[:-4] + b"\0\0\0\1")
    other = adaptsr(*train, "--run", SECOND)
    assert other.code == 1
    assert "is not the one that second/rank_map.json was written with" in other.err
    sidecar.unlink()
    gone = adaptsr(*train, "--run", SECOND)
    assert gone.code == 1
    assert "adaptsr reallocate" in gone.err
