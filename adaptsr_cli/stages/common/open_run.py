"""A run folder that is held, with its images and its network: how score, train and adapt begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.layouts import files_of
from adaptsr_cli.data.preflight import refuse_small
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.data_options import DataOptions
from adaptsr_cli.stages.common.models import ModelSpec, expected_scale, open_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder, refuse_inputs
from adaptsr_cli.stages.common.training_data import CacheSizes, TrainingData, open_training_data


@dataclass(frozen=True)
class OpenRun:
    """What the stages work on; several of them in one call share it."""

    run: RunFolder
    backbone: Backbone
    data: TrainingData


@contextmanager
def open_run(options: DataOptions, progress: Progress, world: World, *, strict: bool = False) -> Iterator[OpenRun]:
    """Hold the run folder, check and split the images, and load the network.

    Args:
        options: Which images, network and run folder.
        progress: Told what was found.
        world: The processes at work; the first one checks, and the others need not check again.
        strict: Refuse images of `test` that cannot be used; else they are left out.

    Yields:
        What was opened; the folder is held until the end.

    Raises:
        UsageError: The images are named in no way or in two, or lie where results are written.
        BusyError: Another process is at work in the run folder.
        DataError: There are no usable images, or some are too small for the network.
        ArtifactError: The run belongs to another network.
        CheckpointError: The file is no usable network.
    """
    images, cache = options.images, CacheSizes.of(options.cache_ram)
    run = options.run_folder
    with ExitStack() as stack:
        if world.is_main_process:
            stack.enter_context(run.held())
        with world.rank_zero_first():
            scale = expected_scale(run, options.model)
            known = read_document(run.split, SplitRecord) if run.split.exists() and not options.force else None
            data = open_training_data(
                images,
                options.val,
                options.seed,
                progress,
                scale,
                cache,
                options.degrade,
                test=options.test,
                known=known,
                strict=strict,
            )
            _refuse_images_in_the_way(run, data)
            spec = ModelSpec.of(
                options.model, options.weights_dir, offline=options.offline, options=options.model_options
            )
            backbone = open_backbone(run, spec, progress, record=world.is_main_process)
            refuse_small((*data.train, *data.held_out, *data.test), backbone.scale)
        yield OpenRun(run, backbone, data)


def _refuse_images_in_the_way(run: RunFolder, data: TrainingData) -> None:
    """Refuse images that the stages would write over, or remove with an earlier training.

    Raises:
        UsageError: There are some.
    """
    images = files_of(
        pair for part in (data.train, data.held_out, data.unused, data.test) for pairs in part for pair in pairs.pairs
    )
    training = run.training.root.resolve()
    within = next((path for path in sorted(images) if path.resolve().is_relative_to(training)), None)
    if within is not None:
        raise UsageError(
            f"{within} lies in {run.training.root}, which `force` empties", "move the images, or use another `run`"
        )
    pictures = (run.saliency.with_suffix(".png"), run.rank_map.with_suffix(".png"))
    refuse_inputs({path.name: path for path in pictures}, images)
