"""How far are gradients in bf16 from those in fp32, and how long do they take: with the ends of the network in fp32?

    python benchmarks/bf16_gradients.py --pairs FOLDER --network span_x4=FILE --network safmn_x4= [--device cuda]

Of all parameters by the loss of ``train`` on some batches of real pairs: the length of the difference over that of the
gradient in fp32, and the direction. Times are of forward and backward pass in turn, the least of each. Writes
``benchmarks/results/bf16_gradients_<device>.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean
from typing import Any, Final

import torch
from race import open_part
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, set_differentiable, super_resolve
from adaptsr_cli.backbones.ends import find_ends, in_fp32
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.progress import SILENT
from adaptsr_cli.runtime import autocast, describe_machine, pick_device
from adaptsr_cli.stages.common.models import ModelSpec, load_model
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.presets import TRAIN_PRESETS

RESULTS: Final = Path(__file__).parent / "results"
BATCHES: Final = 4


class Gradients:
    """The gradients of a network in one way of computing them.

    Args:
        backbone: The network.
        device: Where it is.
        precision: Of its products.
        ends: Convolutions that are left out of it.
    """

    def __init__(self, backbone: Backbone, device: torch.device, precision: Any, ends: list[nn.Conv2d]) -> None:
        self._backbone, self._device, self._precision, self._ends = backbone, device, precision, ends
        self._objective = make_objective(
            "fidelity", weights_dir=Path(), device=device, seed=0, iterations=1, scale=backbone.scale
        )
        self.seconds: list[float] = []

    def of(self, batch: Batch) -> Tensor:
        """Of one batch, all in one vector."""
        parameters = list(self._backbone.model.parameters())
        for parameter in parameters:
            parameter.grad = None
        _wait_for(self._device)
        begin = time.perf_counter()
        with autocast(self._device, self._precision), in_fp32(self._ends):
            sr = super_resolve(self._backbone, batch.lr)
        self._objective.losses(sr, batch.hr, 0).total.backward()
        _wait_for(self._device)
        self.seconds.append(time.perf_counter() - begin)
        return torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(backbone: Backbone, folder: Path, device: torch.device) -> dict[str, Any]:
    """Both ways of bf16 beside fp32, on the same batches in turn."""
    preset = TRAIN_PRESETS["fast"]
    pairs = open_part(folder, backbone.scale)
    sampler = BatchSampler(pairs, batch=preset.batch, patch_px=preset.patch_px, seed=0, device=device)
    set_differentiable(backbone, True)
    for parameter in backbone.model.parameters():
        parameter.requires_grad_(True)
    backbone.to(device)
    ends = find_ends(backbone)
    ways = {
        "fp32": Gradients(backbone, device, "fp32", []),
        "bf16": Gradients(backbone, device, "bf16", []),
        "ends in fp32": Gradients(backbone, device, "bf16", ends),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(BATCHES):
        drawn = sampler.sample(number)
        batch = Batch(drawn.lr.to(device), drawn.hr.to(device))
        gradients = {name: way.of(batch).double() for name, way in ways.items()}
        exact = gradients["fp32"]
        for name, gradient in gradients.items():
            away = float((gradient - exact).norm() / exact.norm())
            found[name].append((away, float(torch.nn.functional.cosine_similarity(gradient, exact, dim=0))))
    least = {name: min(way.seconds) for name, way in ways.items()}
    return {
        name: {
            "away": round(mean(away for away, _ in found[name]), 4),
            "cosine": round(mean(cosine for _, cosine in found[name]), 5),
            "time": round(least[name] / least["fp32"], 3),
        }
        for name in ways
        if name != "fp32"
    }


def to_markdown(rows: list[dict[str, Any]], machine: str) -> str:
    """One row for each network."""
    lines = [
        "| network | distance from fp32: bf16 | with the ends in fp32 | cosine: bf16 | with the ends in fp32 "
        "| time of fp32: bf16 | with the ends in fp32 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        plain, ends = row["bf16"], row["ends in fp32"]
        cells = [f"{way[key]:{form}}" for key, form in (("away", ".3f"), ("cosine", ".4f"), ("time", ".2f"))
                 for way in (plain, ends)]  # fmt: skip
        lines.append(f"| {row['network']} | " + " | ".join(cells) + " |")
    made = f"Made by `python benchmarks/bf16_gradients.py` on {machine}."
    return "\n".join(lines) + f"\n\n{made}\n"


def main() -> None:
    """Measure every network and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="folder with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device, rows = pick_device(options.device), []
    for text in options.network:
        name, _, file = text.partition("=")
        backbone = load_model(ModelSpec.of(file or None, None, offline=True), SILENT)
        rows.append({"network": name, **measure(backbone, options.pairs, device)})
        print(rows[-1], flush=True)
    machine = describe_machine(device)
    stem = RESULTS / f"bf16_gradients_{device.type}"
    stem.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", "utf-8")
    stem.with_suffix(".md").write_text(to_markdown(rows, machine), "utf-8")
    print(to_markdown(rows, machine))


if __name__ == "__main__":
    main()
