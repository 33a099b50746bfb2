"""What ``eval`` compares and writes down."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import CHART_SIDE, Command, write_pairs
from networks import save_tiny

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.errors import DataError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.images import read_rgb, resize_bicubic, write_rgb
from adaptsr_cli.io.tensors import read_tensors, write_tensors
from adaptsr_cli.metrics import colour_chart
from adaptsr_cli.stages.common.file_names import name_files
from adaptsr_cli.stages.score.stage import score_backbone

EVAL_JSON = Path("adaptsr-run/eval.json")


def make_outputs(hr: Path, folder: Path, suffix: str = "", noise: int = 3) -> Path:
    """What another system might have made: the reference with an error."""
    for number, path in enumerate(sorted(hr.glob("*.png"))):
        image = read_rgb(path).astype(int)
        error = np.random.default_rng(number).integers(-noise, noise + 1, image.shape)
        write_rgb(folder / f"{path.stem}{suffix}.png", np.clip(image + error, 0, 255).astype(np.uint8))
    return folder


def test_everything_that_the_scores_depend_on_is_written_down(adaptsr: Command, pairs: Path) -> None:
    outputs = make_outputs(pairs / "hr", Path("theirs"))
    words = ("eval", "--data", pairs, "--sr", f"theirs={outputs}", "--model", "safmn-x4-bicubic", "--metrics", "psnr")
    result = adaptsr(*words)
    assert result.code == 0, result.err
    assert "protocol paper: output rounded to uint8, border of 4 px left out" in result.out
    found = read_document(EVAL_JSON, Evaluation)
    assert found.protocol == "paper"
    assert (found.parameters.border_px, found.parameters.channels) == (4, ("y", "rgb"))
    assert {"torch", "numpy", "scikit-image", "pillow"} <= set(found.versions)
    assert found.provenance.options["device"] == "cpu"
    image = found.images[0]
    digests = {
        "hr": pairs / "hr" / f"{image.name}.png",
        "lr": pairs / "lr" / f"{image.name}.png",
        "theirs": outputs / f"{image.name}.png",
    }
    assert image.file_sha256 == {role: hashlib.sha256(path.read_bytes()).hexdigest() for role, path in digests.items()}
    first, second = found.models
    scores = [entry.models[first.name]["psnr_y_db"] for entry in found.images]
    assert first.metrics["psnr_y_db"] == pytest.approx(np.mean(scores))
    assert first.spread["psnr_y_db"].std == pytest.approx(np.std(scores, ddof=1))
    test = next(entry for entry in found.comparisons if entry.metric == "psnr_y_db")
    assert (test.model, test.against, test.larger) == (second.name, first.name, 6)
    assert test.p_value == pytest.approx(2 / 2**6)
    before = EVAL_JSON.read_bytes()
    assert adaptsr(*words).code == 0
    assert EVAL_JSON.read_bytes() == before


def test_scores_by_another_protocol_lie_beside_the_first_ones(adaptsr: Command, pairs: Path) -> None:
    words = ("eval", "--data", pairs, "--metrics", "psnr")
    assert adaptsr(*words).code == 0
    before = EVAL_JSON.read_bytes()
    for more in (("--model", "safmn-x4-bicubic"), (), ("--force",)):
        other = adaptsr(*words, "--protocol", "rgb", "--json", *more)
        assert other.code == 0, other.err
        assert list(json.loads(other.out)["models"][0]["metrics"]) == ["psnr_rgb_db"]
    assert EVAL_JSON.read_bytes() == before
    beside = [read_document(path, Evaluation) for path in EVAL_JSON.parent.glob("eval-*.json")]
    assert {evaluation.models[0].name for evaluation in beside} == {"safmn-x4-bicubic", "backbone"}
    assert len(beside) == 2


def test_scores_from_before_the_merge_are_told_from_those_after_it(adaptsr: Command, pairs: Path) -> None:
    words = ("eval", "--data", pairs, "--metrics", "psnr", "--split", "held-out")
    assert adaptsr("train", "--data", pairs, "--lr", 0.01, "--iterations", 3, "--batch", 1, "--patch", 64).code == 0
    assert adaptsr(*words).code == 0
    assert adaptsr("merge").code == 0
    after = adaptsr(*words)
    assert (after.code, "eval.json holds another evaluation (backbone on" in after.err) == (1, True)
    assert "of other models" in after.err
    assert adaptsr(*words, "--force").code == 0
    assert [model.name for model in read_document(EVAL_JSON, Evaluation).models] == ["backbone", "merged"]


FULL_CHART_SIDE = colour_chart._SIDE_LR_PX  # before a test makes it smaller


def test_colours_that_break_are_counted_and_warned_of(
    adaptsr: Command, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CHART_SIDE, FULL_CHART_SIDE)
    tensors, metadata = read_tensors(default_model())
    first = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    write_tensors(Path("wild.safetensors"), tensors | {first: 4 * tensors[first]}, metadata)
    words = ("eval", "--data", pairs, "--metrics", "psnr", "--model", default_model(), "--model")
    result = adaptsr(*words, "wild.safetensors")
    assert result.code == 0, result.err
    chart = read_document(EVAL_JSON, Evaluation).colour_chart
    assert chart is not None
    published, wild = chart.broken.values()
    assert (chart.colours, published < 10, wild > 20) == (64, True, True)
    assert f"of 64 flat colours on a chart some break ({default_model().stem}: {published}, wild: {wild})" in " ".join(
        result.err.split()
    )
    others = ("`adaptsr train --recolour`", "`adaptsr merge --strength`")  # never as if they were of this command
    assert [" ".join(result.err.split()).count(text) for text in (*others, "--recolour", "--strength")] == [1] * 4
    page = EVAL_JSON.with_name("report.html").read_text(encoding="utf-8")
    assert "Of 64 flat colours on a chart some break" in page
    calm = adaptsr(*words, default_model(), "--force")
    assert "flat colours" not in calm.err


def test_the_scores_stand_without_the_colour_chart(
    adaptsr: Command, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_sr: np.ndarray, _scale: int) -> int:
        raise DataError("no memory for it", "buy some")

    monkeypatch.setattr("adaptsr_cli.stages.evaluate.stage.count_broken", refuse)
    result = adaptsr("eval", "--data", pairs, "--metrics", "psnr", "--model", default_model())
    assert result.code == 0
    assert "goes without the colour chart: no memory for it" in " ".join(result.err.split())
    found = read_document(EVAL_JSON, Evaluation)
    assert found.colour_chart is None
    assert found.models[0].metrics["psnr_y_db"] > 10


def test_stablesr_gives_the_networks_the_middle_of_lr(adaptsr: Command, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "large", count=2, scale=2, side_px=280)
    outputs = tmp_path / "crops"
    for path in (data / "hr").iterdir():
        write_rgb(outputs / path.name, np.ascontiguousarray(read_rgb(path)[12:268, 12:268]))
    words = ("eval", "--data", data, "--protocol", "stablesr", "--metrics", "psnr", "--json")
    whole = adaptsr(*words, "--sr", f"whole={data / 'hr'}", "--sr", f"crops={outputs}")
    assert whole.code == 0, whole.err
    result = json.loads(whole.out)
    assert [model["metrics"]["psnr_y_db"] for model in result["models"]] == [100, 100]
    assert result["parameters"]["lr_crop_px"] == 128
    assert (result["images"][0]["width_px"], result["images"][0]["height_px"]) == (256, 256)
    small = adaptsr("eval", "--data", write_pairs(tmp_path / "small", count=1), "--protocol", "stablesr", "--run", "s")
    assert small.code == 1
    assert "96x96 px is too small for protocol stablesr, which takes the 512x512 px in the middle" in small.err


def test_adapters_are_scored_on_their_backbones_as_the_merged_file_is(
    adaptsr: Command, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not `score_little`: by its ranks one of the two gains nothing in 12 steps and stays the backbone.
    monkeypatch.setattr("adaptsr_cli.stages.adapt.steps.score_backbone", score_backbone)
    quick = ("--iterations", 12, "--batch", 2, "--patch", 64, "--lr", 0.01)
    for run in ("one", "two"):
        seed = ("--seed", 0 if run == "one" else 1)
        result = adaptsr("adapt", "--data", pairs, "--budget", "15k", "--metrics", "psnr", *quick, "--run", run, *seed)
        assert result.code == 0, result.err
    words = ("--adapter", "one/adapter.safetensors", "--adapter", "two/adapter.safetensors")
    result = adaptsr("eval", "--data", pairs, *words, "--metrics", "psnr", "--split", "all", "--run", "new", "--json")
    assert result.code == 0, result.err
    models = json.loads(result.out)["models"]
    assert json.loads(result.out)["seen"] == "training"
    for run in ("one", "two"):
        assert f"{run}/adapter.safetensors was trained on 5 of these 6 images" in result.err
    watched = adaptsr("eval", "--data", pairs, *words[:2], "--metrics", "psnr", "--run", "one", "--json", "--force")
    assert json.loads(watched.out)["seen"] == "validation"
    assert watched.err.count("chose the iteration") == 1
    assert [model["name"] for model in models] == ["backbone", "one/adapter", "two/adapter"]
    assert len({model["sha256"] for model in models}) == 3
    merged = adaptsr(
        "eval", "--data", pairs, "--model", "one/merged.safetensors", "--metrics", "psnr", "--run", "m", "--json"
    )
    alone = json.loads(merged.out)["models"][0]["metrics"]
    assert models[1]["metrics"]["psnr_y_db"] == pytest.approx(alone["psnr_y_db"], abs=2e-3)
    named = adaptsr(
        "eval", "--data", pairs, "--model", "safmn-x4-bicubic", *words[:2], "--metrics", "psnr", "--run", "n", "--json"
    )
    assert [model["name"] for model in json.loads(named.out)["models"]] == ["safmn-x4-bicubic", "adapter"]
    other = save_tiny("safmn", Path("other.safetensors"))
    wrong = adaptsr("eval", "--data", pairs, "--model", other, *words[:2], "--run", "one", "--force")
    assert wrong.code == 0, wrong.err  # the run's own backbone is at hand too
    shutil.move("two/adapter.safetensors", "adapter.safetensors")
    fresh = adaptsr("score", "--data", pairs, "--model", other, "--batches", 1, "--patch", 64, "--run", "three")
    assert fresh.code == 0, fresh.err
    refused = adaptsr("eval", "--data", pairs, "--adapter", "adapter.safetensors", "--run", "three")
    assert refused.code == 1
    assert "was made for" in refused.err
    gone = adaptsr("eval", "--data", pairs, "--adapter", "gone.safetensors")
    assert gone.code == 1
    assert "there is no adapter gone.safetensors" in gone.err


def test_outputs_are_found_with_several_data_folders(adaptsr: Command, pairs: Path, tmp_path: Path) -> None:
    others = write_pairs(tmp_path / "others", count=2)
    data = ("--data", pairs, "--data", others)
    # the same names in both sets, so each has a folder of its own
    for folder in (pairs, others):
        make_outputs(folder / "hr", tmp_path / "theirs" / folder.name, suffix="_x4_theirs")
    words = ("eval", *data, "--metrics", "psnr", "--json")
    result = adaptsr(*words, "--sr", f"theirs={tmp_path / 'theirs'}")
    assert result.code == 0, result.err
    assert len(json.loads(result.out)["images"]) == 8
    flat = make_outputs(pairs / "hr", tmp_path / "flat")
    shared = adaptsr(*words, "--sr", f"flat={flat}", "--force")
    assert shared.code == 1
    assert "would be the output for both camera/000 and others/000" in shared.err
    for path in (*others.glob("hr/*"), *others.glob("lr/*")):
        path.rename(path.with_name(f"other{path.name}"))
    make_outputs(others / "hr", flat)
    together = adaptsr(*words, "--sr", f"flat={flat}", "--force")
    assert together.code == 0, together.err


def test_missing_and_double_outputs_are_named(adaptsr: Command, pairs: Path) -> None:
    outputs = make_outputs(pairs / "hr", Path("theirs"))
    words = ("eval", "--data", pairs, "--sr", f"theirs={outputs}", "--metrics", "psnr")
    (outputs / "003.png").unlink()
    missing = adaptsr(*words, "--json")
    assert missing.code == 1
    assert "theirs has no image for '003'" in missing.err
    assert len(json.loads(missing.out)["images"]) == 5
    refused = adaptsr(*words, "--strict")
    assert (refused.code, refused.out) == (1, "")
    assert "theirs has no image for 1 of 6: 003" in refused.err
    for suffix in ("a", "b"):
        write_rgb(outputs / f"003_{suffix}.png", resize_bicubic(read_rgb(outputs / "002.png"), 96, 96))
    double = adaptsr(*words)
    assert double.code == 1
    assert "theirs has 2 images for '003': 003_a.png, 003_b.png" in double.err


def test_names_of_files_are_made_different() -> None:
    assert name_files([Path("a/x.pth"), Path("b/y.pth")]) == ["x", "y"]
    assert name_files([Path("a/x.pth"), Path("b/x.pth"), Path("y.pth")]) == ["a/x", "b/x", "y"]
    assert name_files([Path("a/x.pth"), Path("a/x.safetensors")]) == ["a/x (1)", "a/x (2)"]


def test_tables_are_sorted_marked_and_written(adaptsr: Command, pairs: Path) -> None:
    good, bad = make_outputs(pairs / "hr", Path("good"), noise=2), make_outputs(pairs / "hr", Path("bad"), noise=30)
    words = ("eval", "--data", pairs, "--sr", f"bad={bad}", "--sr", f"good={good}", "--metrics", "psnr,delta_e")
    tables = ("--csv", "out/table.csv", "--markdown", "table.md", "--latex", "table.tex")
    result = adaptsr(*words, *tables)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    rows = [line for line in lines if line.split()[:1] in (["good"], ["bad"]) and "against" not in line]
    assert [row.split()[0] for row in rows] == ["good", "bad"]
    assert rows[0].count("¹") == 5  # PSNR of Y and RGB, three colour differences
    assert "²" not in result.out
    assert "good against bad, PSNR-Y: +" in result.out
    assert "better on 6, worse on 0, permutation test p = 0.031" in result.out
    assert Path("table.md").read_text().splitlines()[2].startswith("| good | **")
    assert r"\textbf{" in Path("table.tex").read_text()
    assert Path("out/table.csv").read_text().splitlines()[1].startswith("good,good,")
    again = adaptsr(*words, *tables)
    assert again.code == 1
    assert "out/table.csv exists already (--csv)" in again.err
    assert adaptsr(*words, *tables, "--force").code == 0


def test_photographs_without_ground_truth_are_upscaled_and_measured_by_themselves(
    adaptsr: Command, pairs: Path, tmp_path: Path
) -> None:
    shutil.copytree(pairs / "lr", tmp_path / "photos")
    words = ("eval", "--data", tmp_path / "photos", "--protocol", "no-reference")
    result = adaptsr(*words, "--metrics", "noise,sharpness", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert "noise_levels" in found["models"][0]["metrics"]
    assert (found["images"][0]["width_px"], found["images"][0]["height_px"]) == (96, 96)
    assert set(found["images"][0]["file_sha256"]) == {"lr"}
    assert found["parameters"]["reference"] is False
    assert not Path("adaptsr-run/comparison.png").exists()
    small = adaptsr(*words, "--force")
    assert small.code == 1
    assert "an image of 96x96 px is too small for niqe" in small.err
    shown = adaptsr(*words, "--metrics", "sharpness", "--force")
    assert shown.code == 0, shown.err
    assert "no-reference: output rounded to uint8 and measured whole" in shown.out
    compared = adaptsr(*words, "--metrics", "psnr", "--force")
    assert compared.code == 2
    assert "metric 'psnr' needs a reference" in compared.err


def test_all_metrics_at_once(adaptsr: Command, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "large", count=2, side_px=208)
    outputs = make_outputs(data / "hr", Path("theirs"))
    names = "psnr,ssim,ms_ssim,delta_e,dists,niqe,sharpness,noise"
    result = adaptsr("eval", "--data", data, "--sr", f"theirs={outputs}", "--metrics", names, "--json")
    assert result.code == 0, result.err
    metrics = json.loads(result.out)["models"][0]["metrics"]
    assert {"psnr_y_db", "ssim_y", "ms_ssim_y", "ms_ssim_rgb", "delta_e_2000", "niqe_own", "noise_levels"} <= set(
        metrics
    )
    assert "dists: skipped: put file vgg16-397923af.pth" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--csv", "new/eval.json"), "new/eval.json is to be scores and --csv"),
        (("--csv", "t", "--markdown", "./t"), "t is to be --csv and --markdown"),
        (("--latex", "link/report.html"), "link/report.html is to be report and --latex"),
    ],
)
def test_one_name_for_two_results_is_refused(adaptsr: Command, pairs: Path, words: tuple[str, ...], said: str) -> None:
    Path("new").mkdir()
    Path("link").symlink_to("new")
    refused = adaptsr("eval", "--data", pairs, "--metrics", "psnr", "--run", "new", *words)
    assert refused.code == 2
    assert said in refused.err
    assert not list(Path("new").iterdir())
    assert not Path("t").exists()
