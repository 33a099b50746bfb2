"""Description of a file: any artifact of a run, or a checkpoint."""

from __future__ import annotations

from collections import Counter
from functools import singledispatch
from pathlib import Path

from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.base import HEADER, BackboneIdentity, StrictModel
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.artifacts.saliency import InitDirectionsHeader, Saliency
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.artifacts.train_state import LoopState
from adaptsr_cli.artifacts.warm_start import WarmStartHeader
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.artifacts import parse_artifact
from adaptsr_cli.io.documents import read_text, read_toml
from adaptsr_cli.io.headers import read_metadata
from adaptsr_cli.stages.train.request import TrainRequest
from adaptsr_cli.units import format_bytes, format_params

Facts = dict[str, str]


def describe_file(path: Path) -> Facts:
    """Describe one file by facts, in the order in which they should be shown.

    Raises:
        ArtifactError: Missing, or of no known kind.
        CheckpointError: A model file that cannot be read.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ArtifactError(f"{path} {what}", "name an artifact of a run, or a checkpoint")
    facts = {"file": str(path), "size": format_bytes(path.stat().st_size)}
    if path.suffix == ".json":
        return facts | _describe_json(path)
    if path.suffix == ".toml":
        options = read_toml(path, TrainRequest).model_dump(mode="json", exclude_none=True)
        return facts | {"kind": "options of train"} | {name: _option_text(value) for name, value in options.items()}
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
        if HEADER in metadata:
            return facts | _describe_document(metadata[HEADER], path)
    if path.suffix == ".onnx":
        return facts | _describe_onnx(path)
    return facts | _describe_checkpoint(path)


def _describe_onnx(path: Path) -> Facts:
    from adaptsr_cli.backbones.onnx_model import OnnxModel

    model = OnnxModel(path)
    if HEADER in model.metadata:
        facts = _describe_document(model.metadata[HEADER], path)
        facts["kind"] += ", ONNX"
    else:
        facts = {"kind": "ONNX file of others"}
    return facts | {"shapes": model.describe_shapes()}


def _describe_json(path: Path) -> Facts:
    return _describe_document(read_text(path), path)


def _describe_document(text: str, path: Path) -> Facts:
    document = parse_artifact(text, str(path))
    kind = str(type(document).model_fields["artifact"].default)
    return {"kind": kind.replace("_", " ")} | _describe(document)


def _option_text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _of_backbone(identity: BackboneIdentity) -> str:
    return (
        f"{identity.source}: {identity.architecture} x{identity.scale}, {format_params(identity.params)} parameters, "
        f"sha256 {identity.sha256[:16]}"
    )


@singledispatch
def _describe(document: StrictModel) -> Facts:
    """Tell the facts of an artifact; kinds that nobody asks about have none but their name."""
    return {}


# The kind of an artifact, and so its function below, is told by the annotation.


@_describe.register
def _(document: RunRecord) -> Facts:
    return {"backbone": _of_backbone(document.backbone), "model": document.model_path}


@_describe.register
def _(document: Saliency) -> Facts:
    best = sorted(document.sites, key=lambda site: -site.score)[:5]
    stable = "one batch" if document.mean_spearman is None else f"{document.mean_spearman:.3f}"
    return {
        "backbone": _of_backbone(document.backbone),
        "criterion": f"{document.criterion}, {document.batches} batches of {document.batch}",
        "sites": f"{len(document.sites)} ({len(document.skipped)} left out)",
        "rank correlation": stable,
        "highest": ", ".join(site.name for site in best),
    }


@_describe.register
def _(document: InitDirectionsHeader) -> Facts:
    return {"backbone": _of_backbone(document.backbone), "for": "adaptsr train --init gradient"}


@_describe.register
def _(document: WarmStartHeader) -> Facts:
    return {
        "backbone": _of_backbone(document.backbone),
        "adapter": f"{document.provenance.options.get('adapter')}, sha256 {document.adapter_sha256[:16]}",
        "for": "adaptsr train with the rank map beside it",
    }


@_describe.register
def _(document: RankMap) -> Facts:
    ranks = Counter(site.rank for site in document.sites)
    strategy: str = document.strategy
    if strategy == "adapter":
        strategy += f" {document.provenance.options.get('adapter')}, from which training goes on"
    return {
        "backbone": _of_backbone(document.backbone),
        "strategy": strategy,
        "parameters": f"{document.total_params:,} of a budget of {document.budget_params:,}",
        "ranks": ", ".join(f"{count} x r{rank}" for rank, count in sorted(ranks.items())),
    }


@_describe.register
def _(document: AdapterHeader) -> Facts:
    from adaptsr_cli.adapters.methods import METHODS  # imports torch, which the other files do not need

    ranks = Counter(site.rank for site in document.sites)
    facts = {
        "backbone": _of_backbone(document.backbone),
        "method": document.method,
        "sites": f"{len(document.sites)}: " + ", ".join(f"{n} x r{rank}" for rank, n in sorted(ranks.items())),
        "iteration": str(document.iteration),
    }
    if METHODS[document.method].is_low_rank:
        facts["method"] += f", {document.factorization}, {document.lora_scaling} with alpha {document.sites[0].alpha:g}"
        facts["method"] += f", --init {document.init}" if document.init != "default" else ""
    if document.val_psnr_y_db is not None and document.backbone_psnr_y_db is not None:
        gain = document.val_psnr_y_db - document.backbone_psnr_y_db
        facts["held-out PSNR-Y"] = f"{document.val_psnr_y_db:.2f} dB ({gain:+.2f} over the backbone)"
    return facts


@_describe.register
def _(document: MergedHeader) -> Facts:
    facts = {"backbone": _of_backbone(document.backbone)}
    if document.blend is None:
        return facts | {"adapter": f"sha256 {document.adapter_sha256[:16]}"}
    blend = document.blend
    parts = [f"{part.weight:g} x {part.name} (sha256 {part.sha256[:16]})" for part in blend.parts]
    facts |= {"adapters": ", ".join(parts), "strength": f"{blend.strength:g}"}
    if blend.to_rank is not None or blend.budget is not None:
        limit = f"rank {blend.to_rank}" if blend.budget is None else f"a budget of {blend.budget}"
        facts["truncated"] = f"to {limit}"
    if blend.tuning is not None:
        gain = blend.tuning.psnr_y_db - blend.tuning.plain_psnr_y_db
        facts["tuned"] = f"on {blend.tuning.images} images of {blend.tuning.data}: {gain:+.3f} dB"
    return facts


@_describe.register
def _(document: SplitRecord) -> Facts:
    return {
        "data": f"{document.data} ({document.layout})",
        "images": f"{len(document.train)} trained on, {len(document.held_out)} held out",
    }


@_describe.register
def _(document: DegradationRecord) -> Facts:
    steps = ", ".join(step.kind.replace("_", " ") for step in document.degradation.steps)
    facts = {"degradation": document.degradation.name, "steps": steps}
    return facts | ({"estimate": document.estimate.describe()} if document.estimate is not None else {})


@_describe.register
def _(document: RunCard) -> Facts:
    gain = f"{document.backbone_psnr_y_db:.2f} -> {document.best_psnr_y_db:.2f} dB ({document.gain_db:+.2f})"
    what, parameters, cost = document.describe()
    return {"held-out PSNR-Y": gain, "training": what, "parameters": parameters, "cost": cost}


@_describe.register
def _(document: Evaluation) -> Facts:
    facts = {"protocol": document.protocol_text, "data": f"{document.data}, {len(document.images)} images"}
    for model in document.models:
        facts[model.name] = ", ".join(f"{metric} {value:.4f}" for metric, value in model.metrics.items())
    return facts


@_describe.register
def _(document: LoopState) -> Facts:
    return {"iteration": f"{document.iteration} of {document.plan.config.iterations}"}


def _describe_checkpoint(path: Path) -> Facts:
    from adaptsr_cli.adapters.sites import find_sites
    from adaptsr_cli.backbones.loader import load_backbone

    backbone = load_backbone(path)
    table = find_sites(backbone.model, backbone.traits)
    kinds = Counter(site.kind for site in table.sites)
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in backbone.checkpoint.tensors.values())
    rank_one = sum(site.rank_cost for site in table.sites)
    return {
        "kind": "checkpoint",
        "network": _of_backbone(backbone.identity),
        "key": backbone.checkpoint.wrapper or "(raw state dict)",
        "tensors": ", ".join(f"{count} {dtype}" for dtype, count in dtypes.items()),
        "input size": f"multiples of {backbone.multiple_px} px, at least {backbone.minimum_px} px",
        "sites": f"{len(table.sites)} ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), "
        f"{len(table.skipped)} left out",
        "rank 1 everywhere": f"{rank_one:,} parameters",
    }
