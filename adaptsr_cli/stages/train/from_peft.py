"""The start from an adapter that peft trained: its updates as a rank map with what training continues."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

from torch import Tensor

from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.adapters.truncation import UpdateSpectrum, decompose
from adaptsr_cli.artifacts.base import Factorization
from adaptsr_cli.artifacts.rank_map import RankMap, SiteRank
from adaptsr_cli.artifacts.warm_start import WarmStartHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import ArtifactError, OutputExistsError
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.open_run import OpenRun
from adaptsr_cli.stages.common.peft_library import read_peft_updates
from adaptsr_cli.stages.common.run_folder import provenance
from adaptsr_cli.stages.common.warm_start import warm_start_path, write_warm_start
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.units import plural

Options = TypeVar("Options", bound=TrainOptions)

# peft's own: its factors of a convolution are k x k and 1 x 1, so that a rank of it is one of ours.
FACTORIZATION: Final[Factorization] = "kxk-1x1"


def start_from_peft(options: Options, opened: OpenRun, progress: Progress, world: World) -> Options:
    """Write ``rank_map.json`` and its sidecar from peft's adapter, unless that was done before, and take its factors.

    Args:
        options: What the user asked for; without `from_peft` it is given back as it is.
        opened: The run and its backbone.
        progress: Told what was read.
        world: Only the first process writes.

    Returns:
        The options with peft's factorisation of convolutions, and without `from_peft`, which is done.

    Raises:
        ArtifactError: The adapter is not one that can be continued here.
        OutputExistsError: The run has another rank map.
    """
    folder = options.from_peft
    if folder is None:
        return options
    with world.rank_zero_first():
        if world.is_main_process:
            _write_start(folder, opened, progress, seed=options.seed, force=options.force)
    return options.model_copy(update={"conv_factorization": FACTORIZATION, "from_peft": None})


def _write_start(folder: Path, opened: OpenRun, progress: Progress, *, seed: int, force: bool) -> None:
    path, backbone = opened.run.rank_map, opened.backbone
    sha256 = _folder_sha256(folder)
    if path.exists() and not force:
        if read_document(path, RankMap).provenance.options.get("adapter_sha256") == sha256:
            return
        raise OutputExistsError(f"{path} exists already (rank map)", "use `force`, or another `run`")
    spectra = _spectra(backbone, folder)
    sites = find_sites(backbone.model, backbone.traits).sites
    entries = tuple(_entry(site, spectra.get(site.name)) for site in sites)
    left = {site.name: _own_ranks(site, entry.rank) for site, entry in zip(sites, entries, strict=True)}
    record = provenance("train", {"adapter": folder.name, "adapter_sha256": sha256}, seed, "")
    header = WarmStartHeader(
        backbone=backbone.identity, provenance=record, factorization=FACTORIZATION, adapter_sha256=sha256
    )
    factors = {name: spectrum.factors(left[name]) for name, spectrum in spectra.items()}
    total = sum(entry.params for entry in entries)
    rank_map = RankMap(
        backbone=backbone.identity,
        provenance=record,
        strategy="adapter",
        budget_params=total,
        total_params=total,
        min_rank=min(entry.rank for entry in entries),
        max_rank=max(entry.rank for entry in entries),
        start_sha256=write_warm_start(warm_start_path(path), header, factors),
        sites=entries,
    )
    write_document(path, rank_map)
    energy = sum(sum(spectrum.energies) for spectrum in spectra.values())
    kept = sum(sum(spectrum.energies[: left[name]]) for name, spectrum in spectra.items()) / energy
    cut = "" if kept > 1 - 1e-9 else f" ({kept:.1%} of them: some have more ranks than an adapter may have here)"
    progress.note(f"{folder}: updates of {plural(len(spectra), 'site')} by peft{cut}, written as {path}")


def _spectra(backbone: Backbone, folder: Path) -> dict[str, UpdateSpectrum]:
    """The updates by site; those that change nothing are left out.

    Raises:
        ArtifactError: An update of a layer that is no site, or none at all.
    """
    updates = read_peft_updates(backbone.model, folder)
    sites: dict[str, list[Site]] = {}
    for site in find_sites(backbone.model, backbone.traits).sites:
        sites.setdefault(site.module, []).append(site)
    strangers = sorted(updates.keys() - sites.keys())
    if strangers:
        raise ArtifactError(f"{folder} changes {strangers[0]}, which is no layer that can be adapted here")
    found = {site.name: spectrum for name in updates for site, spectrum in _split(sites[name], updates[name])}
    if not found:
        raise ArtifactError(f"{folder} changes nothing: all its updates are zero", "train without `from_peft`")
    return found


def _split(sites: list[Site], update: Tensor) -> Iterator[tuple[Site, UpdateSpectrum]]:
    """The parts of a layer's update that belong to its sites."""
    for site in sites:
        part = update if site.rows is None else update[slice(*site.rows)]
        if bool(part.any()):
            yield site, decompose(part, kernels_first=len(site.shape) == 4)


def _entry(site: Site, spectrum: UpdateSpectrum | None) -> SiteRank:
    """A site of the rank map, with the planned ranks that pay for those of the update, as far as it may have them."""
    wanted = 0 if spectrum is None else -(-len(spectrum.values) * site.factor_cost(FACTORIZATION) // site.rank_cost)
    rank = min(wanted, site.max_rank)
    score = 0.0 if spectrum is None else sum(spectrum.energies) ** 0.5
    return SiteRank(
        name=site.name,
        block=site.block,
        kind=site.kind,
        shape=site.shape,
        score=score,
        rank=rank,
        params=rank * site.rank_cost,
    )


def _own_ranks(site: Site, planned: int) -> int:
    """How many ranks of peft's factors planned ranks pay for."""
    return planned * site.rank_cost // site.factor_cost(FACTORIZATION)


def _folder_sha256(folder: Path) -> str:
    """An identity of the files of an adapter.

    Raises:
        ArtifactError: There is no such folder.
    """
    if not folder.is_dir():
        raise ArtifactError(f"there is no folder {folder}", "name the folder that peft's save_pretrained wrote")
    files = sorted(path for path in folder.iterdir() if path.name.startswith("adapter_"))
    return hashlib.sha256("".join(file_sha256(path) for path in files).encode()).hexdigest()
