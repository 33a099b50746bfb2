"""The catalogue of checkpoints: what there is, where it lies, and how it is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from adaptsr_cli.backbones.catalogue import CatalogueEntry, bundled_weights_dir, find_model, read_catalogue
from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.options import OptionsModel
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.common import fields as f


class ModelsOptions(OptionsModel):
    """Which checkpoint to fetch; all are listed where none is named."""

    download: Annotated[str | None, Field(description="Fetch this model into the weights folder.")] = None
    weights_dir: f.WeightsDir = None
    offline: f.Offline = False


@dataclass(frozen=True)
class ModelsResult:
    """The catalogue, or the file that was asked for.

    Attributes:
        name: The model that was asked for.
        downloaded: Its file.
    """

    entries: tuple[CatalogueEntry, ...]
    weights_dir: Path
    name: str | None = None
    downloaded: Path | None = None

    def describe_place(self, entry: CatalogueEntry) -> str:
        """Whether the file is at hand, and if not how it can be had."""
        if (bundled_weights_dir() / entry.file).exists():
            return "embedded"
        if (self.weights_dir / entry.file).exists():
            return "in the folder"
        return "by --download" if entry.url else f"by hand: {entry.page}"

    def to_json(self) -> dict[str, Any]:
        """The file, or the whole catalogue."""
        if self.downloaded is not None:
            return {"name": self.name, "path": str(self.downloaded)}
        models = [entry.model_dump(mode="json") for entry in self.entries]
        return {"weights_dir": str(self.weights_dir), "models": models}


def run_models(options: ModelsOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> ModelsResult:
    """Read the catalogue, and fetches a model where one is named.

    Args:
        options: What to fetch.
        progress: Told what is downloaded.
        world: Not used: this is work for one process.

    Raises:
        UsageError: There is no such model.
        DownloadError: It cannot be fetched.
    """
    folder = find_weights_dir(options.weights_dir)
    entries = tuple(read_catalogue())
    if options.download is None:
        return ModelsResult(entries, folder)
    path = find_model(options.download, weights_dir=folder, offline=options.offline, progress=progress)
    return ModelsResult(entries, folder, options.download, path)
