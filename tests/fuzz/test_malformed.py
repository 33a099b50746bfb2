"""A thousand malformed inputs, each through the real command line.

Whatever the file: one clear fault that names it, an exit code that is not 0, and nothing that was there before is
changed. A case is told by its kind and number, which seed it: case saliency/17 is in the group ``-k saliency-0``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import pytest
from conftest import Command, score_little_in, write_pairs
from fuzz import mutations as m
from fuzz import validity as v
from networks import save_tiny
from PIL import Image

from adaptsr_cli.cli.app import main

CASES_A_GROUP = 20
# Another one gives another thousand.
SEED = os.environ.get("ADAPTSR_FUZZ_SEED", "0")
TRAIN = ("--iterations", 4, "--val-freq", 2, "--batch", 2, "--patch", 32, "--device", "cpu")

Snapshot = dict[Path, str]


@dataclass(frozen=True)
class Kind:
    """One kind of file and the commands that read it.

    Attributes:
        file: Its place.
        commands: Words; one of them is drawn for a case.
        mutations: What is done to it, besides putting a folder in its place.
        is_valid: Whether a spoilt file is a valid one still.
        cases: How many.
        makes: Beginnings of paths that the commands may leave behind, since they find the fault only later.
        names: What may be named in place of the file.
        huge: What makes 50 MB of it.
    """

    file: str
    commands: tuple[tuple[object, ...], ...]
    mutations: tuple[m.Mutation, ...]
    is_valid: v.Judge
    cases: int
    makes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    huge: m.Mutation | None = None


def train_on(run: str, *more: object) -> tuple[object, ...]:
    return ("train", "--run", run, *TRAIN, *more)


PICTURES = frozenset((".png", ".jpg", ".webp", ".avif", ".tif", ".bmp"))
CAMERA = ("--data", "camera")
JSON = (*m.ANY_FILE, *m.JSON_CONTENT, *m.JSON_CONTENT, m.other_coding)
TENSORS = (*m.ANY_FILE, *m.TENSOR_CONTENT)
OURS = (*TENSORS, m.spoil_metadata, m.spoil_metadata, m.spoil_metadata)
LOSSY = (m.truncate, m.truncate, m.truncate, m.spoil_start, m.empty, m.random_bytes, m.web_page)
PNG = (*m.ANY_FILE, m.claim_png_size)
UPSCALE = ("upscale", "--model", "model.safetensors", "--device", "cpu", "-o", "out.png")

KINDS = {
    "saliency": Kind(
        "scored/saliency.json",
        (("allocate", "--run", "scored", "--budget", "2k"), ("info", "scored/saliency.json")),
        JSON, v.is_valid_json, 80, huge=m.huge_text,
    ),
    "rank-map": Kind(
        "planned/rank_map.json", (train_on("planned", *CAMERA),), JSON, v.is_valid_json, 80, huge=m.huge_text
    ),
    "run": Kind("planned/run.json", (train_on("planned", *CAMERA),), JSON, v.is_valid_json, 40, huge=m.huge_text),
    "split": Kind(
        "trained/training/split.json",
        (("eval", "--run", "trained", "--data", "camera", "--device", "cpu"),),
        JSON, v.is_valid_json, 40, huge=m.huge_text,
    ),
    "degradation": Kind(
        "degradation.json",
        (train_on("fresh", "--data", "photos", "--degrade", "degradation.json"),),
        # Whoever writes one by hand may leave out nearly everything.
        tuple(mutation for mutation in JSON if mutation.__name__ != "drop_key"), v.is_valid_json, 60, ("fresh",),
        huge=m.huge_text,
    ),
    "adapter": Kind(
        "trained/adapter.safetensors",
        (
            ("merge", "--run", "trained", "--output", "new.safetensors"),
            (*UPSCALE, "images/picture.png", "--adapter", "trained/adapter.safetensors"),
        ),
        OURS, v.is_valid_tensors, 80, huge=m.huge_header,
    ),
    "adapter-header": Kind(
        "trained/adapter.safetensors",
        (("info", "trained/adapter.safetensors"),),
        (*m.ANY_FILE, m.lie_about_length, m.spoil_tensor_entry, m.nested_header, m.spoil_metadata),
        v.is_valid_header, 40, huge=m.huge_header,
    ),
    "state": Kind(
        "trained/training/state.safetensors", (train_on("trained", *CAMERA),), OURS, v.is_valid_tensors, 100,
        names=("trained/training holds another training run",),
    ),
    "log": Kind(
        "trained/training/log.jsonl", (train_on("trained", *CAMERA),), m.ANY_FILE, v.is_valid_log, 20
    ),
    "config": Kind(
        "config.toml",
        (("train", "--run", "fresh", "--config", "config.toml"),),
        (*m.ANY_FILE, *[m.spoil_toml] * 12, m.other_coding), v.is_valid_toml, 80, ("fresh",), ("--data",),
        huge=m.huge_text,
    ),
    "list": Kind(
        "list.txt", (train_on("fresh", "--list", "list.txt"),), (*m.ANY_FILE, *[m.spoil_list] * 12),
        v.judge_list(), 60, ("fresh",),
    ),
    "safetensors": Kind(
        "model.safetensors",
        (
            ("info", "model.safetensors"),
            (*UPSCALE, "images/picture.png"),
            train_on("fresh", *CAMERA, "--model", "model.safetensors"),
        ),
        TENSORS, v.is_valid_tensors, 80, ("fresh",), huge=m.huge_header,
    ),
    "pth": Kind(
        "model.pth",
        (("info", "model.pth"), train_on("fresh", *CAMERA, "--model", "model.pth")),
        m.ANY_FILE, v.is_valid_pth, 60, ("fresh",),
    ),
    "png": Kind("images/picture.png", ((*UPSCALE, "images/picture.png"),), PNG, v.is_valid_png, 60),
    "jpeg": Kind(
        "images/picture.jpg", ((*UPSCALE, "images/picture.jpg"),), (*LOSSY, m.claim_jpeg_size), v.is_valid_image, 20
    ),
    "webp": Kind("images/picture.webp", ((*UPSCALE, "images/picture.webp"),), LOSSY, v.is_valid_image, 20),
    "avif": Kind("images/picture.avif", ((*UPSCALE, "images/picture.avif"),), LOSSY, v.is_valid_image, 20),
    "tiff": Kind(
        "images/picture.tif", ((*UPSCALE, "images/picture.tif"),), (*LOSSY, m.claim_tiff_size), v.is_valid_image, 20
    ),
    "bmp": Kind(
        "images/picture.bmp", ((*UPSCALE, "images/picture.bmp"),), (*LOSSY, m.claim_bmp_size), v.is_valid_image, 20
    ),
    "lr-side": Kind(
        "camera/lr/002.png",
        (train_on("planned", *CAMERA), ("score", "--run", "fresh", *CAMERA, "--batches", 8, "--patch", 32)),
        PNG, v.is_valid_png, 40, ("fresh", "planned/training"), ("002",),
    ),
    "hr-side": Kind(
        "camera/hr/002.png",
        (("eval", "--model", "model.safetensors", *CAMERA, "--run", "fresh", "--device", "cpu", "--metrics", "psnr"),),
        PNG, v.is_valid_png, 20, ("fresh",), ("002",),
    ),
}  # fmt: skip

GROUPS = [
    pytest.param(name, first, id=f"{name}-{first}")
    for name, kind in KINDS.items()
    for first in range(0, kind.cases, CASES_A_GROUP)
]


def run_quietly(*words: object) -> None:
    """Runs a command that must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["adaptsr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, words


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a valid file of every kind, each made by the program itself where it makes such files."""
    root = tmp_path_factory.mktemp("workplace")
    before = Path.cwd()
    os.chdir(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTSR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("ADAPTSR_RUN", raising=False)
        score_little_in(patch)
        try:
            write_pairs(Path("camera"), count=5, side_px=64)
            lines = [f"camera/hr/{index:03d}.png, camera/lr/{index:03d}.png" for index in range(5)]
            Path("list.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
            save_tiny("safmn", Path("model.safetensors"))
            save_tiny("safmn", Path("model.pth"))
            Path("images").mkdir()
            noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
            for suffix in ("png", "jpg", "webp", "avif", "tif", "bmp"):
                Image.fromarray(noise).save(f"images/picture.{suffix}")
            run_quietly(*train_on("trained", *CAMERA, "--model", "model.safetensors"))
            Path("scored").mkdir()
            shutil.copy("trained/run.json", "scored")
            shutil.copy("trained/saliency.json", "scored")
            shutil.copytree("scored", "planned")
            shutil.copy("trained/rank_map.json", "planned")
            for run in ("scored", "planned"):
                shutil.copy("trained/.lock", run)
            shutil.copytree("camera/hr", "photos")
            run_quietly("score", "--run", "photos-run", "--data", "photos", "--degrade", "realesrgan", "--batches", 1)
            shutil.copy("photos-run/degradation.json", "degradation.json")
            shutil.copy("trained/training/config.toml", "config.toml")
            yield root
        finally:
            os.chdir(before)


def take_snapshot(root: Path) -> Snapshot:
    """The content of everything below a folder."""
    return {path.relative_to(root): _digest(path) if path.is_file() else "folder" for path in root.rglob("*")}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if os.access(path, os.R_OK) else "unreadable"


@dataclass(frozen=True)
class Case:
    """What is done to a file, and the command that then reads it.

    Attributes:
        content: What stands in its place; ``folder`` for a folder, ``locked`` for itself without permission to read.
    """

    what: str
    content: bytes | Literal["folder", "locked"]
    command: tuple[object, ...]


def draw_case(name: str, number: int, kind: Kind, original: bytes) -> Case:
    """The case of that number, the same every time."""
    rng = Random(f"{SEED}/{name}/{number}")
    command = rng.choice(kind.commands)
    if number == 0 and kind.huge is not None:
        return Case("50 MB", kind.huge(rng, original), command)
    if number == 1:
        return Case("a folder", "folder", command)
    if number == 2 and os.name == "posix" and os.geteuid() != 0:  # root may read everything
        return Case("no permission", "locked", command)
    others = sorted(other for other in KINDS if is_other(Path(kind.file), Path(KINDS[other].file), command))
    for _ in range(200):
        if rng.random() < 0.05:
            other = rng.choice(others)
            return Case(f"a file of kind {other}", Path(KINDS[other].file).read_bytes(), command)
        mutation = rng.choice(kind.mutations)
        spoilt = mutation(rng, original)
        if spoilt != original and not kind.is_valid(original, spoilt):
            return Case(mutation.__name__, spoilt, command)
    raise AssertionError(f"no malformed {name} found")


def is_other(file: Path, other: Path, command: tuple[object, ...]) -> bool:
    """Whether a file is of no kind that the command would take under the name of the first."""
    if {file.suffix, other.suffix} <= PICTURES:  # known by their content, whatever the name says
        return False
    if command[0] == "info" and other.suffix in PICTURES:  # which tells what a picture is, whatever its name says
        return False
    return file != other and not (command[0] == "info" and file.suffix == other.suffix)


def put(path: Path, content: bytes | Literal["folder", "locked"]) -> None:
    if content == "folder":
        path.unlink()
        path.mkdir()
    elif content == "locked":
        path.chmod(0)
    else:
        path.write_bytes(content)


def restore(path: Path, original: bytes) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.chmod(0o644)
    path.write_bytes(original)


@pytest.mark.parametrize(("name", "first"), GROUPS)
def test_a_malformed_file_is_refused(
    name: str, first: int, workplace: Path, adaptsr: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    kind = KINDS[name]
    file = Path(kind.file)
    original = file.read_bytes()
    faults: list[str] = []
    for number in range(first, min(first + CASES_A_GROUP, kind.cases)):
        case = draw_case(name, number, kind, original)
        put(file, case.content)
        before = take_snapshot(workplace)
        try:
            outcome = adaptsr(*case.command)
            after = take_snapshot(workplace)
        finally:
            restore(file, original)
        said = outcome.err.replace("\n", "")
        made = [path.as_posix() for path in after if path not in before]
        found = {
            "exit code 0": outcome.code == 0,
            "a traceback": "Traceback" in outcome.err + outcome.out,
            "an unexpected error": "unexpected " in said and "Error: " in said,
            "the file is not named": not any(word in said for word in (file.name, *kind.names)),
            "changed or gone": any(after.get(path) != digest for path, digest in before.items()),
            "left behind": any(not path.startswith(kind.makes or ("nothing",)) for path in made),
            "a partial file left": any(".partial-" in path for path in made),
        }
        wrong = ", ".join(fault for fault, is_so in found.items() if is_so)
        if wrong:
            faults.append(f"{name}/{number} ({case.what}), {' '.join(map(str, case.command))}: {wrong}: {said[-300:]}")
        for path in sorted((path for path in after if path not in before), reverse=True):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def test_there_are_a_thousand_cases() -> None:
    assert sum(kind.cases for kind in KINDS.values()) >= 1000
