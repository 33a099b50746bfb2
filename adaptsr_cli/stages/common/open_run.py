"""A run folder that is held, with its images and its network: how score, train and adapt begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.distributed import World
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.lock import hold_folder
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.data_options import DataOptions
from adaptsr_cli.stages.common.models import ModelSpec, expected_scale, open_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.training_data import CacheSizes, TrainingData, open_training_data


@dataclass(frozen=True)
class OpenRun:
    """What the stages work on; several of them in one call share it."""

    run: RunFolder
    backbone: Backbone
    data: TrainingData


@contextmanager
def open_run(options: DataOptions, progress: Progress, world: World) -> Iterator[OpenRun]:
    """Hold the run folder, check and split the images, and load the network.

    Args:
        options: Which images, network and run folder.
        progress: Told what was found.
        world: The processes at work; the first one checks, and the others need not check again.

    Yields:
        What was opened; the folder is held until the end.

    Raises:
        UsageError: The images are named in no way or in two.
        BusyError: Another process is at work in the run folder.
        DataError: There are no usable images.
        ArtifactError: The run belongs to another network.
        CheckpointError: The file is no usable network.
    """
    images, cache = options.images, CacheSizes.of(options.cache_ram)
    run = options.run_folder
    with ExitStack() as stack:
        if world.is_main_process:
            stack.enter_context(hold_folder(run.root))
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
            )
            spec = ModelSpec.of(
                options.model, options.weights_dir, offline=options.offline, options=options.model_options
            )
            backbone = open_backbone(run, spec, progress, record=world.is_main_process)
        yield OpenRun(run, backbone, data)
