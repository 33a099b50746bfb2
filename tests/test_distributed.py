"""Several processes together: what two do is what one does; a dead one ends the others with a message."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import write_pairs
from hanging import HANGING, hang_at_the_25th_step
from networks import save_tiny
from processes import start_group
from safetensors.torch import load_file

from adaptsr_cli.cli.app import main
from adaptsr_cli.distributed import SINGLE_PROCESS, World, world_from_env
from adaptsr_cli.errors import UsageError

TRAIN = ("train", "--batch", "4", "--patch", "32", "--iterations", "30", "--val-freq", "15", "--seed", "3")


def run_group(words: Sequence[object], folder: Path) -> list[tuple[int, str, str]]:
    """A command in two processes; exit code, stdout and stderr of each."""
    found = [process.finish() for process in start_group(words, folder)]
    for code, _, err in found:
        assert code == 0, err
    return found


def break_off(words: Sequence[object], folder: Path) -> str:
    """Kills the second of two processes at the 25th step; what the first one then says on stderr."""
    first, second = start_group(words, folder, prepare_last=hang_at_the_25th_step)
    while second.is_running and not (folder / HANGING).exists():
        time.sleep(0.01)
    second.kill()
    code, _, err = first.finish()
    assert code == 1, err
    return err


def run_here(words: Sequence[object], folder: Path) -> None:
    """A command of one process in this one, without the seconds that another takes to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ADAPTSR_CACHE", str(folder / "cache"))
        patch.setattr(sys, "argv", ["adaptsr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, words


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs, a tiny network and a run folder that is scored and allocated."""
    folder = tmp_path_factory.mktemp("prepared")
    write_pairs(folder / "camera", count=7)
    save_tiny("safmn", folder / "net.safetensors")
    words = ("--data", "camera", "--model", "net.safetensors", "--run", "plan")
    run_here(("score", *words, "--batches", "3", "--patch", "32", "--batch", "2"), folder)
    run_here(("allocate", "--budget", "8%", "--run", "plan"), folder)
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    """The test's own copy of it."""
    shutil.copytree(prepared, tmp_path / "work")
    return tmp_path / "work"


def new_run(place: Path, name: str) -> tuple[str, ...]:
    """A new run folder with the same plan; the words that train in it."""
    shutil.copytree(place / "plan", place / name)
    return (*TRAIN, "--data", "camera", "--model", "net.safetensors", "--run", name)


def relative_difference(first: Path, second: Path) -> float:
    """The largest difference of two adapters over the largest value of the tensor, over all tensors."""
    one, other = load_file(first / "adapter.safetensors"), load_file(second / "adapter.safetensors")
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max() / one[key].abs().max()) for key in one)


def test_two_processes_train_what_one_trains_and_two_parts_bit_for_bit(place: Path) -> None:
    """What one trains, rounding apart: the order of a sum over the batch differs, but not from that over two parts."""
    lr = ("--lr", "1e-4", "--precision", "fp32")  # in bf16 the order of a sum shows
    run_here((*new_run(place, "one"), *lr), place)
    run_here((*new_run(place, "parts"), *lr, "--accumulate", "2"), place)
    talk = run_group((*new_run(place, "two"), *lr), place)
    assert relative_difference(place / "one", place / "two") < 1e-5
    assert talk[1][1] == talk[1][2] == ""  # only the first one talks
    assert "2 processes" in talk[0][2]
    card = json.loads((place / "two/training/card.json").read_text())
    assert card["devices"] == 2
    assert card["device_hours"] == pytest.approx(2 * card["wall_s"] / 3600)
    for name in ("training/log.jsonl", "training/samples/000000.png", "training/samples/000030.png"):
        assert (place / "parts" / name).read_bytes() == (place / "two" / name).read_bytes()
    assert relative_difference(place / "parts", place / "two") == 0


def test_score_and_eval_share_their_work(place: Path) -> None:
    score = ("score", "--data", "camera", "--model", "net.safetensors", "--batches", "5", "--patch", "32")
    run_here((*score, "--run", "one"), place)
    run_group((*score, "--run", "two"), place)
    one, two = (json.loads((place / name / "saliency.json").read_text()) for name in ("one", "two"))
    for first, second in zip(one["sites"], two["sites"], strict=True):
        assert second["score"] == pytest.approx(first["score"], rel=1e-5)
        assert second["spectrum"] == pytest.approx(first["spectrum"], rel=1e-3, abs=1e-7)
    words = ("eval", "--data", "camera", "--model", "net.safetensors", "--metrics", "psnr")
    run_here((*words, "--run", "one"), place)
    talk = run_group((*words, "--run", "two"), place)
    assert (place / "one/eval.json").read_bytes() == (place / "two/eval.json").read_bytes()
    assert talk[1][1] == talk[1][2] == ""


def test_a_dead_process_ends_the_run_with_a_message_and_it_goes_on(place: Path) -> None:
    """And ends as two parts without a break, which are what two processes train at this rate of learning, too."""
    run_here((*new_run(place, "straight"), "--lr", "5e-3", "--save-freq", "5", "--accumulate", "2"), place)
    words = (*new_run(place, "broken"), "--lr", "5e-3", "--save-freq", "5")
    err = break_off(words, place)
    assert "process 0: lost the other processes of the group" in err
    assert "run the same command again" in err
    assert "Traceback" not in err
    talk = run_group(words, place)
    assert "resuming at iteration 20" in talk[0][2]
    assert (place / "broken/training/log.jsonl").read_bytes() == (place / "straight/training/log.jsonl").read_bytes()
    assert relative_difference(place / "broken", place / "straight") == 0


def test_a_search_finds_what_one_process_finds_also_where_it_was_broken_off(place: Path) -> None:
    length = ("--iterations", "60", "--val-freq", "30")
    run_here((*new_run(place, "straight"), *length, "--accumulate", "2"), place)
    words = (*new_run(place, "broken"), *length)
    err = break_off(words, place)
    assert "searching for the learning rate" in err
    assert not (place / "broken/adapter.safetensors").exists()
    talk = run_group(words, place)
    assert talk[1][1] == talk[1][2] == ""
    assert "found by 2 trials" in talk[0][2]
    records = [json.loads((place / name / "training/search.json").read_text()) for name in ("straight", "broken")]
    for record in records:
        del record["seconds"]
        for trial in record["trials"]:
            for score in trial["scores"]:
                del score["seconds"]
    assert records[0] == records[1]
    assert (place / "broken/training/log.jsonl").read_bytes() == (place / "straight/training/log.jsonl").read_bytes()
    assert relative_difference(place / "broken", place / "straight") == 0


def test_a_group_keeps_to_its_minutes_with_a_search(place: Path) -> None:
    """All processes plan the same, whatever time each of them has taken to measure."""
    words = tuple(word for word in new_run(place, "timed") if word not in ("--iterations", "30", "--val-freq", "15"))
    # A busy machine takes ten seconds to measure the pace, and there must be time for a search after that.
    talk = run_group((*words, "--minutes", "0.6"), place)
    assert "a search for the learning rate and about" in talk[0][2]
    assert "found by" in talk[0][2]
    assert (place / "timed/adapter.safetensors").exists()


def test_a_batch_smaller_than_the_group_is_refused(place: Path) -> None:
    words = (*new_run(place, "small"), "--batch", "1")
    for code, _, err in (process.finish() for process in start_group(words, place)):
        assert code == 2, err
        assert "--batch 1 is too small for 2 x 1 parts" in err


def test_what_only_one_can_do_is_refused(place: Path) -> None:
    words = ("allocate", "--budget", "5k", "--run", "plan", "--force")
    for code, _, err in (process.finish() for process in start_group(words, place)):
        assert code == 2
        assert "allocate is work for one process" in err


def test_shares_are_all_the_work_once() -> None:
    for size in (1, 2, 3, 5):
        worlds = [World(rank, size) for rank in range(size)]
        for count in (0, 1, 4, 11):
            assert sorted(index for world in worlds for index in world.share(count)) == list(range(count))
            blocks = [world.block(count) for world in worlds]
            assert [index for block in blocks for index in block] == list(range(count))
            assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


def test_alone_nothing_is_exchanged() -> None:
    assert SINGLE_PROCESS.is_main_process
    assert SINGLE_PROCESS.gather("a") == ["a"]
    assert SINGLE_PROCESS.gather_shares([1, 2]) == [1, 2]
    assert SINGLE_PROCESS.all_reduce_max([0.5, 2]) == [0.5, 2]


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("x", "2"), ("0", ""), ("-1", "2")])
def test_a_group_that_makes_no_sense_is_refused(rank: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UsageError, match="do not describe a process group"):
        world_from_env()
