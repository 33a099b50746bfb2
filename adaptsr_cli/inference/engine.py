"""Running a network over an image of any size in the memory that there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.fast.compiling import CompiledBlocks
from adaptsr_cli.errors import AdaptsrError, ImageError, NotFiniteError
from adaptsr_cli.inference.cpu_engines import CpuEngines
from adaptsr_cli.inference.device_canvas import DeviceCanvas, HostCopies
from adaptsr_cli.inference.device_tiles import Networks, run_on_device
from adaptsr_cli.inference.memory import greediest_module_bytes, is_out_of_memory
from adaptsr_cli.inference.rows import PendingRows, blend_tile, cut_tile, empty_canvas, to_host, to_unit_range
from adaptsr_cli.inference.tile_sizes import AUTO_SIDES_PX, ENGINE_PX_BYTES, auto_batch
from adaptsr_cli.inference.tiles import RAMP_PX, Tile, TilePlan, plan_tiles
from adaptsr_cli.progress import Progress, Silent
from adaptsr_cli.runtime import Precision, autocast, free_memory_bytes, freed_memory_kept

Floats = np.ndarray[Any, np.dtype[np.float32]]
ReadRows = Callable[[int, int], np.ndarray]
OnTile = Callable[[int, int], None]

UNKNOWN_HALO_PX: Final = 32
"""Context around a tile for a network of which nobody knows how far it looks."""

MIN_TILE_PX: Final = 16
"""The smallest tile that is tried when memory runs out."""

# Peak memory per LR pixel, by which automatic tiles are sized: three times what the greediest module takes in and
# gives out, and 10 kB. Measured on nine architectures (CPU) the truth lies between a fifth and four fifths of it.
_PEAK_FACTOR: Final = 3
_PEAK_EXTRA_BYTES: Final = 10_000
_MEMORY_SHARE: Final = 0.5
_PROBE_PX: Final = 64


class Upscaler:
    """A network with all that is needed to upscale images of any size with it.

    Image and result stay in the host's memory; only a batch of tiles goes to the device. Where that runs out of
    memory, batch and tiles are halved until they fit, and stay so for later images.

    Args:
        backbone: The network; it is moved to `device`.
        device: Where it runs.
        precision: In what. A result that is not finite is computed once more in fp32.
        tile_px: About how many LR pixels a tile advances; 0 for the whole image at once, None for what the free memory
            allows.
        pad_px: LR pixels of context around a tile; None for what the network is known to need.
        batch: Tiles at a time; None for one on the CPU and several on CUDA.
        ensemble: Average over the eight ways to turn and mirror the input: eight times the work, and a little better.
        compile_blocks: Try the network's blocks compiled once enough tiles of one size came, and keep what is faster.
        engines: What may run the network on the CPU beside torch.
        progress: Where it is said that memory did not suffice, and what came of compiling.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        device: torch.device,
        precision: Precision = "fp32",
        tile_px: int | None = None,
        pad_px: int | None = None,
        batch: int | None = None,
        ensemble: bool = False,
        compile_blocks: bool = False,
        engines: CpuEngines | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.backbone = backbone.to(device)
        self.device = device
        self.precision = precision
        self.tile_px = tile_px
        known_halo_px = UNKNOWN_HALO_PX if backbone.halo_px is None else backbone.halo_px
        self.pad_px = known_halo_px if pad_px is None else pad_px
        self.batch = batch or auto_batch(device, tile_px, self.pad_px)
        self.ensemble = ensemble
        self.engines = engines
        self._by_engine: bool | None = None  # for the image in work; None: not yet decided
        self._progress = progress or Silent()
        self._compiled = CompiledBlocks(backbone.model, device, self._progress.note) if compile_blocks else None
        self._most_tile_px: int | None = None  # what memory was found to allow
        self._bytes_per_px: float | None = None
        self._copies = HostCopies(device) if device.type == "cuda" else None  # else tiles are blended by NumPy

    def run(self, image: np.ndarray, *, on_tile: OnTile | None = None) -> Floats:
        """Upscale one image.

        Args:
            image: (H, W, 3) of any size: uint8, uint16, or float32 in [0, 1].
            on_tile: Called after every batch of tiles with the number of tiles done and of all.

        Returns:
            (scale * H, scale * W, 3) float32 in [0, 1].

        Raises:
            ImageError: The network fails on this image, or its result is not finite even in fp32.
            AdaptsrError: The smallest tile does not fit into memory, or the result does not.
        """
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"not an RGB image: {image.shape}")
        height_px, width_px = image.shape[:2]
        canvas: Floats | None = None
        for start_px, band in self.bands(height_px, width_px, lambda start, stop: image[start:stop], on_tile=on_tile):
            if len(band) == self.backbone.scale * height_px:
                return band
            if canvas is None:
                canvas = empty_canvas(self.backbone.scale * height_px, self.backbone.scale * width_px, 3, np.float32)
            place = self.backbone.scale * start_px
            canvas[place : place + len(band)] = band
            del band
        assert canvas is not None
        return canvas

    def bands(
        self,
        height_px: int,
        width_px: int,
        read_rows: ReadRows,
        *,
        most_rows_px: int | None = None,
        on_tile: OnTile | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Upscale one image from top to bottom without ever holding all of it.

        Args:
            height_px: LR height.
            width_px: LR width.
            read_rows: (start, stop) -> the LR rows (stop - start, W, 3) as for `run`; called in ascending order, each
                row several times.
            most_rows_px: About how many LR rows a tile may advance at most; None for as many as columns.
            on_tile: As for `run`; where memory runs out the number of all tiles grows on the way.
            dtype: What the result will be rounded to. A GPU rounds by itself, so that fewer bytes leave it.

        Yields:
            The first LR row, and the result from there on: (some rows, scale * W, 3), float32 in [0, 1] or of that
            type already. The bands follow each other without gap. Whoever drops one before asking for the next holds
            only one at a time.

        Raises:
            ImageError: As for `run`.
            AdaptsrError: As for `run`.
        """
        with freed_memory_kept(self.device):
            yield from self._bands(height_px, width_px, read_rows, most_rows_px, on_tile, np.dtype(dtype))

    def _bands(
        self,
        height_px: int,
        width_px: int,
        read_rows: ReadRows,
        most_rows_px: int | None,
        on_tile: OnTile | None,
        dtype: np.dtype[Any],
    ) -> Iterator[tuple[int, np.ndarray]]:
        """See `bands`."""
        done_px = 0  # LR rows whose result is out: it stays as it is when the tiles must shrink
        self._by_engine = None
        while done_px < height_px:
            plan = None
            try:
                plan = self.plan(height_px, width_px, most_rows_px=most_rows_px)
                if self.engines is not None:
                    plan = self._choose_engine(self.engines, plan, read_rows, most_rows_px)
                for start_px, stop_px, band in (
                    self._run_tiles(plan, read_rows, done_px, on_tile)
                    if self._copies is None
                    else self._run_on_device(plan, read_rows, done_px, on_tile, dtype)
                ):
                    done_px = stop_px
                    yield start_px, band
                    del band  # else it would be held while the next one is made
                return
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    fault = str(error).partition("\n")[0]
                    raise ImageError(f"the network fails on this image: {fault}", "--debug shows where") from error
            # Only here, when the error and with it the failed tensors are gone, is there something to free.
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self._shrink(plan)

    def _choose_engine(
        self, engines: CpuEngines, plan: TilePlan, read_rows: ReadRows, most_rows_px: int | None
    ) -> TilePlan:
        """Decide what runs the image, unless that is decided; return its tiles, which are `plan` for torch."""
        theirs = self.plan(plan.vertical.length, plan.horizontal.length, most_rows_px=most_rows_px, engine=True)
        if self._by_engine is None:
            tile = theirs.tiles[0]
            self._by_engine = engines.choose(
                plan, theirs, lambda: self._to_device(cut_tile(read_rows(0, tile.vertical.stop), tile, 0)[None])
            )
        return theirs if self._by_engine else plan

    def plan(self, height_px: int, width_px: int, *, most_rows_px: int | None = None, engine: bool = False) -> TilePlan:
        """Where the tiles of an image of this size lie, as things stand now, for torch or another engine.

        The other arguments are those of `bands`.
        """
        tile_px, rows_px = (self.tile_px, None)
        if tile_px is None:
            tile_px, rows_px = self._auto_tile(height_px, width_px, "engine" if engine else self.device.type)
        if self._most_tile_px is not None:
            tile_px = min(tile_px or self._most_tile_px, self._most_tile_px)
        limits_px = [limit_px for limit_px in (rows_px, most_rows_px) if limit_px is not None]
        return plan_tiles(
            height_px,
            width_px,
            tile_px=tile_px,
            pad_px=self.pad_px,
            # The alignment of both the network's own padding and its windows.
            multiple_px=math.lcm(self.backbone.multiple_px, self.backbone.tile_multiple_px),
            most_rows_px=min(limits_px, default=None),
        )

    def most_band_px(self, height_px: int, width_px: int) -> int:
        """At most how many LR pixels are in work at a time in `bands`: whole rows, a tile or more of them high.

        Other than `plan` this runs nothing, and may be asked while the network works.
        """
        multiple_px = math.lcm(self.backbone.multiple_px, self.backbone.tile_multiple_px)
        rows_px, columns_px = AUTO_SIDES_PX[self.device.type]
        if self.tile_px is None:
            if height_px * width_px <= rows_px * columns_px:
                return height_px * width_px
        elif self.tile_px:
            rows_px = columns_px = self.tile_px + 2 * self.pad_px + RAMP_PX
        else:
            return height_px * width_px
        columns = max(1, width_px // (columns_px + 2 * multiple_px))
        strips = 1 + -(-(self.batch - 1) // columns)  # a batch may go on in the next row of tiles
        return min(height_px, strips * (rows_px + 2 * multiple_px)) * width_px

    def _auto_tile(self, height_px: int, width_px: int, runner: str) -> tuple[int, int | None]:
        """The tile for the memory that is free now: at most half of it, by an estimate that is on the safe side.

        Returns:
            About how many LR pixels a tile advances to the right, and how many down if fewer; 0 for the whole image.
        """
        if height_px * width_px <= _PROBE_PX**2:
            return 0, None
        if self._bytes_per_px is None:
            greediest = greediest_module_bytes(self.backbone, self.device, _PROBE_PX) / _PROBE_PX**2
            self._bytes_per_px = _PEAK_FACTOR * greediest + _PEAK_EXTRA_BYTES
        budget_px = _MEMORY_SHARE * free_memory_bytes(self.device) / (self._bytes_per_px * self.batch)
        if runner == "engine":
            budget_px = min(budget_px, _MEMORY_SHARE * free_memory_bytes(self.device) / ENGINE_PX_BYTES)
        rows_px, columns_px = AUTO_SIDES_PX[runner]
        if height_px * width_px <= min(budget_px, rows_px * columns_px):
            return 0, None
        rows_px = min(rows_px, math.isqrt(int(budget_px)))
        columns_px = min(columns_px, int(budget_px / max(1, rows_px)))
        overlap_px = 2 * self.pad_px + RAMP_PX
        return max(MIN_TILE_PX, columns_px - overlap_px), max(MIN_TILE_PX, rows_px - overlap_px)

    def _shrink(self, plan: TilePlan | None) -> None:
        """Halves the batch or else the tiles, for this and all later images; None: not even the probe fitted."""
        if plan is not None and self.batch > 1 and len(plan.tiles) > 1:
            self.batch //= 2
            self._progress.note(f"not enough memory: continuing with {self.batch} tiles at a time")
            return
        size_px = max(plan.height_px, plan.width_px) if plan else _PROBE_PX
        advance_px = size_px - 2 * self.pad_px - RAMP_PX if plan and len(plan.tiles) > 1 else size_px
        tile_px = min(advance_px, self._most_tile_px or advance_px) // 2
        if plan is None or tile_px < MIN_TILE_PX:
            raise AdaptsrError(
                f"not enough memory on {self.device} for a tile of {size_px} px",
                f"free some memory, or give --tile {MIN_TILE_PX} with a --tile-pad below {self.pad_px}",
            )
        self._most_tile_px = tile_px
        self._progress.note(f"not enough memory: continuing with tiles of {tile_px} px")

    def _run_tiles(
        self, plan: TilePlan, read_rows: ReadRows, done_px: int, on_tile: OnTile | None
    ) -> Iterator[tuple[int, int, Floats]]:
        """Bands from `done_px` on as (first LR row, LR row behind the last, result)."""
        scale = self.backbone.scale
        height_px, width_px = plan.vertical.length, plan.horizontal.length
        if len(plan.tiles) == 1:
            whole = to_host(self.infer(read_rows(0, height_px)[None])[0])
            if on_tile:
                on_tile(1, 1)
            yield done_px, height_px, whole[scale * done_px :]
            return
        tiles = [tile for tile in plan.tiles if tile.vertical.keep_stop > done_px]
        count = len(plan.tiles) - len(tiles)
        pending = PendingRows(scale * width_px, scale * done_px)
        rows_start = rows_stop = -1
        rows = np.empty(0)
        for index in range(0, len(tiles), self.batch):
            group = tiles[index : index + self.batch]
            if (group[0].vertical.start, group[-1].vertical.stop) != (rows_start, rows_stop):
                rows_start, rows_stop = group[0].vertical.start, group[-1].vertical.stop
                rows = read_rows(rows_start, rows_stop)
            pending.extend(scale * group[-1].vertical.keep_stop)
            lr = np.stack([cut_tile(rows, tile, rows_start) for tile in group])
            for tile, sr in zip(group, self.infer(lr), strict=True):
                blend_tile(pending, plan, tile, sr, scale)
            count += len(group)
            if on_tile:
                on_tile(count, len(plan.tiles))
            rest = tiles[index + len(group) :]
            ready_px = rest[0].vertical.keep_start if rest else height_px
            if ready_px > done_px:
                start_px, done_px = done_px, ready_px
                band = pending.take(scale * ready_px)
                np.minimum(band, 1, out=band)  # the weights sum to one up to rounding
                yield start_px, ready_px, band
                del band

    def _run_on_device(
        self, plan: TilePlan, read_rows: ReadRows, done_px: int, on_tile: OnTile | None, dtype: np.dtype[Any]
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """As `_run_tiles`, all of it on the device, which computes the next tiles while the last are brought here."""
        assert self._copies is not None
        tiles = [tile for tile in plan.tiles if tile.vertical.keep_stop > done_px]
        count = len(plan.tiles) - len(tiles)

        def cut(group: Sequence[Tile]) -> np.ndarray:
            first_px = group[0].vertical.start
            rows = read_rows(first_px, group[-1].vertical.stop)
            return np.stack([cut_tile(rows, tile, first_px) for tile in group])

        def tell(done: int) -> None:
            nonlocal count
            count += done
            if on_tile:
                on_tile(count, len(plan.tiles))

        yield from run_on_device(
            DeviceCanvas(plan, self.backbone.scale, done_px, dtype, self._copies),
            [tiles[index : index + self.batch] for index in range(0, len(tiles), self.batch)],
            cut,
            Networks(lambda lr: self._turned(lr, self._unchecked), self.infer),
            self.device,
            tell,
        )

    @torch.inference_mode()
    def infer(self, lr: np.ndarray) -> Tensor:
        """(B, h, w, 3) on the host -> (B, 3, s h, s w) float32 in [0, 1] on the device, finite."""
        return self._turned(self._to_device(lr), self._forward)

    def _to_device(self, lr: np.ndarray) -> Tensor:
        """(B, h, w, 3) on the host -> (B, 3, h, w) float32 in [0, 1] on the device."""
        return torch.from_numpy(to_unit_range(lr)).to(self.device).permute(0, 3, 1, 2).contiguous()

    def _turned(self, lr: Tensor, forward: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, 3, h, w) -> (B, 3, s h, s w) in [0, 1]: what `forward` gives, or the mean over all ways to turn it."""
        if not self.ensemble:
            return forward(lr).clamp_(0, 1)
        total: Tensor | None = None
        for transposed, axes in product((False, True), ((), (2,), (3,), (2, 3))):
            turned = (lr.transpose(2, 3) if transposed else lr).flip(axes)
            sr = forward(turned.contiguous()).flip(axes)
            sr = sr.transpose(2, 3) if transposed else sr
            total = sr.contiguous() if total is None else total.add_(sr)
        assert total is not None
        return total.div_(8).clamp_(0, 1)

    def _unchecked(self, lr: Tensor) -> Tensor:
        """One pass of the network, (B, 3, h, w) -> (B, 3, s h, s w) float32."""
        with autocast(self.device, self.precision):
            sr = self._compiled.run(self._network, lr) if self._compiled else self._network(lr)
        return sr.float()

    def _forward(self, lr: Tensor) -> Tensor:
        """One pass of the network, (B, 3, h, w) -> (B, 3, s h, s w) float32, finite."""
        sr = self._unchecked(lr)
        if not _is_finite(sr) and (self.precision != "fp32" or self._by_engine):
            with autocast(self.device, "fp32"):
                sr = super_resolve(self.backbone, lr)
        if not _is_finite(sr):
            raise NotFiniteError(
                "the network's result on this image is not finite, even in fp32",
                "the model file may be damaged; try another --model",
            )
        return sr

    def _network(self, lr: Tensor) -> Tensor:
        if self.engines is None:
            return super_resolve(self.backbone, lr)
        return self.engines.run(lr) if self._by_engine else self.engines.run_torch(lr)


def _is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite; NaN is the least and the most of what it is among."""
    least, most = torch.aminmax(tensor)
    return bool(torch.isfinite(least) & torch.isfinite(most))
