"""Trains the embedded backbone on: SAFMN x4 on antialiased bicubic, on the device at hand.

    python benchmarks/pretrain_default.py --photos DIR --set5 DIR --minutes 60 --output better.safetensors

Starts from ``weights/safmn_x4_bicubic.safetensors`` and writes the output only if the exponential moving average scores
higher on Set5 than the start, both measured here by the protocol `paper`.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.layouts import find_pairs, fit_scale
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.data.sampler import BatchSampler
from adaptsr_cli.imaging.degradation_presets import find_degradation
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.tensors import write_tensors
from adaptsr_cli.metrics.protocol import PAPER, score_images
from adaptsr_cli.runtime import pick_device

ROOT = Path(__file__).resolve().parents[1]

EMA_DECAY = 0.999


def score_set5(backbone: Backbone, reader: PairReader, device: torch.device) -> float:
    """Mean PSNR-Y in dB by the protocol `paper`."""
    upscaler = Upscaler(backbone, device=device, precision="fp32", tile_px=0)
    scores = []
    for index in range(len(reader)):
        lr, hr = reader.read(index)
        sr = np.rint(upscaler.run(lr) * 255).astype(np.uint8)
        scores.append(score_images(sr, hr, protocol=PAPER, scale=backbone.scale, metrics=("psnr",))["psnr_y_db"])
    return float(np.mean(scores))


def loss_of(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 plus 0.05 x L1 of the Fourier transform, as the network was trained from scratch."""
    spectrum = torch.view_as_real(torch.fft.rfft2(sr)) - torch.view_as_real(torch.fft.rfft2(hr))
    return nn.functional.l1_loss(sr, hr) + 0.05 * spectrum.abs().mean()


def main() -> None:
    """Train for a while and keep the result if it is better."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of HR photographs")
    parser.add_argument("--set5", type=Path, required=True, help="Set5 with HR/ and LR_bicubic/X4/")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--patch", type=int, default=192, help="HR px")
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    device = pick_device(options.device)
    backbone = load_backbone(default_model()).to(device)
    test = PairReader(fit_scale(find_pairs(options.set5, role="test"), backbone.scale), scale=backbone.scale)
    photos = PairReader(
        fit_scale(find_pairs(options.photos, role="train"), backbone.scale),
        scale=backbone.scale,
        degradation=find_degradation("bicubic"),
    )
    sampler = BatchSampler(photos, batch=options.batch, patch_px=options.patch, seed=1)
    before_db = score_set5(backbone, test, device)
    print(f"start: Set5 {before_db:.3f} dB", flush=True)
    average = copy.deepcopy(backbone.model.state_dict())
    backbone.model.requires_grad_(True)
    optimizer = torch.optim.Adam(backbone.model.parameters(), lr=options.lr)
    started = time.perf_counter()
    iteration, shown_s = 0, 0.0
    while (elapsed_s := time.perf_counter() - started) < 60 * options.minutes:
        done = elapsed_s / (60 * options.minutes)
        for group in optimizer.param_groups:
            group["lr"] = options.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        batch = sampler.sample(iteration)
        loss = loss_of(super_resolve(backbone, batch.lr.to(device)), batch.hr.to(device))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        for name, value in backbone.model.state_dict().items():
            average[name].lerp_(value, 1 - EMA_DECAY)
        iteration += 1
        if elapsed_s - shown_s > 60:
            shown_s = elapsed_s
            print(f"{iteration} iterations, {elapsed_s / 60:.0f} min, loss {loss.item():.4f}", flush=True)
    backbone.model.load_state_dict(average)
    backbone.model.requires_grad_(False)
    after_db = score_set5(backbone, test, device)
    print(f"end: Set5 {after_db:.3f} dB after {iteration} iterations on {device}", flush=True)
    if after_db <= before_db:
        print("not better: nothing written")
        return
    tensors = {key: average[name].cpu() for name, key in backbone.keys.items()}
    write_tensors(options.output, tensors, {"set5_psnr_y": f"{after_db:.3f}", "iterations": str(iteration)})
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
