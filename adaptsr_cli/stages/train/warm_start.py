"""Where low-rank factors start, and the sidecar of a rank map made from an adapter, from which training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.methods import DIRECTED_FACTORIZATION, DIRECTED_METHODS
from adaptsr_cli.adapters.truncation import MatrixFactors, put_factors
from adaptsr_cli.artifacts.base import FORMAT_VERSION, BackboneIdentity, Factorization, Provenance, RankMap, StrictModel
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.download import file_sha256
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import parse_document
from adaptsr_cli.io.tensors import read_tensors, write_tensors
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.adapter_file import HEADER
from adaptsr_cli.stages.common.init_directions import find_init_directions
from adaptsr_cli.stages.common.models import require_same_backbone
from adaptsr_cli.stages.common.truncate import matrix_factors
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.training.config import TrainConfig

_AGAIN = "make both anew with `adaptsr allocate --from ADAPTER --force`"


class WarmStartHeader(StrictModel):
    """The header of ``rank_map.safetensors``: factors of every update, scale 1, as ``SITE.lora_A`` and ``SITE.lora_B``.

    Attributes:
        provenance: Its seed and data are those of the adapter's training.
        adapter_sha256: Of the file of the adapter that the updates come from.
    """

    artifact: Literal["start"] = "start"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    provenance: Provenance
    factorization: Factorization
    adapter_sha256: Annotated[str, Field(pattern=r"[0-9a-f]{64}")]


def warm_start_path(rank_map: Path) -> Path:
    """Where the sidecar of a rank map lies."""
    return rank_map.with_suffix(".safetensors")


def write_warm_start(path: Path, header: WarmStartHeader, factors: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    """Writes factors A and B by site name, atomically.

    Returns:
        The SHA-256 of the file.
    """
    tensors = {}
    for name, (lora_a, lora_b) in factors.items():
        tensors[f"{name}.lora_A"], tensors[f"{name}.lora_B"] = lora_a, lora_b
    write_tensors(path, tensors, {HEADER: header.model_dump_json()})
    return file_sha256(path)


def choose_init(options: TrainOptions, rank_map: RankMap, path: Path, progress: Progress) -> TrainOptions:
    """The options with a start that fits the rank map.

    Left out, training goes on from the map's adapter if it has one. Otherwise it starts at the directions of the
    gradient, where `score` has left them and the method can, since that was measured best (README); but not by the
    paper's preset.

    Args:
        options: What the user asked for.
        rank_map: The plan.
        path: Its file.
        progress: Told that training goes on rather than begins.

    Raises:
        UsageError: The rank map has no adapter to go on from, or the method cannot.
    """
    if rank_map.start_sha256 is None:
        if options.init == "adapter":
            raise UsageError(
                f"--init adapter goes on from the adapter of a rank map, and {path} was made without one",
                "make it with `adaptsr allocate --from adapter.safetensors`",
            )
        return _choose_directions(options, path, progress) if options.init is None else options
    if options.init is None:
        options = replace(options, init="adapter")
    if options.init != "adapter":
        return options
    if options.method != "lora":
        raise UsageError(
            f"{path} goes on from a trained adapter of --method lora, which --method {options.method} cannot",
            "leave --method out, or give --init default to begin anew at these ranks",
        )
    progress.note(f"going on from the adapter that {path} was made from (--init default begins anew at these ranks)")
    return options


def _choose_directions(options: TrainOptions, rank_map: Path, progress: Progress) -> TrainOptions:
    """The options with the gradient's directions as the start, or with random ones, which is then said."""
    if (
        options.preset == "paper"
        or options.method not in DIRECTED_METHODS
        or options.conv_factorization != DIRECTED_FACTORIZATION
    ):
        return replace(options, init="default")
    if find_init_directions(options.run, rank_map).exists():
        return replace(options, init="gradient")
    progress.note(
        f"there is no {options.run.directions} with the gradient's directions, so the A factors start at random; "
        "`adaptsr score` makes it"
    )
    return replace(options, init="default")


def apply_warm_start(
    attachment: Attachment,
    backbone: Backbone,
    config: TrainConfig,
    rank_map: RankMap,
    path: Path,
    fingerprint: str,
    progress: Progress,
) -> None:
    """Puts the updates of the sidecar into a new low-rank adapter; ranks that it has beyond them change nothing yet.

    Args:
        attachment: The adapter at the start of training, with the ranks of the map.
        backbone: The network.
        config: The options of the training.
        rank_map: The plan, which names its sidecar by SHA-256.
        path: Its file.
        fingerprint: Of the images to train on and to watch.
        progress: Told when the watched images may have been trained on before.

    Raises:
        ArtifactError: The sidecar is missing, damaged, or another one than the rank map was written with.
        UsageError: Its factorisation is another one.
    """
    place = warm_start_path(path)
    if not place.exists():
        raise ArtifactError(f"{path} needs {place}, which is not there", _AGAIN)
    if file_sha256(place) != rank_map.start_sha256:
        raise ArtifactError(f"{place} is not the one that {path} was written with", _AGAIN)
    tensors, metadata = read_tensors(place)
    if HEADER not in metadata:
        raise ArtifactError(f"{place} holds no adapter to go on from", _AGAIN)
    header = parse_document(metadata[HEADER], WarmStartHeader, str(place))
    require_same_backbone(header.backbone, place, backbone.identity)
    if header.factorization != config.conv_factorization:
        raise UsageError(
            f"the adapter that {path} was made from is of --conv-factorization {header.factorization}, not "
            f"{config.conv_factorization}",
            f"give --conv-factorization {header.factorization}, or --init default to begin anew at these ranks",
        )
    for name in {name.rpartition(".")[0] for name in tensors}:
        target = matrix_factors(attachment, name)
        lora_a, lora_b = tensors.get(f"{name}.lora_A"), tensors.get(f"{name}.lora_B")
        if target is None or lora_a is None or lora_b is None or not _fit(target, lora_a, lora_b):
            raise ArtifactError(f"{place}: the update of {name} does not fit {path}", _AGAIN)
        put_factors(target, lora_a, lora_b)
    if header.provenance.data_fingerprint != fingerprint:
        progress.warn(
            "the adapter was trained on other images, or with another split: held-out images may be among those that "
            "it has seen, and their scores flatter then"
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
