"""Descriptions of the artifacts, one function for each kind, chosen by the artifact's class."""

from __future__ import annotations

import math
from collections import Counter
from functools import singledispatch

from adaptsr_cli.adapters.methods import METHODS
from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.base import BackboneIdentity, StrictModel
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.artifacts.pairs import PairsRecord
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.run import RunRecord
from adaptsr_cli.artifacts.saliency import InitDirectionsHeader, Saliency
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.artifacts.train_state import LoopState
from adaptsr_cli.artifacts.warm_start import WarmStartHeader
from adaptsr_cli.backbones.hyperparameters import format_choices
from adaptsr_cli.units import format_params, plural

Facts = dict[str, str]


@singledispatch
def describe(document: StrictModel) -> Facts:
    """Describe an artifact by facts, in the order in which they should be shown.

    Args:
        document: An artifact; a kind without a function here has no facts but its name.
    """
    return {}


def describe_backbone(identity: BackboneIdentity) -> str:
    """Describe a network in one line."""
    return (
        f"{identity.source}: {identity.architecture} x{identity.scale}, {format_params(identity.params)} parameters, "
        f"sha256 {identity.sha256[:16]}" + (f", with {format_choices(identity.options)}" if identity.options else "")
    )


@describe.register
def _describe_guard(document: GuardRecord) -> Facts:
    rows = zip(document.strengths, document.low_db, document.median_db, strict=True)
    gains = ", ".join(f"{strength:g}: {low:+.2f} / {median:+.2f}" for strength, low, median in rows)
    return {
        "strength": f"{document.strength:g}",
        "tried on": document.describe_trial(),
        "gain in dB, of nine in ten / of half": gains,
    }


@describe.register
def _describe_run(document: RunRecord) -> Facts:
    return {"backbone": describe_backbone(document.backbone), "model": document.model_path}


@describe.register
def _describe_saliency(document: Saliency) -> Facts:
    best = sorted(document.sites, key=lambda site: -site.score)[:5]
    stable = "one batch" if document.mean_spearman is None else f"{document.mean_spearman:.3f}"
    return {
        "backbone": describe_backbone(document.backbone),
        "criterion": f"{document.criterion}, {document.batches} batches of {document.batch}",
        "sites": f"{len(document.sites)} ({len(document.skipped)} left out)",
        "rank correlation": stable,
        "highest": ", ".join(site.name for site in best),
    }


@describe.register
def _describe_directions(document: InitDirectionsHeader) -> Facts:
    return {"backbone": describe_backbone(document.backbone), "for": "adaptsr train --init gradient"}


@describe.register
def _describe_start(document: WarmStartHeader) -> Facts:
    return {
        "backbone": describe_backbone(document.backbone),
        "adapter": f"{document.provenance.options.get('adapter')}, sha256 {document.adapter_sha256[:16]}",
        "for": "adaptsr train with the rank map beside it",
    }


@describe.register
def _describe_rank_map(document: RankMap) -> Facts:
    ranks = Counter(site.rank for site in document.sites)
    strategy: str = document.strategy
    if strategy == "adapter":
        strategy += f" {document.provenance.options.get('adapter')}, from which training continues"
    return {
        "backbone": describe_backbone(document.backbone),
        "strategy": strategy,
        "parameters": f"{document.total_params:,} of a budget of {document.budget_params:,}",
        "ranks": ", ".join(f"{count} x r{rank}" for rank, count in sorted(ranks.items())),
    }


@describe.register
def _describe_adapter(document: AdapterHeader) -> Facts:
    facts = {
        "backbone": describe_backbone(document.backbone),
        "method": document.method,
        "sites": str(len(document.sites)),
        "iteration": str(document.iteration),
    }
    if METHODS[document.method].is_low_rank:
        ranks = Counter(site.rank for site in document.sites)
        facts["sites"] += ": " + ", ".join(f"{n} x r{rank}" for rank, n in sorted(ranks.items()))
        facts["method"] += f", {document.factorization}, {document.lora_scaling} with alpha {document.sites[0].alpha:g}"
        facts["method"] += f", init {document.init}" if document.init != "default" else ""
    if document.val_psnr_y_db is not None and document.backbone_psnr_y_db is not None:
        gain = document.val_psnr_y_db - document.backbone_psnr_y_db
        over = "backbone" if document.base is None else "adapter below it"
        facts["held-out PSNR-Y"] = f"{document.val_psnr_y_db:.2f} dB ({gain:+.2f} over the {over})"
    if document.base is not None:
        facts["on top of"] = (
            f"the adapter with sha256 {document.base.sha256[:16]}, at strength {document.base.strength:g}"
        )
    return facts


@describe.register
def _describe_merged(document: MergedHeader) -> Facts:
    facts = {"backbone": describe_backbone(document.backbone)}
    if document.blend is None:
        return facts | {"adapter": f"sha256 {document.adapter_sha256[:16]}"}
    blend = document.blend
    parts = [f"{part.weight:g} x {part.name} (sha256 {part.sha256[:16]})" for part in blend.parts]
    facts |= {"adapters": ", ".join(parts), "strength": f"{blend.strength:g}"}
    if blend.perceptual is not None:
        part = blend.perceptual
        facts["sharpness"] = f"{part.sharpness:g} of {part.name} (sha256 {part.sha256[:16]})"
    if blend.to_rank is not None or blend.budget is not None:
        limit = f"rank {blend.to_rank}" if blend.budget is None else f"a budget of {blend.budget}"
        facts["truncated"] = f"to {limit}"
    if blend.tuning is not None:
        gain = blend.tuning.psnr_y_db - blend.tuning.plain_psnr_y_db
        facts["tuned"] = f"on {plural(blend.tuning.images, 'image')} of {blend.tuning.data}: {gain:+.3f} dB"
    return facts


@describe.register
def _describe_search(document: SearchRecord) -> Facts:
    columns, rows = document.table()
    trials = {
        f"{row[0]} {row[1]}": ", ".join(
            f"{text} after {column}" for column, text in zip(columns[2:-1], row[2:-1], strict=True) if text
        )
        for row in rows
    }
    winner = document.winner
    found = "not done yet" if winner is None else f"{winner.method} with a learning rate of {winner.last_rate:.2g}"
    return {"found": found, "steps besides the winner's": f"{document.lost_iterations:,}", **trials}


@describe.register
def _describe_state(document: LoopState) -> Facts:
    return {"iteration": f"{document.iteration} of {document.plan.config.iterations}"}


@describe.register
def _describe_split(document: SplitRecord) -> Facts:
    return {
        "data": f"{document.data} ({document.layout})",
        "images": f"{len(document.train)} trained on, {len(document.held_out)} held out"
        + (f", {len(document.test)} for the test alone" if document.test else "")
        + (f", {len(document.unused)} beside those not used" if document.unused else ""),
    }


@describe.register
def _describe_pairs(document: PairsRecord) -> Facts:
    lengths = sorted(
        math.hypot(*block.shift_px) for shot in document.shots for block in shot.blocks if block.name is not None
    )
    facts = {
        "pairs": document.describe(),
        "sizes": f"LR {document.block_px} px, HR {document.block_px * document.scale} px",
        "colours": "as in the tele photographs" if document.keep_colour else "fitted to LR",
    }
    if lengths:
        facts["off"] = f"{lengths[len(lengths) // 2]:.3f} px of LR (median over pairs), {lengths[-1]:.3f} at most"
    for shot in document.shots:
        facts[f"shot {shot.name}"] = shot.verdict if shot.accepted else f"refused: {shot.verdict}"
    return facts


@describe.register
def _describe_degradation(document: DegradationRecord) -> Facts:
    steps = ", ".join(step.kind.replace("_", " ") for step in document.degradation.steps)
    facts = {"degradation": document.degradation.name, "steps": steps}
    return facts | ({"estimate": document.estimate.describe()} if document.estimate is not None else {})


@describe.register
def _describe_card(document: RunCard) -> Facts:
    gain = f"{document.backbone_psnr_y_db:.2f} -> {document.best_psnr_y_db:.2f} dB ({document.gain_db:+.2f})"
    what, parameters, cost, *cuts = document.describe()
    facts = {"held-out PSNR-Y": gain, "training": what, "parameters": parameters, "cost": cost}
    return facts | ({"on the way": "; ".join(cuts)} if cuts else {})


@describe.register
def _describe_evaluation(document: Evaluation) -> Facts:
    facts = {"protocol": document.protocol_text, "data": f"{document.data}, {plural(len(document.images), 'image')}"}
    for model in document.models:
        facts[model.name] = ", ".join(f"{metric} {value:.4f}" for metric, value in model.metrics.items())
    return facts
