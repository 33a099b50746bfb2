"""The dial between faithful and sharp: how much of a run's perceptual adapter is added to its faithful one.

Both are updates of the same weights, so every setting is exact, and costs nothing at inference:
W(s) = W0 + strength * D_faithful + s * D_perceptual. At 0 it is the faithful model, bit for bit. Interpolation of two
networks is that of Wang et al. 2018, ESRGAN; two updates with a dial of their own, PiSA-SR (Sun et al. 2025).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from adaptsr_cli.artifacts.dial import DialRecord
from adaptsr_cli.artifacts.evaluation import DialCurve, DialPoint
from adaptsr_cli.artifacts.merged import Blend, BlendPart, PerceptualPart
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.adapter_file import AdapterSource, open_adapter, read_guard
from adaptsr_cli.stages.common.blend import AdapterBlend, open_blend
from adaptsr_cli.stages.common.merged_model import (
    FoldedAdapters,
    fold_adapter,
    make_probe,
)
from adaptsr_cli.stages.common.models import ModelSpec, open_backbone
from adaptsr_cli.stages.common.run_command import run_command
from adaptsr_cli.stages.common.run_folder import RunFolder

SETTINGS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""At which the dial is measured."""


@dataclass(frozen=True)
class Dial:
    """The network of a run with its two adapters, between faithful and sharp.

    Attributes:
        backbone: The network, at the setting that was put last; at first faithful.
        faithful: Its tensors at sharpness 0, as far as the perceptual adapter changes them, by name.
        update: What that adapter adds to them at sharpness 1, float64.
        blend: Both adapters as updates of the backbone.
        adapters: The faithful and the perceptual one.
        strength: Of the faithful one.
        record: What the sharpness does on held-out images; None in runs of older versions.
    """

    backbone: Backbone
    faithful: Mapping[str, Tensor]
    update: Mapping[str, Tensor]
    blend: AdapterBlend
    adapters: tuple[AdapterSource, AdapterSource]
    strength: float
    record: DialRecord | None

    def put(self, sharpness: float) -> None:
        """Put the weights of a setting into the network; summed in float64 and rounded once.

        Args:
            sharpness: In [0, 1].
        """
        state = self.backbone.model.state_dict()
        with torch.no_grad():
            for name, tensor in self.faithful.items():
                # Not by adding zero, which would make +0 of -0.
                state[name].copy_(tensor.double() + sharpness * self.update[name] if sharpness else tensor)

    def used(self, sharpness: float) -> tuple[AdapterSource, ...]:
        """The adapters that a setting takes: at 0 the faithful one alone."""
        return self.adapters if sharpness else self.adapters[:1]

    def fold(self, sharpness: float) -> FoldedAdapters:
        """Put a setting into the network, for a file that is made of it."""
        self.put(sharpness)
        params = sum(self.blend.params_each[: len(self.used(sharpness))])
        return FoldedAdapters(self.blend.changed, make_probe(self.backbone), params)

    def describe(self, sharpness: float) -> Blend | None:
        """What a file says of a setting; None where it is the faithful adapter alone, as it is."""
        faithful, perceptual = self.adapters
        if not sharpness and self.strength == 1:
            return None
        name = f"{perceptual.path.parent.name}/{perceptual.path.name}"
        sharp = PerceptualPart(name=name, sha256=perceptual.sha256, sharpness=sharpness)
        return Blend(
            parts=(BlendPart(name=faithful.path.name, sha256=faithful.sha256, weight=1.0),),
            strength=self.strength,
            perceptual=sharp if sharpness else None,
        )


def open_dial(
    run: RunFolder, backbone: Backbone, faithful: AdapterSource, progress: Progress, *, strength: float | None = None
) -> Dial:
    """Fold a run's faithful adapter into its backbone, with the perceptual one at hand.

    Args:
        run: The run folder.
        backbone: The network that both adapters were made for, on the CPU; changed.
        faithful: The faithful adapter.
        progress: Told where the guard's strength is taken.
        strength: Of the faithful adapter; None for what `faithful_strength` finds.

    Raises:
        ArtifactError: The run has no perceptual adapter, or one that was trained on top of another adapter.
    """
    perceptual = open_perceptual(run)
    base = perceptual.header.base
    if base is None or base.sha256 != faithful.sha256:
        raise ArtifactError(
            f"{perceptual.path} was trained on top of another adapter than {faithful.path}",
            "repeat the training: it then trains a new one on top of this",
        )
    blend = open_blend(backbone, (faithful, perceptual))
    settled = faithful_strength(run, faithful, progress) if strength is None else strength
    if settled == 1:
        fold_adapter(backbone, faithful)  # as `merge` does, so that sharpness 0 is the same to the last bit
    else:
        blend.put((settled, 0.0))
    state, update = backbone.model.state_dict(), blend.updates[1]
    at_zero = {name: state[name].clone() for name in update}
    record = read_dial_record(run, perceptual.sha256)
    return Dial(backbone, at_zero, update, blend, (faithful, perceptual), settled, record)


def read_dial_record(run: RunFolder, perceptual_sha256: str) -> DialRecord | None:
    """What the sharpness of a run does on held-out images; None where nobody measured it of this adapter.

    Raises:
        ArtifactError: The file is damaged.
    """
    path = run.perceptual.dial
    found = read_document(path, DialRecord) if path.exists() else None
    return found if found is not None and found.adapter_sha256 == perceptual_sha256 else None


def open_run_dial(
    run: RunFolder,
    choice: ModelSpec,
    progress: Progress,
    *,
    adapters: Sequence[Path] = (),
    strength: float | None = None,
) -> Dial:
    """Open the backbone of a run and fold its adapters in, at sharpness 0.

    Args:
        run: The run folder.
        choice: What the user says of the backbone.
        progress: Told which network was loaded.
        adapters: The file of the faithful adapter; empty for the run's.
        strength: As for `open_dial`.

    Raises:
        UsageError: Several adapters.
        ArtifactError: As `open_dial`, or an adapter of another backbone.
    """
    if len(adapters) > 1:
        raise UsageError(
            "`sharpness` together with several `adapters`", "it adds the run's perceptual adapter to the run's own"
        )
    open_perceptual(run)  # whatever else is missing, this is what was asked for
    faithful = open_adapter(adapters[0] if adapters else run.adapter)
    backbone = open_backbone(run, choice.with_options_of(faithful.header.backbone), progress, record=False)
    return open_dial(run, backbone, faithful, progress, strength=strength)


def open_perceptual(run: RunFolder) -> AdapterSource:
    """The run's perceptual adapter.

    Raises:
        ArtifactError: It has none.
    """
    path = run.perceptual.adapter
    if not path.exists():
        raise ArtifactError(
            f"`sharpness` needs a perceptual adapter, and {run.root} has none",
            "train one on top of the faithful one: `adaptsr adapt --objective both`",
        )
    return open_adapter(path)


def faithful_strength(run: RunFolder, adapter: AdapterSource, progress: Progress) -> float:
    """The strength that the guard found for the run's own adapter, else 1."""
    guard = read_guard(run, adapter.sha256)
    if guard is None:
        return 1.0
    if guard.strength != 1:
        command = run_command(run, "merge", "--strength", "1", "--force")
        progress.note(
            f"merged at strength {guard.strength:g}, as the guard of the training chose (`{command}` undoes it)"
        )
    return guard.strength


def join_dials(curves: Sequence[DialCurve | None]) -> DialCurve | None:
    """The curve over the images of several; None where one of them is missing."""
    known = [curve for curve in curves if curve is not None]
    if not known or len(known) < len(curves):
        return None
    images = sum(curve.images for curve in known)

    def mean(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
        shared = [key for key in metrics[0] if all(key in found for found in metrics)]
        weights = [curve.images / images for curve in known]
        return {key: sum(w * found[key] for w, found in zip(weights, metrics, strict=True)) for key in shared}

    return DialCurve(
        images=images,
        backbone=mean([curve.backbone for curve in known]),
        points=tuple(
            DialPoint(sharpness=points[0].sharpness, metrics=mean([point.metrics for point in points]))
            for points in zip(*(curve.points for curve in known), strict=True)
        ),
    )
