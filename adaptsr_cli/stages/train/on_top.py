"""The second training of ``objective`` both: a perceptual adapter on top of the run's own.

It is a training like the first one, in a folder of its own (``perceptual/``), of the network with the faithful adapter
folded in. So what it learns is only what the faithful adapter lacks, and any share of it can be added later.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from adaptsr_cli.artifacts.adapter import AdapterBase
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.dial import DialRecord
from adaptsr_cli.artifacts.evaluation import DialCurve, DialPoint
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_batch
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.report.figures import draw_curves
from adaptsr_cli.runtime import describe_device
from adaptsr_cli.stages.common.adapter_file import AdapterSource, open_adapter, read_guard
from adaptsr_cli.stages.common.auto_sharpness import begin_by_held_out
from adaptsr_cli.stages.common.blend import open_blend
from adaptsr_cli.stages.common.dial import SETTINGS, join_dials, open_perceptual, open_run_dial, read_dial_record
from adaptsr_cli.stages.common.models import ModelSpec, open_backbone
from adaptsr_cli.stages.common.open_run import OpenRun
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.train.options import TrainOptions, continued_precision, usual_rate
from adaptsr_cli.stages.train.rank_plan import open_rank_plan
from adaptsr_cli.stages.train.rate_bound import find_bound
from adaptsr_cli.stages.train.records import fill_card, keep_card, tell_result
from adaptsr_cli.stages.train.setup import TrainingInputs, make_trainer
from adaptsr_cli.stages.train.time_plan import plan_training
from adaptsr_cli.training.log import read_log
from adaptsr_cli.training.state import read_state
from adaptsr_cli.units import format_seconds


@dataclass(frozen=True)
class PerceptualResult:
    """What the second training came to.

    Attributes:
        adapter: Its file.
        card: What it cost; its scores are those at sharpness 0 and 1.
        dial: What the sharpness does on held-out images.
    """

    adapter: Path
    card: RunCard
    dial: DialCurve

    def to_json(self) -> dict[str, Any]:
        """The file, the card and the dial."""
        card = self.card.model_dump(exclude={"artifact", "format_version"})
        return {"adapter": str(self.adapter), **card, "dial": self.dial.model_dump()}


def faithful_part(options: TrainOptions) -> TrainOptions:
    """What `options` say of the run's own adapter; half of the time where there are two to train."""
    if options.objective != "both":
        return options
    return options.model_copy(update={"objective": "fidelity", "minutes": _half(options.minutes)})


def perceptual_part(options: TrainOptions, inputs: TrainingInputs) -> TrainOptions:
    """What `options` say of the perceptual adapter.

    Its rate is not searched for, since no score could choose between rates that give PSNR up on purpose: it is the
    preset's, or what `_bounded` finds where that is too high. Its method is the one that is named, else ``lora``.

    Args:
        options: Of both.
        inputs: Those of the first training.
    """
    method = options.named_method
    return options.model_copy(
        update={
            "objective": "perceptual",
            "method": method,
            "learning_rate": usual_rate(options.preset, method),
            "init": "default",
            "patience": None,
            "rank_map": inputs.plan.path,
            "minutes": _half(options.minutes),
        }
    )


def _half(minutes: float | None) -> float | None:
    return None if minutes is None else minutes / 2


def train_on_top(
    options: TrainOptions, inputs: TrainingInputs, progress: Progress, dials: Sequence[DialCurve]
) -> PerceptualResult:
    """Train the perceptual adapter, or go on with it; one on top of another adapter than the run has now goes.

    Args:
        options: From `perceptual_part`.
        inputs: Those of the first training, which is done.
        progress: Told what is trained.
        dials: What the folds found the sharpness to do, where this is trained on the images that it watches.
    """
    opened, world = inputs.opened, inputs.world
    run, faithful = opened.run.perceptual, open_adapter(opened.run.adapter)
    guard = read_guard(opened.run, faithful.sha256)
    base = AdapterBase(sha256=faithful.sha256, strength=1.0 if guard is None else guard.strength)
    with world.rank_zero_first():
        if world.is_main_process:
            _drop_outdated(run, base, progress)
    inner = OpenRun(run, _open_faithful(opened.run, faithful, base), opened.data)
    plan = open_rank_plan(options, inner, progress, world)
    inputs = replace(inputs, opened=inner, plan=plan, base=base)
    options = _bounded(options, inputs, progress)
    planned = plan_training(options, inputs, progress)
    trainer = make_trainer(planned.options, inputs, run, progress)
    trainer.reserve_s = planned.reserve(is_new=not run.training.state.exists()) + len(SETTINGS) * planned.validation_s
    trainer.start, trainer.expected_iterations = planned.start, planned.iterations
    progress.note(f"perceptual adapter on top of {faithful.path}; objective: {trainer.objective.describe()}")
    outcome = trainer.run(progress)

    text, device = trainer.objective.describe(), describe_device(inputs.device)
    card = fill_card(outcome.state, trainer.attachment, inner.backbone, text, device, world)
    with world.rank_zero_first():
        if world.is_main_process:
            card = keep_card(run.card, card, outcome)
            draw_curves(run.curves, read_log(run.training.log))
            tell_result(run, outcome.state, trainer.objective, progress)
    if outcome.seconds_per_iteration is None:
        progress.note(f"the perceptual adapter is finished already ({format_seconds(outcome.state.elapsed_s)})")
    return PerceptualResult(run.adapter, card, _measure_dial(opened.run, inputs, progress, join_dials(dials)).curve)


def _bounded(options: TrainOptions, inputs: TrainingInputs, progress: Progress) -> TrainOptions:
    """The options at a rate at which the first step is in proportion, or as the training that is there has them."""
    run, world = inputs.opened.run, inputs.world
    if world.gather(run.training.state.exists())[0]:
        known = read_state(run.training.state)[0].plan.config
        update = {"learning_rate": known.learning_rate, "precision": continued_precision(options, known)}
        return options.model_copy(update=update)
    assert options.method != "auto"
    bound, _ = find_bound(options.model_copy(update={"minutes": None}), inputs, options.method, progress)
    if bound.highest < bound.usual:
        progress.note(f"perceptual adapter: {bound.describe()}")
    return options.model_copy(update={"learning_rate": bound.highest})


def _measure_dial(run: RunFolder, inputs: TrainingInputs, progress: Progress, curve: DialCurve | None) -> DialRecord:
    """Write what the sharpness does, unless that was done for this adapter before.

    Args:
        run: Of the faithful adapter.
        inputs: Of the perceptual training.
        progress: Told where `sharpness` auto begins.
        curve: By the folds; None: by the held-out crops.
    """
    sha256, world = open_perceptual(run).sha256, inputs.world
    record = world.gather(read_dial_record(run, sha256))[0]
    if record is None:
        record = DialRecord(adapter_sha256=sha256, curve=curve or _score_settings(run, inputs, progress))
        if world.is_main_process:
            write_document(run.perceptual.dial, record)
    progress.note(f"`sharpness` auto begins at {begin_by_held_out(record).describe()}")
    return record


def _score_settings(run: RunFolder, inputs: TrainingInputs, progress: Progress) -> DialCurve:
    """PSNR-Y in dB of every setting on the held-out crops."""
    dial = open_run_dial(run, ModelSpec.of(None, None, offline=True), SILENT)
    points = []
    with progress.task("dial", len(SETTINGS), unit="setting") as task:
        for sharpness in SETTINGS:
            dial.put(sharpness)
            upscaler = Upscaler(dial.backbone, device=inputs.device, precision="fp32", tile_px=0)
            psnr_y_db = inputs.validator.score(partial(upscale_batch, upscaler)).psnr_y_db
            points.append(DialPoint(sharpness=sharpness, metrics={"psnr_y_db": psnr_y_db}))
            task.advance()
    dial.backbone.to(torch.device("cpu"))
    backbone = {"psnr_y_db": read_document(run.card, RunCard).backbone_psnr_y_db}
    return DialCurve(images=len(inputs.validator), backbone=backbone, points=tuple(points))


def _open_faithful(run: RunFolder, faithful: AdapterSource, base: AdapterBase) -> Backbone:
    """The run's backbone with the best faithful adapter folded in; the one at hand has that of the last step on it."""
    backbone = open_backbone(run, ModelSpec.of(None, None, offline=True), SILENT, record=False)
    open_blend(backbone, (faithful,)).put((base.strength,))
    return backbone


def _drop_outdated(run: RunFolder, base: AdapterBase, progress: Progress) -> None:
    """Remove a perceptual training on top of another adapter: what it has learnt is of no use on this one."""
    if not run.training.state.exists() or read_state(run.training.state)[0].plan.base == base:
        return
    progress.note("the faithful adapter has changed, so the perceptual one on top of it is trained anew")
    shutil.rmtree(run.root)
