"""The ncnn format, for phones and players: files proven by running them in ncnn beside torch."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import torch
from torch.nn import functional

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.ncnn_model import NcnnFiles, NcnnModel, WholeCells, export_ncnn
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.stages.common.merged_model import textured_image
from adaptsr_cli.stages.export.proof import SPEED_PX, Examination, FileProof, Runtime
from adaptsr_cli.stages.export.request import ExportRequest

PLAYER_PADDING_PX: Final = 10
"""What upscayl and the programs that it descends from add around a tile, in LR px."""

_SEAM_TILE_PX: Final = 96
_GREY_LEVEL: Final = 1 / 255
_CONTRAST: Final = 10


def write_ncnn(request: ExportRequest) -> FileProof:
    """Write ``NAME.param`` and ``NAME.bin``, proven on odd and even sizes before they get their names.

    Raises:
        ArtifactError: The files compute something else than torch.
        CheckpointError: The network has an operator that ncnn does not know.
        UsageError: A package is missing.
    """
    network = WholeCells(request.backbone)
    cell_px = _cell_px(request.backbone)  # ncnn cannot pool an image that is smaller than a cell
    sizes = ((1, cell_px + 1, cell_px), (1, 31, 47), (2, 48, 64), (1, SPEED_PX, SPEED_PX))
    examination = Examination(request, "ncnn", "ncnn", sizes, network)
    with (
        tempfile.TemporaryDirectory() as folder,
        request.progress.task("ncnn", 2 + examination.steps, unit="step") as task,
    ):
        files = NcnnFiles(Path(folder) / "net.param", Path(folder) / "net.bin")
        export_ncnn(network, files, half=request.half)
        task.advance()
        model = NcnnModel(files)
        remarks = (*_odd_sizes(request.backbone, network), _seam(request.backbone, model))
        task.advance()
        proof = examination.run(model, (files.param, files.bin), task, remarks)
        for file, place in ((files.bin, request.output.with_suffix(".bin")), (files.param, request.output)):
            with replace_atomically(place) as temporary:
                temporary.write_bytes(file.read_bytes())
    return proof


def _cell_px(backbone: Backbone) -> int:
    """Side of the cells that the network pools, in LR px; 1 where it pools none."""
    return max(backbone.tile_multiple_px, backbone.multiple_px)


def _odd_sizes(backbone: Backbone, network: WholeCells) -> tuple[str, ...]:
    """What sizes that are no whole number of pooling cells cost; nothing where the network has none."""
    cell_px = _cell_px(backbone)
    if cell_px == 1:
        return ()
    side_px = 8 * cell_px - cell_px // 2
    image = textured_image(1, side_px, side_px)
    with torch.inference_mode():
        difference = (network(image) - super_resolve(backbone, image)).abs().amax(dim=(0, 1))
    rows, columns = torch.nonzero(difference > _GREY_LEVEL, as_tuple=True)
    if not len(rows):
        return ()
    side = len(difference)
    depth = int(torch.minimum(side - rows, side - columns).max()) // backbone.scale + 1
    return (
        f"width or height that is no multiple of {cell_px} px: up to {255 * float(difference.max()):.1f} grey levels "
        f"off at the right and lower edge, more than one level in the last {depth} LR px",
    )


def _seam(backbone: Backbone, model: Runtime) -> str:
    """What a player's tiles leave to be seen where they meet: two tiles against the image in one piece."""
    tile_px, pad_px, scale = _SEAM_TILE_PX, PLAYER_PADDING_PX, backbone.scale
    # Of nearly full contrast, as edges in photographs are: that is where a network looks far.
    image = torch.sigmoid(_CONTRAST * (textured_image(1, 2 * tile_px, tile_px) - 0.5))
    whole = model.run(image).clamp(0, 1)
    around = functional.pad(image, (pad_px,) * 4, mode="replicate")
    tiles = [around[..., begin : begin + tile_px + 2 * pad_px] for begin in (0, tile_px)]
    inside = slice(pad_px * scale, (pad_px + tile_px) * scale)
    tiled = torch.cat([model.run(tile)[..., inside, inside].clamp(0, 1) for tile in tiles], dim=-1)
    near = slice(tile_px * scale - pad_px * scale, tile_px * scale + pad_px * scale)
    core = slice(4 * pad_px, -4 * pad_px)  # the upper and lower edge are another matter: players repeat pixels there
    levels = 255 * float((tiled - whole)[..., core, near].abs().max())
    said = f"tiles of {tile_px} px with a player's {pad_px} px of padding meet within {levels:.1f} grey levels"
    reach_px = backbone.halo_px
    if levels >= 1 and (reach_px is None or reach_px > pad_px):
        reach = "nobody knows how far" if reach_px is None else f"{reach_px} px"
        return f"warning: {said}, which may be seen; the network looks {reach} around a pixel. Use large tiles"
    return said
