"""Does a refactoring change results? Records what the command line makes, before and after, and compares exactly.

    python benchmarks/same_bytes.py record OLD.json --checkout DIR
    python benchmarks/same_bytes.py record NEW.json
    python benchmarks/same_bytes.py compare OLD.json NEW.json [--renamed OLDKEY=NEWKEY ...]

Four tiny seeded networks go through score, allocate, train, merge, eval and upscale, and the embedded one through the
whole demo, on one CPU thread in a temporary folder. Every file in the run folders is recorded: documents value by
value, tensors and pixels by their SHA-256 (16 of its 64 digits keep the recording small). Nothing is imported from
the package: only the tables below know the command line. What is left out is listed in VOLATILE and SKIPPED_FILES.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from spandrel.architectures.DRCT import DRCT
from spandrel.architectures.SAFMN import SAFMN
from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor, nn

# The command line, to be edited when flags change. All run in the temporary folder, where the paths lie.
PACKAGE = "adaptsr_cli"
STAGES = (
    "score --data {pairs} --model {model} --run {run} --batches 4 --batch 2 --patch 64 --seed 0 --device cpu --offline",
    "allocate --budget 20% --min-rank 1 --run {run}",
    "train --data {pairs} --model {model} --run {run} --iterations 12 --batch 2 --patch 64 --val-freq 6 --seed 0 "
    "--device cpu --offline",
    "merge --model {model} --run {run} --device cpu --offline",
    "eval --data {pairs} --run {run} --metrics psnr,ssim --device cpu --offline",
    "upscale {image} --output {run}/upscaled.png --run {run} --device cpu --offline",
)
DEMO = ("demo --run {run} --seed 0 --device cpu",)
ENVIRONMENT = {"ADAPTSR_CACHE": "{work}/cache", "ADAPTSR_WEIGHTS": "{work}/no-weights", "OMP_NUM_THREADS": "1"}
ENVIRONMENT |= {"MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "200"}

# What is removed from documents and headers before they are recorded: these keys, wherever they stand. In all other
# texts the temporary folder's path becomes WORK, and the SHA-256 of a file of the run (which depends on its header,
# not on its tensors alone) becomes "SHA-256 of NAME".
VOLATILE = (
    "tool_version",  # provenance
    "command",  # provenance: the sub-command that made it
    "versions",  # of the libraries
    "wall_s",  # durations and what follows from them
    "elapsed_s",
    "waited_s",
    "device_hours",
    "data_wait_share",
    "peak_device_bytes",  # memory
    "peak_host_bytes",
    "energy_j",
)
SKIPPED_FILES = ("*.html", ".lock")  # a page for people, made of eval.json and the images; an empty file

FILE_BYTES = "file_bytes"
"""The key whose differences are only remarked: an image's file has metadata."""

PLAIN_NUMBERS = 8
"""Longer lists of numbers are recorded by their SHA-256."""

Renaming = tuple[str, re.Pattern[str], str]
"""The old key, the pattern that finds it, what takes its place."""

_WINDOWED = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "mlp_ratio": 2, "upsampler": "pixelshuffle"}
_WINDOWED |= {"upscale": 4, "window_size": 8, "img_size": 16, "img_range": 1.0, "resi_connection": "1conv"}


def main() -> None:
    """Records or compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    recording = actions.add_parser("record", help="run everything and write what came out")
    recording.add_argument("file", type=Path)
    recording.add_argument("--checkout", type=Path, default=Path(__file__).parents[1], help="left out: this one")
    comparing = actions.add_parser("compare", help="print every difference; exit 1 if there is one, 0 if none")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument(
        "--renamed",
        action="append",
        default=[],
        metavar="OLDKEY=NEWKEY",
        help="the same under another name: a key, a file, or several levels a/b; an empty NEWKEY takes them away",
    )
    options = parser.parse_args()
    if options.action == "record":
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as work:
            recorded = record(Path(work).resolve(), options.checkout.resolve())
        options.file.parent.mkdir(parents=True, exist_ok=True)
        options.file.write_text(to_lines(recorded), encoding="utf-8")
        print(f"recorded {options.file} ({options.file.stat().st_size:,} bytes) in {time.perf_counter() - begin:.0f} s")
    else:
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (options.old, options.new))
        sys.exit(compare(old, new, [parse_renaming(text) for text in options.renamed]))


def record(work: Path, checkout: Path) -> dict[str, Any]:
    """Run every command of the checkout in the folder `work`.

    Returns:
        "about": where it was recorded, which is not compared; "networks": network -> file -> what is in it.
    """
    imported = run_python(work, checkout, ["-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"])
    if not Path(imported.strip()).resolve().is_relative_to(checkout):
        sys.exit(f"{PACKAGE} is imported from {imported.strip()}, not from {checkout}")
    write_pairs(work / "pairs")
    networks: dict[str, Any] = {}
    for name in (*NETWORKS, "demo"):
        run, model = work / name, work / f"{name}.pth"
        if name in NETWORKS:
            torch.save({"params": NETWORKS[name]()}, model)
        for command in STAGES if name in NETWORKS else DEMO:
            places = {"pairs": "pairs", "image": "pairs/lr/000.png", "model": model.name, "run": run.name}
            begin = time.perf_counter()
            run_python(work, checkout, ["-m", PACKAGE, *command.format(**places).split()])
            print(f"{name}: {command.split()[0]} in {time.perf_counter() - begin:.1f} s", flush=True)
        networks[name] = read_run(run, work)
    commit = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    about = {
        "commit": commit.strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commands": [*STAGES, *DEMO],
    }
    return {"about": about, "networks": networks}


def run_python(work: Path, checkout: Path, words: list[str]) -> str:
    """What Python prints when it runs in the folder `work` with the package of the checkout; a failure ends all."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ADAPTSR_")}
    environment |= {key: value.format(work=work) for key, value in ENVIRONMENT.items()}
    environment |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *words], cwd=work, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"python {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def write_pairs(folder: Path) -> None:
    """Write 8 smooth random pictures of 96 px as HR and their darkened, shrunk copies as LR, for x4."""
    for index in range(8):
        coarse = np.random.default_rng(index).integers(40, 255, (8, 8, 3), dtype=np.uint8)
        hr = Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)
        lr = Image.fromarray(np.asarray(hr.resize((24, 24), Image.Resampling.BICUBIC)) // 8 * 7)
        for side, image in (("hr", hr), ("lr", lr)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            image.save(folder / side / f"{index:03d}.png")


def edsr_state() -> dict[str, Tensor]:
    """A tiny EDSR x4 under BasicSR's keys: 8 channels, 2 blocks, all convolutions 3x3."""
    convs = {"conv_first": (8, 3), "conv_after_body": (8, 8), "conv_last": (3, 8)}
    convs |= {f"body.{block}.conv{index}": (8, 8) for block in (0, 1) for index in (1, 2)}
    convs |= {"upsample.0": (32, 8), "upsample.2": (32, 8)}
    state: dict[str, Tensor] = {}
    for name, (channels_out, channels_in) in convs.items():
        state[f"{name}.weight"] = seeded_values(f"{name}.weight", (channels_out, channels_in, 3, 3))
        state[f"{name}.bias"] = seeded_values(f"{name}.bias", (channels_out,))
    return state


def spandrel_state(build: Callable[..., nn.Module], **arguments: Any) -> dict[str, Tensor]:
    """The state of a network of spandrel's with seeded parameters; its buffers stay."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        model = build(**arguments)
    seeded = {name: seeded_values(name, tuple(value.shape)) for name, value in model.named_parameters()}
    return {key: tensor.clone() for key, tensor in (model.state_dict() | seeded).items()}


def seeded_values(name: str, shape: tuple[int, ...]) -> Tensor:
    """Values that depend on name and shape only, scaled to keep signals in range."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    values: Tensor = torch.from_numpy(noise)
    if len(shape) > 1:
        return values / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * values if name.endswith("weight") else 0.1 * values


NETWORKS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "edsr": edsr_state,
    "safmn": lambda: spandrel_state(SAFMN, dim=8, n_blocks=2, upscaling_factor=4),
    "swinir": lambda: spandrel_state(SwinIR, **_WINDOWED),
    "drct": lambda: spandrel_state(DRCT, **_WINDOWED, gc=8),
}


def read_run(run: Path, work: Path) -> dict[str, Any]:
    """What lies in a run folder: file -> its canonical content."""
    names = [path.relative_to(run).as_posix() for path in sorted(run.rglob("*")) if path.is_file()]
    hashes = {hashlib.sha256((run / name).read_bytes()).hexdigest(): f"SHA-256 of {name}" for name in reversed(names)}
    substitutes = {str(work): "WORK"} | hashes
    return {
        name: read_file(run / name, substitutes)
        for name in names
        if not any(Path(name).match(pattern) for pattern in SKIPPED_FILES)
    }


def read_file(path: Path, substitutes: dict[str, str]) -> Any:
    """What a file says, without what changes from run to run."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        return read_tensors(content, substitutes)
    if path.suffix == ".png":
        with Image.open(path) as image:
            pixels = f"{image.mode} {image.width}x{image.height} {short_hash(image.tobytes())}"
        return {"pixels": pixels, FILE_BYTES: short_hash(content)}
    readers: dict[str, Callable[[str], Any]] = {
        ".json": json.loads,
        ".jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
        ".toml": tomllib.loads,
    }
    if path.suffix in readers:
        return canonical(readers[path.suffix](content.decode()), substitutes)
    return short_hash(content)


def read_tensors(content: bytes, substitutes: dict[str, str]) -> dict[str, Any]:
    """Every tensor of a safetensors file by type, shape and hash, and the header's metadata, parsed where JSON.

    The file is taken apart by hand, so that the hash is that of the stored bytes. Tensors that differ in a number
    between slashes only, such as the optimiser's moments, share one hash.
    """
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    metadata = header.pop("__metadata__", {})
    groups: dict[str, list[str]] = {}
    for name in sorted(header, key=lambda name: [int(part) for part in name.split("/") if part.isdigit()]):
        first, end = header[name]["data_offsets"]
        shape = "x".join(map(str, header[name]["shape"]))
        text = f"{header[name]['dtype']} [{shape}] {short_hash(content[begin + first : begin + end])}"
        groups.setdefault(re.sub(r"/\d+/", "/*/", name), []).append(text)
    tensors = {
        name: texts[0] if len(texts) == 1 else f"{len(texts)} tensors {short_hash(' '.join(texts).encode())}"
        for name, texts in sorted(groups.items())
    }
    parsed = {key: json.loads(text) if text.startswith(("{", "[")) else text for key, text in metadata.items()}
    return {"tensors": tensors, "metadata": canonical(parsed, substitutes)}


def canonical(value: Any, substitutes: dict[str, str]) -> Any:
    """A document without volatile keys, with substituted paths and file hashes, and long lists of numbers hashed."""
    if isinstance(value, dict):
        return {key: canonical(part, substitutes) for key, part in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        if len(value) > PLAIN_NUMBERS and all(type(part) in (int, float) for part in value):
            return f"{len(value)} numbers {short_hash(json.dumps(value).encode())}"
        return [canonical(part, substitutes) for part in value]
    if isinstance(value, str):
        for old, new in substitutes.items():
            value = value.replace(old, new)
    return value


def short_hash(content: bytes) -> str:
    """The first 64 bits of the SHA-256: two different contents agree by chance once in 10^19."""
    return hashlib.sha256(content).hexdigest()[:16]


def to_lines(recorded: dict[str, Any]) -> str:
    """JSON with a line for each file, so that it is small and git shows which files changed."""
    networks = []
    for network, files in recorded["networks"].items():
        lines = [f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in files.items()]
        networks.append(f"{json.dumps(network)}:{{\n" + ",\n".join(lines) + "\n}")
    return f'{{"about":{json.dumps(recorded["about"])},\n"networks":{{\n' + ",\n".join(networks) + "\n}}\n"


def parse_renaming(text: str) -> Renaming:
    """Take OLDKEY=NEWKEY apart; the key is found only as whole levels of a path."""
    old, separator, new = text.partition("=")
    if not separator or not old:
        sys.exit(f"--renamed takes OLDKEY=NEWKEY, not {text}")
    return old, re.compile(rf"(?<![^/]){re.escape(old)}(?![^/])"), new.replace("\\", r"\\")


def compare(old: dict[str, Any], new: dict[str, Any], renamings: list[Renaming]) -> int:
    """Print the differences, grouped by network and file.

    Args:
        old: What was recorded before.
        new: What was recorded after.
        renamings: Applied to the paths of `old`, except where `new` says the same under the old path.

    Returns:
        1 if values differ, 0 otherwise.
    """
    for key in ("python", "torch", "numpy"):
        if old["about"][key] != new["about"][key]:
            print(f"remark: {key} {old['about'][key]} before, {new['about'][key]} after")
    after = dict(flatten("", new["networks"]))
    before: dict[str, str] = {}
    used: Counter[str] = Counter()
    for path, value in flatten("", old["networks"]):
        renamed = path
        for old_key, pattern, new_key in renamings if after.get(path) != value else ():
            renamed, count = pattern.subn(new_key, renamed)
            used[old_key] += count
            renamed = re.sub("//+", "/", renamed).strip("/")
        final = renamed if renamed in after or path not in after else path
        if final in before:
            sys.exit(f"two values would be called {final}")
        before[final] = value
    for old_key, _, _ in renamings:
        if not used[old_key]:
            print(f"remark: no difference to explain by a renaming of {old_key}")
    remarks = differences = 0
    for path in [*before, *(path for path in after if path not in before)]:
        was, now = before.get(path), after.get(path)
        if was == now:
            continue
        if path.endswith("/" + FILE_BYTES) and was and now:
            remarks += 1
            print(f"remark: {path.removesuffix('/' + FILE_BYTES)}: other bytes in the file")
            continue
        differences += 1
        print(f"{path}: {'(not there)' if was is None else was} -> {'(not there)' if now is None else now}")
    same = sum(before[path] == after.get(path) for path in before)
    print(f"{differences} differences, {same} values equal, {remarks} images with other bytes in the file")
    return int(differences > 0)


def flatten(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Path and exact text of every value below `path`."""
    if isinstance(value, dict | list) and value:
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flatten(f"{path}/{key}" if path else str(key), part)
    else:
        yield path, json.dumps(value)


if __name__ == "__main__":
    main()
