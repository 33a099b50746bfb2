"""The options of ``train``: files, precedence, locks, early stops, cards; through the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, write_pairs
from imaging.scenes import dead_leaves
from PIL import Image

from adaptsr_cli.artifacts.camera import CameraEstimate
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.artifacts.transfer import CameraNoise, PairEstimate, TransferEstimate, TransferFunction
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.images import write_rgb

QUICK = ("--iterations", 6, "--batch", 2, "--patch", 32, "--lr", 0.005, "--method", "lora")


@pytest.fixture
def prepared(adaptsr: Command, pairs: Path) -> Path:
    """A run folder that has been scored and allocated."""
    assert adaptsr("score", "--data", pairs, "--batches", 1, "--patch", 32).code == 0
    assert adaptsr("allocate", "--budget", "6k").code == 0
    return Path("adaptsr-run")


def copy_plan(run: Path, name: str) -> Path:
    """A new run folder with the same scores and ranks."""
    copy = Path(name)
    copy.mkdir()
    for file in ("run.json", "saliency.json", "saliency.safetensors", "rank_map.json"):
        shutil.copy(run / file, copy)
    return copy


def test_the_resolved_options_given_back_make_the_same_run(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    first = adaptsr("train", "--data", pairs, *QUICK, "--ema", 0.9, "--objective", "charbonnier")
    assert first.code == 0, first.err
    config = prepared / "training" / "config.toml"
    found = tomllib.loads(config.read_text(encoding="utf-8"))
    assert found["data"] == [str(pairs.resolve())]
    assert (found["iterations"], found["learning_rate"], found["ema"], found["objective"]) == (
        6,
        0.005,
        0.9,
        "charbonnier",
    )
    again = copy_plan(prepared, "again")
    second = adaptsr("train", "--config", config, "--run", again)
    assert second.code == 0, second.err
    assert (again / "training" / "config.toml").read_bytes() == config.read_bytes()
    for name in ("adapter.safetensors", "training/log.jsonl"):
        assert (again / name).read_bytes() == (prepared / name).read_bytes()
    resumed = adaptsr("train", "--config", config, "--run", again)
    assert resumed.code == 0, resumed.err
    assert "finished already" in resumed.err


def test_the_command_line_goes_before_the_file(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    Path("mine.toml").write_text(f'data = ["{pairs}"]\niterations = 50\nbatch = 2\npatch = 32\nlearning_rate = 1\n')
    train = adaptsr("train", "--config", "mine.toml", "--iterations", 3, "--lr", 0.005)
    assert train.code == 0, train.err
    found = tomllib.loads((prepared / "training" / "config.toml").read_text(encoding="utf-8"))
    assert (found["iterations"], found["batch"], found["learning_rate"]) == (3, 2, 0.005)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("itertions = 3\n", ["itertions", "did you mean iterations"]),
        ('iterations = "3"\n', ["iterations is '3'; it should be a valid integer\n"]),
        ("iterations = 3.5\n", ["iterations", "valid integer"]),
        ("iterations = 0\n", ["iterations", "greater than or equal to 1"]),
        ("learning_rate = 2.0\n", ["learning_rate", "less than or equal to 1"]),
        ("learning_rate = nan\n", ["learning_rate", "finite"]),
        ('learning_rate = "high"\n', ["learning_rate", "auto, or a number above 0"]),
        ("tensorboard = 1\n", ["tensorboard", "boolean"]),
        ("data = 3\n", ["data is 3; it should be a text, or a list of texts"]),
        ("data = [1]\n", ["data is [1]; it should be a text, or a list of texts"]),
        ("precision = 1979-05-27\n", ["precision is 1979-05-27; it should be 'auto'"]),
        ("model = 1979-05-27\n", ["model is 1979-05-27; it should be a valid string"]),
        ('preset = "slow"\n', ["preset", "'fast' or 'paper'"]),
        ("alpha = 1\nalpha = 2\n", ["no TOML file"]),
        ("{}\n", ["no TOML file"]),
        ("lr = 0.1\n", ["lr is not an option", "hint: did you mean learning_rate?"]),
        ("zzz = 1\n", ["zzz is not an option", "hint: known keys: data, "]),
        ("[training]\nalpha = 1\n", ["training is not an option", "hint: write options in no table"]),
    ],
)
def test_a_wrong_file_is_refused_by_key(text: str, said: list[str], adaptsr: Command, pairs: Path) -> None:
    Path("wrong.toml").write_text(text)
    train = adaptsr("train", "--data", pairs, "--config", "wrong.toml")
    assert train.code == 1
    assert "Traceback" not in train.err
    for part in ("wrong.toml", *said):
        assert part in train.err
    assert not Path("adaptsr-run").exists()


def test_a_file_goes_before_the_environment_and_the_command_line_before_both(
    adaptsr: Command, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And paths in it are of the current folder, choices in any case."""
    words = ("train", "--data", pairs, "--config", "sub/c.toml", *QUICK)
    Path("sub").mkdir()
    Path("sub/c.toml").write_text('run = "of-file"\nprecision = "FP32"\nrank_map = "none.json"\n')
    monkeypatch.setenv("ADAPTSR_RUN", "of-environment")
    assert "there is no rank map none.json" in adaptsr(*words).err
    Path("sub/c.toml").write_text('run = "of-file"\nprecision = "FP32"\n')
    for more, made in (((), "of-file"), (("--run", "of-line"), "of-line")):
        done = adaptsr(*words, *more)
        assert done.code == 0, done.err
        assert (Path(made) / "adapter.safetensors").exists()
    Path("sub/c.toml").write_text('precision = "FP32"\n')
    assert adaptsr(*words).code == 0
    assert Path("of-environment/adapter.safetensors").exists()


def test_a_changed_option_is_refused_with_what_differs(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    assert adaptsr("train", "--data", pairs, *QUICK).code == 0
    before = (prepared / "training" / "config.toml").read_bytes()
    for words, said in (
        (("--objective", "l1+fft"), "objective was fidelity, now l1+fft"),
        (("--ema", 0.99), "ema was None, now 0.99"),
        (("--accumulate", 2), "accumulate was 1, now 2"),
        (("--seed", 5), "seed was 0, now 5"),
    ):
        other = adaptsr("train", "--data", pairs, *QUICK, *words)
        assert other.code == 1
        assert said in other.err
    assert (prepared / "training" / "config.toml").read_bytes() == before
    assert adaptsr("train", "--data", pairs, *QUICK, "--save-freq", 2).code == 0  # changes nothing of the result


def test_patience_ends_the_run_and_it_stays_ended(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    words = ("train", "--data", pairs, "--iterations", 60, "--batch", 1, "--patch", 32, "--lr", 1, "--val-freq", 2)
    first = adaptsr(*words, "--patience", 2)
    assert first.code == 0, first.err
    assert "without improvement (--patience)" in first.err
    card = read_document(prepared / "training" / "card.json", RunCard)
    assert card.iterations == card.best_iteration + 4 < card.planned_iterations
    assert f"learning rate lowered at iteration {card.rate_cuts[0].iteration}" in first.out  # it was far too high
    again = adaptsr(*words, "--patience", 2)
    assert again.code == 0
    assert "finished already" in again.err
    assert read_document(prepared / "training" / "card.json", RunCard).iterations == card.iterations


def test_patience_of_an_objective_that_gives_up_psnr_is_refused_before_images_are_opened(adaptsr: Command) -> None:
    said = adaptsr("train", "--data", "nowhere", "--objective", "perceptual", "--patience", 2)
    assert said.code == 2
    assert "--patience watches PSNR, which --objective perceptual gives up on purpose" in said.err


def test_the_card_stays_that_of_the_machine_that_did_the_work(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    words = ("train", "--data", pairs, *QUICK)
    assert adaptsr(*words).code == 0
    path = prepared / "training" / "card.json"
    elsewhere = read_document(path, RunCard).model_copy(update={"device": "the machine beside"})
    write_document(path, elsewhere)
    assert "finished already" in adaptsr(*words).err
    assert read_document(path, RunCard) == elsewhere
    path.unlink()
    assert adaptsr(*words).code == 0
    assert path.exists()


def test_the_card_adds_up(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    train = adaptsr("train", "--data", pairs, *QUICK, "--json")
    assert train.code == 0, train.err
    card = read_document(prepared / "training" / "card.json", RunCard)
    printed = json.loads(train.out)
    assert printed["trainable_params"] == card.trainable_params <= 6_000
    assert card.gain_db == pytest.approx(card.best_psnr_y_db - card.backbone_psnr_y_db)
    assert card.device_hours == pytest.approx(card.wall_s / 3600)
    assert 0 <= card.data_wait_share <= 1
    assert (card.peak_host_bytes or 0) > 100_000_000  # torch alone takes more


def test_samples_show_lr_output_and_hr(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    assert adaptsr("train", "--data", pairs, *QUICK, "--val-freq", 3).code == 0
    samples = sorted((prepared / "training" / "samples").iterdir())
    assert [path.name for path in samples] == ["000000.png", "000003.png", "000006.png"]
    sheets = [np.asarray(Image.open(path)) for path in samples]
    width = sheets[0].shape[1] // 3
    assert (sheets[0][:, :width] == sheets[2][:, :width]).all()  # LR
    assert (sheets[0][:, 2 * width :] == sheets[2][:, 2 * width :]).all()  # HR
    assert (sheets[0][:, width : 2 * width] != sheets[2][:, width : 2 * width]).any()


def test_checkpointing_is_remembered_and_trains(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    done = adaptsr("train", "--data", pairs, *QUICK, "--checkpointing")
    assert done.code == 0, done.err
    assert "checkpointing = true" in (prepared / "training" / "config.toml").read_text(encoding="utf-8")


def test_tensorboard_says_what_the_log_says(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert adaptsr("train", "--data", pairs, *QUICK, "--val-freq", 3, "--tensorboard").code == 0
    events = accumulator.EventAccumulator(str(prepared / "training" / "tensorboard"))
    events.Reload()
    rows = [json.loads(line) for line in (prepared / "training" / "log.jsonl").read_text().splitlines()]
    scores = {row["iteration"]: row["val_psnr_y_db"] for row in rows if "val_psnr_y_db" in row}
    found = {event.step: event.value for event in events.Scalars("val/psnr_y_db")}
    assert found == {step: pytest.approx(score, abs=1e-4) for step, score in scores.items()}
    assert 0 in found
    assert [event.step for event in events.Images("held-out")] == sorted(scores)


def test_a_second_process_in_the_run_folder_is_refused(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from adaptsr_cli.io.lock import hold_folder\n"
        "with hold_folder(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(prepared)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for words in (
            ("train", "--data", pairs, *QUICK),
            ("score", "--data", pairs, "--force"),
            ("allocate", "--budget", "5k", "--force"),
            ("adapt", "--data", pairs, "--budget", "6k"),
        ):
            refused = adaptsr(*words)
            assert refused.code == 1
            assert "another adaptsr process is at work" in refused.err
    finally:
        other.kill()
        other.wait()
    assert other.stdout is not None
    other.stdout.close()
    assert adaptsr("train", "--data", pairs, *QUICK).code == 0  # the dead process holds nothing


@pytest.mark.usefixtures("rendered_pages")
def test_pictures_that_an_earlier_command_was_stopped_at_are_drawn(
    adaptsr: Command, pairs: Path, prepared: Path
) -> None:
    pictures = [prepared / name for name in ("saliency.png", "rank_map.png")]
    before = [picture.read_bytes() for picture in pictures]
    for picture in pictures:
        picture.unlink()
    assert adaptsr("train", "--data", pairs, *QUICK).code == 0
    assert [picture.read_bytes() for picture in pictures] == before


def test_few_images_are_warned_of(adaptsr: Command, tmp_path: Path) -> None:
    few = write_pairs(tmp_path / "few", count=3)
    train = adaptsr("train", "--data", few, *QUICK)
    assert train.code == 0, train.err
    assert "only 2 images to train on" in train.err


def test_photos_keep_their_degradation_through_all_stages(adaptsr: Command, pairs: Path) -> None:
    shutil.rmtree(pairs / "lr")
    run = Path("adaptsr-run")
    score = adaptsr("score", "--data", pairs / "hr", "--batches", 1, "--patch", 32, "--degrade", "phone")
    assert score.code == 0, score.err
    record = read_document(run / "degradation.json", DegradationRecord)
    assert (record.degradation.name, record.estimate) == ("phone", None)
    train = adaptsr("train", "--data", pairs / "hr", *QUICK)
    assert train.code == 0, train.err
    assert "degradation 'phone'" in train.err
    other = adaptsr("train", "--data", pairs / "hr", *QUICK, "--degrade", "bicubic")
    assert other.code == 1
    assert "begun with the degradation 'phone'" in other.err
    given = adaptsr("train", "--data", pairs / "hr", *QUICK, "--run", "b", "--degrade", run / "degradation.json")
    assert given.code == 0, given.err
    assert read_document(Path("b/degradation.json"), DegradationRecord).degradation == record.degradation


@pytest.mark.usefixtures("rendered_pages")
def test_a_camera_is_estimated_beside_the_photos_and_kept(adaptsr: Command, prepared: Path, tmp_path: Path) -> None:
    camera = SimulatedCamera(TransferFunction(blur_px=2.5), CameraNoise(read_variance=4.0), (None,))
    for seed in range(12):
        sharp = dead_leaves(seed)
        write_rgb(tmp_path / "sharp" / f"{seed:02d}.png", sharp)
        if seed < 3:
            lr = photograph(sharp[::-1].copy(), 4, camera, np.random.default_rng(seed))
            write_rgb(tmp_path / "phone" / f"{seed}.png", lr)
    train = adaptsr("train", "--data", tmp_path / "sharp", *QUICK, "--degrade", f"auto:{tmp_path / 'phone'}")
    assert train.code == 0, train.err
    said = " ".join(train.err.split())
    assert "from 3 photos: this camera blurs by" in said
    assert "also possible: blur" in said
    assert "uncertain" in said
    assert "`adaptsr pair`" in said
    record = read_document(prepared / "degradation.json", DegradationRecord)
    assert isinstance(record.estimate, TransferEstimate)
    assert ("not to be relied on" in said) == (not record.estimate.trustworthy)
    assert [step.kind for step in record.degradation.steps][:3] == ["camera_transfer", "to_lr", "camera_grain"]
    assert (prepared / "training" / "camera.png").stat().st_size > 10_000
    again = adaptsr("train", "--data", tmp_path / "sharp", *QUICK, "--degrade", f"auto:{tmp_path / 'phone'}")
    assert again.code == 0, again.err
    assert "finished already" in again.err
    assert "this camera" not in again.err  # its photos are not looked at again
    assert read_document(prepared / "degradation.json", DegradationRecord) == record
    assert adaptsr("info", prepared / "degradation.json").out.count("this camera blurs by") == 1


@pytest.mark.usefixtures("rendered_pages")
def test_the_camera_of_pairs_degrades_the_photos_beside_them(adaptsr: Command, prepared: Path, tmp_path: Path) -> None:
    camera = SimulatedCamera(TransferFunction(blur_px=2.5), CameraNoise(read_variance=4.0), (None,))
    for seed in range(4):
        hr = dead_leaves(seed)
        write_rgb(tmp_path / "sharp" / f"{seed}.png", dead_leaves(10 + seed))
        write_rgb(tmp_path / "real" / "hr" / f"{seed}.png", np.ascontiguousarray(hr[::-1]))
        lr = photograph(hr[::-1].copy(), 4, camera, np.random.default_rng(seed))
        write_rgb(tmp_path / "real" / "lr" / f"{seed}.png", lr)
    both = ("train", "--data", tmp_path / "real", "--data", tmp_path / "sharp", *QUICK, "--degrade", "pairs")
    train = adaptsr(*both)
    assert train.code == 0, train.err
    said = " ".join(train.err.split())
    assert "from 3 pairs" in said  # the held-out one is not looked at
    assert "this camera blurs by" in said
    assert "mix: real 50 % (3 pairs), sharp 50 % (4 photos)" in said
    record = read_document(prepared / "degradation.json", DegradationRecord)
    assert isinstance(record.estimate, PairEstimate)
    assert abs(record.estimate.transfer.blur_px - 2.5) < 0.4
    assert (prepared / "training" / "camera.png").stat().st_size > 10_000
    split = read_document(prepared / "training" / "split.json", SplitRecord)
    assert (len(split.train), len(split.held_out)) == (7, 1)
    again = adaptsr(*both)
    assert again.code == 0, again.err
    assert "finished already" in again.err
    repeated = adaptsr("train", "--config", prepared / "training" / "config.toml", "--run", "again")
    assert repeated.code == 0, repeated.err
    assert read_document(Path("again/degradation.json"), DegradationRecord) == record


def test_the_camera_of_pairs_takes_pairs_and_photos(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    lone = adaptsr("train", "--data", pairs, *QUICK, "--degrade", "pairs")
    assert lone.code == 0, lone.err
    assert "add a folder of sharp photos by --data" in " ".join(lone.err.split())
    shutil.rmtree(pairs / "lr")
    photos = adaptsr("train", "--data", pairs / "hr", *QUICK, "--degrade", "pairs", "--run", "other")
    assert photos.code == 2
    assert "with no real LR side" in photos.err


def test_a_camera_is_measured_alone_beside_small_photos(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    shutil.rmtree(pairs / "lr")
    train = adaptsr("train", "--data", pairs / "hr", *QUICK, "--degrade", f"auto:{pairs / 'hr'}")
    assert train.code == 0, train.err
    said = " ".join(train.err.split())
    assert "the camera is not compared with --data" in said
    assert "are measured alone" in said
    assert isinstance(read_document(prepared / "degradation.json", DegradationRecord).estimate, CameraEstimate)


def test_realesrgan_is_remarked_on(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    shutil.rmtree(pairs / "lr")
    train = adaptsr("train", "--data", pairs / "hr", *QUICK, "--degrade", "realesrgan")
    assert train.code == 0, train.err
    assert "lowered the PSNR of every network tried" in " ".join(train.err.split())


def test_pairs_need_no_degradation_and_say_so(adaptsr: Command, pairs: Path, prepared: Path) -> None:
    train = adaptsr("train", "--data", pairs, *QUICK, "--degrade", "phone")
    assert train.code == 0, train.err
    assert "--degrade phone is not used" in train.err
    assert not (prepared / "degradation.json").exists()


def test_too_large_a_patch_is_refused_before_the_network_is_scored(adaptsr: Command, pairs: Path) -> None:
    Image.open(pairs / "hr" / "001.png").resize((88, 72)).save(pairs / "hr" / "001.png")
    Image.open(pairs / "lr" / "001.png").resize((22, 18)).save(pairs / "lr" / "001.png")
    refused = adaptsr("train", "--data", pairs, "--patch", 80, "--iterations", 2, "--run", "new")
    assert refused.code == 1
    assert "001.png gives 88 x 72 px of HR, less than --patch 80" in refused.err
    assert "use --patch 72 at most" in refused.err
    assert not Path("new/saliency.json").exists()
