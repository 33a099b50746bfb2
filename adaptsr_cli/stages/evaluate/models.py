"""Models of an evaluation: networks, adapters on their backbones, and folders of images that other systems made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import DataError, UsageError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_rgb
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.progress import Progress
from adaptsr_cli.runtime import pick_precision
from adaptsr_cli.stages.common.adapted_model import add_adapters, model_sha256
from adaptsr_cli.stages.common.adapter_file import read_adapter, require_adapter
from adaptsr_cli.stages.common.file_names import name_files
from adaptsr_cli.stages.common.merged_model import read_merged_header
from adaptsr_cli.stages.common.models import ModelSpec, load_model, network_sha256, open_backbone
from adaptsr_cli.stages.common.run_command import run_command
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.run_merged import holds_adapter, load_merged
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.outputs import find_outputs
from adaptsr_cli.units import list_some


@dataclass(frozen=True)
class EvaluatedModel:
    """Something that makes SR images.

    Attributes:
        name: In tables; all are different.
        source: Where it came from.
        sha256: Of the weights; None for a folder of images.
        scale: Upscaling factor; None for a folder of images.
        produce: Image name and LR (h, w, 3) uint8 -> SR uint8.
        files: Image name -> the file that holds the output, for a folder of images.
        is_of_training: Whether it is the run's merged model, with the adapter that the run has now in it.
    """

    name: str
    source: str
    sha256: str | None
    scale: int | None
    produce: Callable[[str, np.ndarray], np.ndarray]
    files: Mapping[str, Path] = field(default_factory=dict)
    is_of_training: bool = False


def open_networks(
    options: EvaluateOptions, run: RunFolder, device: torch.device, progress: Progress
) -> list[EvaluatedModel]:
    """Load the networks, in the order in which they were named, adapters last.

    Where none is named they are the run's backbone and merged model.

    Raises:
        ArtifactError: An adapter that was made for none of the networks at hand.
        CheckpointError: A file that is no usable network.
    """
    named = [(Path(text), load_model(_model_spec(options, text), progress)) for text in options.models]
    merged = None
    if not named and not options.scores_folders_only:
        named.append((Path("backbone"), open_backbone(run, _model_spec(options, None), progress, record=False)))
        if not options.adapters and (merged := _open_merged(options, run, progress)) is not None:
            named.append((Path("merged"), merged))
    names = name_files([*(path for path, _ in named), *options.adapters])
    found = [evaluated(name, model, options, device, progress) for name, (_, model) in zip(names, named, strict=False)]
    if merged is not None:
        found[-1] = replace(found[-1], is_of_training=holds_adapter(read_merged_header(merged), run))
    for name, path in zip(names[len(named) :], options.adapters, strict=True):
        adapted = _open_with_adapter(options, run, path, progress)
        model = evaluated(name, adapted, options, device, progress)
        source = f"{path.name} on {adapted.identity.source}"
        found.append(replace(model, source=source, sha256=model_sha256(adapted)))
    return found


def _model_spec(options: EvaluateOptions, name: str | None) -> ModelSpec:
    """The network of that name, looked for where the user said."""
    return ModelSpec.of(name, options.weights_dir, offline=options.offline, options=options.model_options)


def _open_merged(options: EvaluateOptions, run: RunFolder, progress: Progress) -> Backbone | None:
    merged = load_merged(run, _model_spec(options, None), progress)
    if merged is None and run.adapter.exists():
        command = run_command(run, "merge")
        progress.warn(f"the run's adapter is not merged: scoring the backbone alone; run `{command}` first")
    elif merged is None:
        progress.note("the run has no merged model yet: scoring the backbone alone")
    return merged


def _open_with_adapter(options: EvaluateOptions, run: RunFolder, path: Path, progress: Progress) -> Backbone:
    """The network that an adapter was made for, among those named, else the run's, with the adapter folded in."""
    require_adapter(path)
    made_for = read_adapter(path)[0].backbone
    for text in options.models:
        backbone = load_model(_model_spec(options, text).with_options_of(made_for), progress)
        if backbone.identity.sha256 == made_for.sha256:
            break
    else:
        choice = _model_spec(options, None).with_options_of(made_for)
        backbone = open_backbone(run, choice, progress, record=False)
    return add_adapters(backbone, (path,), 1.0, progress)


def evaluated(
    name: str, model: Backbone, options: EvaluateOptions, device: torch.device, progress: Progress
) -> EvaluatedModel:
    """A network as something that makes SR images."""
    precision = pick_precision(options.precision, device, bf16=model.traits.bf16, fp16=model.traits.fp16)
    # Scores that are to be compared with published ones are computed as those were, in fp32.
    precision = "fp32" if options.precision == "auto" else precision
    upscaler = Upscaler(model, device=device, precision=precision, tile_px=options.tile, progress=progress)

    def produce(_name: str, lr: np.ndarray) -> np.ndarray:
        return upscale_rgb(upscaler, lr)

    return EvaluatedModel(name, model.identity.source, network_sha256(model.identity), model.scale, produce)


def open_folder(name: str, folder: Path, images: Sequence[str], *, strict: bool = False) -> EvaluatedModel:
    """A folder of images that another system made, matched with the images to be scored before work starts.

    Args:
        name: In tables.
        folder: Where the outputs lie; see `find_outputs`.
        images: Names of the images to be scored.
        strict: Refuse the folder where an image has no output; else such images are left out of the scores.

    Raises:
        UsageError: No such folder.
        DataError: No or several outputs for an image, or one for several images.
    """
    if not folder.is_dir():
        raise UsageError(f"`sr` {name}={folder}: there is no such folder", "give NAME=FOLDER of SR images")
    files = find_outputs(folder, images)
    missing = [image for image in images if image not in files]
    if missing and strict:
        raise DataError(
            f"{folder} has no image for {len(missing)} of {len(images)}: {list_some(missing)}",
            f"name it as the HR image: {Path(missing[0]).name}.png",
        )

    def produce(image: str, _lr: np.ndarray) -> np.ndarray:
        if image not in files:
            raise DataError(f"{folder} has no image for {image!r}", f"name it as the HR image: {Path(image).name}.png")
        return read_rgb(files[image])

    return EvaluatedModel(name, str(folder), None, None, produce, files)


def make_distinct(models: Sequence[EvaluatedModel]) -> list[EvaluatedModel]:
    """Numbers the models whose names come twice."""
    often = Counter(model.name for model in models)
    return [
        model if often[model.name] == 1 else replace(model, name=f"{model.name} ({position})")
        for position, model in enumerate(models, start=1)
    ]
