"""What a file is: any artifact of ours, or a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from adaptsr_cli.artifacts.base import (
    AdapterHeader,
    BackboneIdentity,
    InitDirectionsHeader,
    MergedHeader,
    RankMap,
    RunRecord,
    Saliency,
    SplitRecord,
    StrictModel,
)
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.imaging.degradation import DegradationRecord
from adaptsr_cli.io.documents import parse_document, read_text, read_toml
from adaptsr_cli.io.headers import read_header
from adaptsr_cli.io.strict_json import parse_json
from adaptsr_cli.stages.common.warm_start import WarmStartHeader
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.training.card import RunCard
from adaptsr_cli.units import format_bytes, format_params

Facts = dict[str, str]

_HEADER = "adaptsr"


def describe_file(path: Path) -> Facts:
    """The facts of one file, in the order in which they should be shown.

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
        options = read_toml(path, TrainOptions).model_dump(mode="json", exclude_none=True, exclude_unset=True)
        return facts | {"kind": "options of train"} | {name: _option_text(value) for name, value in options.items()}
    if path.suffix == ".safetensors":
        metadata = read_header(path).metadata
        if _HEADER in metadata:
            return facts | _describe_document(metadata[_HEADER], path)
    if path.suffix == ".onnx":
        return facts | _describe_onnx(path)
    return facts | _describe_checkpoint(path)


def _describe_onnx(path: Path) -> Facts:
    from adaptsr_cli.backbones.onnx_model import OnnxModel

    model = OnnxModel(path)
    if _HEADER in model.metadata:
        facts = _describe_document(model.metadata[_HEADER], path)
        facts["kind"] += ", ONNX"
    else:
        facts = {"kind": "ONNX file of others"}
    return facts | {"shapes": model.describe_shapes()}


def _describe_json(path: Path) -> Facts:
    return _describe_document(read_text(path), path)


def _describe_document(text: str, path: Path) -> Facts:
    try:
        content = parse_json(text)
        kind = content.get("artifact") if isinstance(content, dict) else None
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}", "make it anew") from error
    for name, model, describe in _KINDS:
        if kind == name:
            return {"kind": name.replace("_", " ")} | describe(parse_document(text, model, str(path)))
    if kind == "training_state":
        from adaptsr_cli.training.state import LoopState

        state = parse_document(text, LoopState, str(path))
        return {"kind": "training state", "iteration": f"{state.iteration} of {state.plan.config.iterations}"}
    raise ArtifactError(
        f"{path} is no artifact of ours", "artifacts are the JSON and safetensors files of a run folder"
    )


def _option_text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _of_backbone(identity: BackboneIdentity) -> str:
    return (
        f"{identity.source}: {identity.architecture} x{identity.scale}, {format_params(identity.params)} parameters, "
        f"sha256 {identity.sha256[:16]}"
    )


def _run(document: StrictModel) -> Facts:
    assert isinstance(document, RunRecord)
    return {"backbone": _of_backbone(document.backbone), "model": document.model_path}


def _saliency(document: StrictModel) -> Facts:
    assert isinstance(document, Saliency)
    best = sorted(document.sites, key=lambda site: -site.score)[:5]
    stable = "one batch" if document.mean_spearman is None else f"{document.mean_spearman:.3f}"
    return {
        "backbone": _of_backbone(document.backbone),
        "criterion": f"{document.criterion}, {document.batches} batches of {document.batch}",
        "sites": f"{len(document.sites)} ({len(document.skipped)} left out)",
        "rank correlation": stable,
        "highest": ", ".join(site.name for site in best),
    }


def _directions(document: StrictModel) -> Facts:
    assert isinstance(document, InitDirectionsHeader)
    return {"backbone": _of_backbone(document.backbone), "for": "adaptsr train --init gradient"}


def _start(document: StrictModel) -> Facts:
    assert isinstance(document, WarmStartHeader)
    return {
        "backbone": _of_backbone(document.backbone),
        "adapter": f"{document.provenance.options.get('adapter')}, sha256 {document.adapter_sha256[:16]}",
        "for": "adaptsr train with the rank map beside it",
    }


def _rank_map(document: StrictModel) -> Facts:
    assert isinstance(document, RankMap)
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


def _adapter(document: StrictModel) -> Facts:
    assert isinstance(document, AdapterHeader)
    ranks = Counter(site.rank for site in document.sites)
    facts = {
        "backbone": _of_backbone(document.backbone),
        "method": document.method,
        "sites": f"{len(document.sites)}: " + ", ".join(f"{n} x r{rank}" for rank, n in sorted(ranks.items())),
        "iteration": str(document.iteration),
    }
    if document.method in ("lora", "dora", "rasa"):
        facts["method"] += f", {document.factorization}, {document.scale} with alpha {document.sites[0].alpha:g}"
        facts["method"] += f", --init {document.init}" if document.init != "default" else ""
    if document.val_psnr_y_db is not None and document.backbone_psnr_y_db is not None:
        gain = document.val_psnr_y_db - document.backbone_psnr_y_db
        facts["held-out PSNR-Y"] = f"{document.val_psnr_y_db:.2f} dB ({gain:+.2f} over the backbone)"
    return facts


def _merged(document: StrictModel) -> Facts:
    assert isinstance(document, MergedHeader)
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


def _split(document: StrictModel) -> Facts:
    assert isinstance(document, SplitRecord)
    return {
        "data": f"{document.data} ({document.layout})",
        "images": f"{len(document.train)} trained on, {len(document.held_out)} held out",
    }


def _degradation(document: StrictModel) -> Facts:
    assert isinstance(document, DegradationRecord)
    steps = ", ".join(step.kind.replace("_", " ") for step in document.degradation.steps)
    facts = {"degradation": document.degradation.name, "steps": steps}
    return facts | ({"estimate": document.estimate.describe()} if document.estimate is not None else {})


def _card(document: StrictModel) -> Facts:
    assert isinstance(document, RunCard)
    gain = f"{document.backbone_psnr_y_db:.2f} -> {document.best_psnr_y_db:.2f} dB ({document.gain_db:+.2f})"
    what, parameters, cost = document.describe()
    return {"held-out PSNR-Y": gain, "training": what, "parameters": parameters, "cost": cost}


def _evaluation(document: StrictModel) -> Facts:
    assert isinstance(document, Evaluation)
    facts = {"protocol": document.protocol_text, "data": f"{document.data}, {len(document.images)} images"}
    for model in document.models:
        facts[model.name] = ", ".join(f"{metric} {value:.4f}" for metric, value in model.metrics.items())
    return facts


_KINDS: tuple[tuple[str, type[StrictModel], Callable[[StrictModel], Facts]], ...] = (
    ("run", RunRecord, _run),
    ("saliency", Saliency, _saliency),
    ("directions", InitDirectionsHeader, _directions),
    ("rank_map", RankMap, _rank_map),
    ("start", WarmStartHeader, _start),
    ("adapter", AdapterHeader, _adapter),
    ("merged", MergedHeader, _merged),
    ("split", SplitRecord, _split),
    ("degradation", DegradationRecord, _degradation),
    ("card", RunCard, _card),
    ("eval", Evaluation, _evaluation),
)


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
