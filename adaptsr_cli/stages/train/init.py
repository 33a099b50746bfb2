"""The choice where low-rank factors start: at random, at the gradient's directions, or from a trained adapter."""

from __future__ import annotations

from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.methods import METHODS, allows_init, list_methods
from adaptsr_cli.adapters.truncation import MatrixFactors, put_factors
from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.adapter_spectra import matrix_factors
from adaptsr_cli.stages.common.init_directions import find_init_directions
from adaptsr_cli.stages.common.warm_start import MAKE_AGAIN, read_warm_start, warm_start_path
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.rank_plan import RankPlan


def choose_init(options: TrainOptions, plan: RankPlan, progress: Progress) -> TrainOptions:
    """The options with a start that fits the rank map.

    Left out, training continues the map's adapter if it has one. Otherwise it starts at the directions of the gradient,
    where `score` has left them and the method can, since that was measured best; but not by the paper's preset.

    Args:
        options: What the user asked for.
        plan: The ranks.
        progress: Told that training continues an adapter rather than begins.

    Raises:
        UsageError: The rank map has no adapter to continue, or the method cannot.
    """
    assert options.method != "auto"
    if plan.rank_map.start_sha256 is None:
        if options.init == "adapter":
            raise UsageError(
                f"`init` adapter continues the adapter of a rank map, and {plan.path} was made without one",
                "make it with `adaptsr reallocate ADAPTER`",
            )
        return _choose_directions(options, plan, progress) if options.init is None else options
    if options.init not in (None, "adapter"):
        return options
    if "adapter" not in METHODS[options.method].inits:
        able = list_methods(spec for spec in METHODS.values() if "adapter" in spec.inits)
        raise UsageError(
            f"{plan.path} continues a trained adapter of `method` {able}, which `method` {options.method} cannot do",
            "leave `method` out, or give `init` default to start from the backbone with these ranks",
        )
    progress.note(f"continuing the adapter that {plan.path} was made from (`init` default starts from the backbone)")
    return options.model_copy(update={"init": "adapter"})


def _choose_directions(options: TrainOptions, plan: RankPlan, progress: Progress) -> TrainOptions:
    """The options with the gradient's directions as the start, or with random ones, which is then said."""
    assert options.method != "auto"
    if options.preset == "paper" or not allows_init(options.method, "gradient", options.conv_factorization):
        return options.model_copy(update={"init": "default"})
    run = options.run_folder
    if find_init_directions(run, plan.path).exists():
        return options.model_copy(update={"init": "gradient"})
    progress.note(
        f"there is no {run.directions} with the gradient's directions, so the A factors start at random; "
        "`adaptsr score` makes it"
    )
    return options.model_copy(update={"init": "default"})


def apply_warm_start(
    attachment: Attachment,
    backbone: Backbone,
    config: TrainConfig,
    plan: RankPlan,
    fingerprint: str,
    progress: Progress,
) -> None:
    """Put the updates of the sidecar into a new low-rank adapter; ranks that it has beyond them change nothing yet.

    Args:
        attachment: The adapter at the start of training, with the ranks of the map.
        backbone: The network.
        config: The options of the training.
        plan: The ranks; the map names its sidecar by SHA-256.
        fingerprint: Of the images to train on and to watch.
        progress: Told when the watched images may have been trained on before.

    Raises:
        ArtifactError: The sidecar is missing, damaged, or another one than the rank map was written with.
        UsageError: Its factorisation is another one.
    """
    header, tensors = read_warm_start(plan.path, plan.rank_map.start_sha256, backbone)
    if header.factorization != config.conv_factorization:
        raise UsageError(
            f"the adapter that {plan.path} was made from is of `conv_factorization` {header.factorization}, not "
            f"{config.conv_factorization}",
            f"give `conv_factorization` {header.factorization}, "
            f"or `init` default to start from the backbone with these ranks",
        )
    for name in {name.rpartition(".")[0] for name in tensors}:
        target = matrix_factors(attachment, name)
        lora_a, lora_b = tensors.get(f"{name}.lora_A"), tensors.get(f"{name}.lora_B")
        if target is None or lora_a is None or lora_b is None or not _fit(target, lora_a, lora_b):
            raise ArtifactError(
                f"{warm_start_path(plan.path)}: the update of {name} does not fit {plan.path}", MAKE_AGAIN
            )
        put_factors(target, lora_a, lora_b)
    known = header.provenance.data_fingerprint
    if not known:
        progress.note(
            "what the adapter was trained on is not known: if held-out images are among it, their scores are too good"
        )
    elif known != fingerprint:
        progress.warn(
            "the adapter was trained on other images, or with another split: held-out images may be among those that "
            "it was trained on, and then their scores are too good"
        )


def _fit(target: MatrixFactors, lora_a: Tensor, lora_b: Tensor) -> bool:
    """Whether factors are those of this site, of no more ranks than the adapter has."""
    rank = len(lora_a)
    wanted = target.lora_A[:rank].shape, target.lora_B[:, :rank].shape
    return (
        rank <= target.rank
        and (lora_a.shape, lora_b.shape) == wanted
        and bool(lora_a.isfinite().all() and lora_b.isfinite().all())
    )
