"""Super-resolution of images that a Python program holds as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.artifacts.base import EngineChoice
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ImageError, UsageError
from adaptsr_cli.inference.picture import resize_to, upscale_picture
from adaptsr_cli.io.pictures import check_range, layers_of, picture_of
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.runtime import random_state_kept
from adaptsr_cli.stages.common.fields import DEFAULT_RUN
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import make_upscaler, open_upscaler

_CHANNELS: Final = {
    np.dtype(np.uint8): (1, 2, 3, 4),
    np.dtype(np.uint16): (1, 2, 3, 4),
    np.dtype(np.float32): (3,),
}


@random_state_kept()
def upscale_array(
    image: AnyArray,
    model: Backbone | str | Path | None = None,
    *,
    run: str | Path = DEFAULT_RUN,
    adapters: str | Path | Sequence[str | Path] = (),
    strength: float | None = None,
    sharpness: float | str | None = None,
    outscale: float | None = None,
    tile: int | None = None,
    tile_pad: int | None = None,
    ensemble: bool = False,
    device: str = "auto",
    precision: str = "auto",
    engine: EngineChoice = "auto",
    progress: Progress = SILENT,
) -> AnyArray:
    """Upscale one image in memory, to the same pixels as `adaptsr upscale` would write.

    Args:
        image: uint8 or uint16 of shape (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4), the last of two or four
            channels being transparency; or float32 in [0, 1] of shape (H, W, 3).
        model: A network of `load_backbone` (load it once for many images), or a checkpoint file or catalogue name; None
            for the run's merged model, else its backbone, else the embedded SAFMN x4.
        run: The run folder; as `adapters`, `strength` and `sharpness` not for a network that is open already.
        adapters: Adapter files whose updates are added to the backbone.
        strength: From 0, the backbone, to 1, the adapted model; None for 1.
        sharpness: How much of the run's perceptual adapter is added, from 0 to 1, or ``auto:FOLDER``.
        outscale: Final factor; None for the network's own.
        tile: Tile side in LR pixels; 0 for the whole image at once, None for what fits into memory.
        tile_pad: Context around a tile in LR pixels; None for what the network needs.
        ensemble: Average over eight flipped and rotated copies.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        engine: ``auto``, ``torch``, ``openvino`` or ``onnxruntime``, as for `upscale`.
        progress: Where remarks go.

    Returns:
        The image with ``round(factor * size)`` pixels a side, of the same type and with the same channels.

    Raises:
        ImageError: The array is not such an image, or the network fails on it.
        UsageError: An option cannot be used.
        AdaptsrError: The network cannot be opened, or there is not enough memory.
    """
    layers = _layers(image)
    adapted = {"adapters": adapters, "strength": strength, "sharpness": sharpness}
    values: dict[str, Any] = {
        **adapted,
        "run": run,
        "outscale": outscale,
        "tile": tile,
        "tile_pad": tile_pad,
        "ensemble": ensemble,
        "device": device,
        "precision": precision,
        "engine": engine,
    }
    settled = UpscaleOptions.of(values if model is None or isinstance(model, Backbone) else {**values, "model": model})
    if isinstance(model, Backbone):
        given = [f"`{name}`" for name, value in adapted.items() if value not in (None, (), [])]
        given += ["`run`"] if settled.run != DEFAULT_RUN else []
        if given:
            raise UsageError(f"{' and '.join(given)} beside a network that is open already", "name its file instead")
        upscaler = make_upscaler(model, settled, progress)
    else:
        upscaler = open_upscaler(settled, progress)
    if image.dtype == np.float32:
        factor = settled.outscale or upscaler.backbone.scale
        height_px, width_px = (max(1, round(factor * length)) for length in image.shape[:2])
        return resize_to(upscaler.run(image), width_px, height_px)
    picture = picture_of(layers, grey=layers.shape[2] <= 2)
    result = layers_of(upscale_picture(upscaler, picture, outscale=settled.outscale))
    return result[..., 0] if image.ndim == 2 else result


def _layers(image: AnyArray) -> AnyArray:
    """The image as (H, W, C).

    Raises:
        ImageError: It is none.
    """
    hint = "give uint8 or uint16 of shape (H, W) or (H, W, 1 to 4), or float32 of shape (H, W, 3)"
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"{type(image).__name__} is no array of pixels", f"{hint}; numpy.asarray makes one of a picture"
        )
    layers = image[..., None] if image.ndim == 2 else image
    if layers.ndim != 3 or not layers.size or layers.shape[2] not in _CHANNELS.get(image.dtype, ()):
        raise ImageError(f"an array of {image.dtype} and shape {image.shape} is not an image", hint)
    if image.dtype == np.float32:
        check_range(image, "this array is not an image")
    return layers
