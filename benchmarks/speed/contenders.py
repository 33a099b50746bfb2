"""The networks that are timed, and the ways of training them: ours, peft's LoRA, and full fine-tuning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.artifacts.base import BackboneIdentity
from adaptsr_cli.backbones.backbone import Backbone, Traits, set_differentiable, traits_of
from adaptsr_cli.backbones.edsr import BasicsrEDSR
from adaptsr_cli.backbones.fast.network import fuse
from adaptsr_cli.backbones.products import fuse_products
from adaptsr_cli.io.checkpoints import Checkpoint
from adaptsr_cli.runtime import Precision, autocast
from adaptsr_cli.training.cuda_graph import RecordedStep
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.optimizer import JointOptimizer, make_optimizer
from adaptsr_cli.training.step import GradientStep

ROOT = Path(__file__).resolve().parents[2]

SCALE = 4
RANK = 8
ARCHITECTURES = {
    "swinir": "SwinIR",
    "safmn": "SAFMN",
    "edsr": "EDSR",
    "edsr-large": "EDSR",
    "drct": "DRCT",
    "dat": "DAT",
    "dctlsa": "DCTLSA",
    "span": "SPAN",
}
TITLES = {
    "swinir": "SwinIR-M x4 (embed 180, depths 6x6, heads 6, window 8)",
    "safmn": "SAFMN x4 (dim 36, 8 blocks)",
    "edsr": "EDSR-baseline x4 (64 channels, 16 blocks)",
    "edsr-large": "EDSR x4 (256 channels, 32 blocks)",
    "drct": "DRCT x4 (embed 180, 6 groups, window 16)",
    "dat": "DAT-light x4 (embed 60, 18 blocks, windows 8 x 32)",
    "dctlsa": "DCTLSA x4 (55 channels, 24 blocks, window 16)",
    "span": "SPAN x4 (48 channels; its products of three are one convolution each, for the peers too)",
}


def build(name: str) -> nn.Module:
    """A network with seeded random weights, in eval mode; speed does not depend on the weights."""
    from spandrel.architectures.DAT import DAT
    from spandrel.architectures.DCTLSA import DCTLSA
    from spandrel.architectures.DRCT import DRCT
    from spandrel.architectures.SAFMN import SAFMN
    from spandrel.architectures.SPAN import SPAN
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        match name:
            case "swinir":
                model: nn.Module = SwinIR(
                    upscale=SCALE,
                    embed_dim=180,
                    depths=(6,) * 6,
                    num_heads=(6,) * 6,
                    window_size=8,
                    img_size=64,
                    mlp_ratio=2,
                    upsampler="pixelshuffle",
                    resi_connection="1conv",
                )
            case "drct":
                model = DRCT(upscale=SCALE, upsampler="pixelshuffle", resi_connection="1conv")
            case "dat":
                model = DAT(
                    upscale=SCALE,
                    embed_dim=60,
                    split_size=[8, 32],
                    depth=[18],
                    num_heads=[6],
                    expansion_factor=2,
                    resi_connection="3conv",
                    upsampler="pixelshuffledirect",
                )
            case "dctlsa":
                model = DCTLSA(upscale=SCALE)
            case "span":
                model = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=48, upscale=SCALE)
                fuse_products(model)
            case "safmn":
                model = SAFMN(dim=36, n_blocks=8, upscaling_factor=SCALE)
            case "edsr":
                model = BasicsrEDSR(SCALE, 64, 16, 3, 1.0)
            case "edsr-large":
                model = BasicsrEDSR(SCALE, 256, 32, 3, 0.1)
            case _:
                raise ValueError(name)
    return model.eval().requires_grad_(False)


def find_all_sites(name: str, model: nn.Module) -> list[Site]:
    """Every site of the network."""
    return list(find_sites(model, traits_of(ARCHITECTURES[name])).sites)


def make_backbone(name: str, model: nn.Module, *, fused: bool = True) -> Backbone:
    """The network as `load_backbone` gives it; ``fused=False`` leaves spandrel's code and layout."""
    traits = traits_of(ARCHITECTURES[name]) if fused else Traits()
    if fused:
        fuse(model)
    params = sum(parameter.numel() for parameter in model.parameters())
    return Backbone(
        model=model,
        identity=BackboneIdentity(
            architecture=ARCHITECTURES[name], scale=SCALE, params=params, sha256="0" * 64, source=name
        ),
        checkpoint=Checkpoint(Path(f"{name}.pth"), "pth", {}, None, "", {}),
        keys={},
        traits=replace(traits, tile_multiple_px=1),
        multiple_px=1,
        minimum_px=1,
        square=False,
    )


@dataclass(frozen=True)
class Contender:
    """One way of training.

    Attributes:
        parameters: What is trained.
        gradients: (lr, hr) -> loss, with the gradients left in the parameters.
        optimizer: The optimiser.
        model: The network.
        recorded: The whole step as a CUDA graph.
    """

    parameters: list[nn.Parameter]
    gradients: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer | JointOptimizer
    model: nn.Module
    recorded: RecordedStep | None = None

    def step(self, lr: Tensor, hr: Tensor) -> Tensor:
        """One whole training step; returns the loss."""
        return self.plain_step(lr, hr) if self.recorded is None else self.recorded.run(lr, hr)["loss"]

    def plain_step(self, lr: Tensor, hr: Tensor) -> Tensor:
        """The same without a CUDA graph, so that every operation can be seen."""
        loss = self.gradients(lr, hr)
        self.optimizer.step()
        return loss


def make_ours(name: str, device: torch.device, precision: Precision, *, graph: bool = True) -> Contender:
    """`adaptsr train --objective l1`: its own gradient step and optimiser, rank 8 (or the largest) at all sites."""
    backbone = make_backbone(name, build(name)).to(device)
    plan = [(site, min(RANK, site.max_rank)) for site in find_all_sites(name, backbone.model)]
    attachment = attach(backbone.model, plan, alpha=float(RANK))
    objective = make_objective("l1", weights_dir=Path(), device=device, seed=0, iterations=1, scale=4)
    gradients = GradientStep(backbone, attachment, objective, device=device, precision=precision)
    parameters = list(attachment.parameters())
    optimizer = make_optimizer("muon", attachment.parameter_groups(1), 1e-3, device)  # as in `Trainer`
    set_differentiable(backbone, True)

    def compute(lr: Tensor, hr: Tensor) -> Tensor:
        means, _ = gradients.run(lr, hr, 0)
        means.put_back()
        return means.losses["loss"]

    def step(lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        loss = compute(lr, hr)
        optimizer.step()
        return {"loss": loss}

    recorded = RecordedStep(step, device, print_aside, obstacle=None if graph else "not wanted")
    return Contender(parameters, compute, optimizer, backbone.model, recorded if device.type == "cuda" else None)


def print_aside(text: str) -> None:
    """Notes must not stand among the answers of a worker."""
    print(text, file=sys.stderr, flush=True)


def peft_ranks(sites: Iterable[Site]) -> dict[str, int]:
    """Ranks by module with which peft spends what ours spends there.

    peft cannot adapt the q, k and v rows of one fused projection apart, so its one adapter gets the rank whose
    parameters are as many as those of our three: 3 x 8 x (180 + 180) = 12 x (180 + 540). Its convolutions are k x k
    to r and 1 x 1 back, which costs r (Cin k k + Cout).
    """
    spent: dict[str, int] = {}
    cost: dict[str, int] = {}
    for site in sites:
        out, inside, *kernel = site.shape
        area = kernel[0] * kernel[1] if kernel else 1
        rows = 3 * out if site.rows else out
        spent[site.module] = spent.get(site.module, 0) + min(RANK, site.max_rank) * site.rank_cost
        cost[site.module] = inside * area + rows
    return {module: max(1, round(spent[module] / cost[module])) for module in spent}


def make_peft(name: str, device: torch.device, precision: Precision) -> Contender:
    """Peft's LoRA injected into spandrel's own network (EDSR: into ours, which spandrel lacks), run eagerly."""
    from peft import LoraConfig, inject_adapter_in_model

    model = build(name)
    ranks = peft_ranks(find_all_sites(name, model))
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=list(ranks), rank_pattern=ranks, alpha_pattern=dict(ranks)
    )
    model = inject_adapter_in_model(config, model).to(device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return _plain(model, parameters, device, precision)


def make_full(name: str, device: torch.device, precision: Precision) -> Contender:
    """Full fine-tuning as BasicSR does it: every parameter, train mode, L1, Adam."""
    model = build(name).requires_grad_(True).train().to(device)
    return _plain(model, list(model.parameters()), device, precision)


def _plain(model: nn.Module, parameters: list[nn.Parameter], device: torch.device, precision: Precision) -> Contender:
    optimizer = torch.optim.Adam(parameters, lr=1e-3)

    def compute(lr: Tensor, hr: Tensor) -> Tensor:
        optimizer.zero_grad()
        with autocast(device, precision):
            sr = model(lr)
        loss = nn.functional.l1_loss(sr.float(), hr)
        torch.autograd.backward(loss)
        return loss.detach()

    return Contender(parameters, compute, optimizer, model)


CONTENDERS: dict[str, Callable[[str, torch.device, Precision], Contender]] = {
    "adaptsr": make_ours,
    "ungraphed": partial(make_ours, graph=False),
    "peft": make_peft,
    "full": make_full,
}
