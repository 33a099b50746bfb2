"""Stage ``info``: what a file is, be it an image, an artifact of a run, a model file or options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.backbones.hyperparameters import Value, format_untold, parse_choices
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import AdaptsrError, ArtifactError, ImageError
from adaptsr_cli.io.artifacts import parse_artifact
from adaptsr_cli.io.checkpoint_parts import has_model_suffix
from adaptsr_cli.io.decoding import find_content
from adaptsr_cli.io.documents import read_text, read_toml
from adaptsr_cli.io.file_kinds import describe_irregular
from adaptsr_cli.io.formats.table import READ_SUFFIXES
from adaptsr_cli.io.headers import read_metadata
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.info.describe import Facts, describe, describe_backbone
from adaptsr_cli.stages.info.options import InfoOptions
from adaptsr_cli.stages.info.picture import describe_picture
from adaptsr_cli.stages.info.run import list_made, tell_outdated
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.training.log import read_log
from adaptsr_cli.units import format_bytes


@dataclass(frozen=True)
class InfoResult:
    """Descriptions of files.

    Attributes:
        files: The facts of each file, in the order in which they should be shown.
        failed: Files that cannot be described, and why.
    """

    files: tuple[Facts, ...]
    failed: tuple[tuple[Path, AdaptsrError], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        failed = [{"file": str(path), "reason": error.message} for path, error in self.failed]
        return {"files": list(self.files), "failed": failed}


def run_info(options: InfoOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> InfoResult:
    """Describe files; of several, one that cannot be described is named, and the others are.

    Args:
        options: Which files and run folders.
        progress: Told of those that cannot be described, and of what is older in a run than what it is made from.
        world: Not used: this is work for one process.

    Raises:
        ArtifactError: The only file is missing, or of no known kind.
        CheckpointError: The only file is a model file that cannot be read.
        ImageError: The only file is an image that cannot be read.
    """
    choices = parse_choices(options.model_options)
    paths = [path for place in options.files for path in list_made(place)]
    files, failed = [], []
    for path in paths:
        try:
            files.append(describe_file(path, choices))
        except AdaptsrError as error:
            if len(paths) == 1:
                raise
            progress.warn(error.message + (f"; {error.hint}" if error.hint else ""))
            failed.append((path, error))
    for place in options.files:
        tell_outdated(place, progress)
    return InfoResult(tuple(files), tuple(failed))


def describe_file(path: Path, choices: Mapping[str, Value] | None = None) -> Facts:
    """Describe one file by facts, in the order in which they should be shown.

    Args:
        path: An artifact, a model file, or a trainer's folder with a model in it.
        choices: What a model file does not tell.

    Raises:
        ArtifactError: Missing, or of no known kind.
        CheckpointError: A model file that cannot be read.
        UsageError: A choice that the network does not have.
        ImageError: An image that cannot be read.
    """
    if path.is_dir() or path.name.endswith(".index.json"):
        return {"file": str(path), **_describe_checkpoint(path, choices)}
    if not path.is_file():
        what = f"is {describe_irregular(path)}" if path.exists() else "does not exist"
        raise ArtifactError(f"{path} {what}", "name an image, an artifact of a run, or a checkpoint")
    facts = {"file": str(path), "size": format_bytes(path.stat().st_size)}
    if path.suffix == ".json":
        return facts | _describe_json(path)
    if path.suffix == ".toml":
        options = read_toml(path, TrainOptions).model_dump(mode="json", exclude_none=True, exclude_unset=True)
        return facts | {"kind": "options of train"} | {name: _option_text(value) for name, value in options.items()}
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
        if HEADER in metadata:
            return facts | _describe_document(metadata[HEADER], path)
    if path.suffix == ".onnx":
        return facts | _describe_onnx(path)
    if path.suffix.lower() in READ_SUFFIXES or _is_image(path):
        return facts | describe_picture(path)
    if path.suffix == ".jsonl":
        return facts | {"kind": "training log"} | _describe_log(read_log(path))
    if not has_model_suffix(path):
        raise ArtifactError(
            f"{path} is neither an image nor an artifact of a run nor a checkpoint",
            "name one of these, or a run folder",
        )
    return facts | _describe_checkpoint(path, choices)


def _describe_log(rows: Sequence[LogRow]) -> Facts:
    """How far a training had come."""
    scores = [row.val_psnr_y_db for row in rows if row.val_psnr_y_db is not None]
    return {
        "rows": str(len(rows)),
        "last iteration": str(rows[-1].iteration) if rows else "",
        "best held-out PSNR-Y": f"{max(scores):.2f} dB" if scores else "",
    }


def _is_image(path: Path) -> bool:
    """Whether the content is an image, whatever the name says."""
    try:
        find_content(path)
    except ImageError:
        return False
    return True


def _describe_onnx(path: Path) -> Facts:
    from adaptsr_cli.backbones.onnx_model import OnnxModel

    model = OnnxModel(path)
    if HEADER in model.metadata:
        facts = _describe_document(model.metadata[HEADER], path)
        facts["kind"] += ", ONNX"
    else:
        facts = {"kind": "ONNX file of another program"}
    return facts | {"shapes": model.describe_shapes()}


def _describe_json(path: Path) -> Facts:
    return _describe_document(read_text(path), path)


def _describe_document(text: str, path: Path) -> Facts:
    document = parse_artifact(text, str(path))
    kind = str(type(document).model_fields["artifact"].default)
    return {"kind": kind.replace("_", " ")} | describe(document)


def _option_text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _describe_checkpoint(path: Path, choices: Mapping[str, Value] | None) -> Facts:
    from adaptsr_cli.adapters.sites import find_sites
    from adaptsr_cli.backbones.loader import load_backbone

    backbone = load_backbone(path, options=choices)
    checkpoint, identity = backbone.checkpoint, backbone.identity
    table = find_sites(backbone.model, backbone.traits)
    kinds = Counter(site.kind for site in table.sites)
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in backbone.checkpoint.tensors.values())
    rank_one = sum(site.rank_cost for site in table.sites)
    way = ".".join(filter(None, (checkpoint.wrapper, checkpoint.prefix.rstrip("."))))
    assumed = format_untold(identity.architecture, backbone.arguments, identity.options)
    told = checkpoint.metadata.get(HEADER)
    return {
        **({"kind": "checkpoint"} if told is None else _describe_document(told, path)),
        "network": describe_backbone(identity),
        "key": way or "(raw state dict)",
        **({"left out": "; ".join(checkpoint.left_out)} if checkpoint.left_out else {}),
        **({"assumed": f"{assumed} (no tensor tells; `model_options` sets another)"} if assumed else {}),
        "tensors": ", ".join(f"{count} {dtype}" for dtype, count in dtypes.items()),
        "input size": f"multiples of {backbone.multiple_px} px, at least {backbone.minimum_px} px",
        "tiles": backbone.describe_tiles(),
        "sites": f"{len(table.sites)} ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), "
        f"{len(table.skipped)} left out",
        "rank 1 everywhere": f"{rank_one:,} parameters",
    }
