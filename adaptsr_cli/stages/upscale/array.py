"""Super-resolution of images that a Python program holds as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adaptsr_cli.errors import UsageError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_picture
from adaptsr_cli.io.pictures import layers_of, picture_of
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.common.fields import DEFAULT_RUN
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import open_upscaler


def upscale_array(
    image: np.ndarray,
    *,
    model: str | Path | None = None,
    adapters: str | Path | Sequence[str | Path] = (),
    strength: float | None = None,
    sharpness: float | str | None = None,
    outscale: float | None = None,
    ensemble: bool = False,
    run: str | Path = DEFAULT_RUN,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    upscaler: Upscaler | None = None,
    progress: Progress = SILENT,
) -> np.ndarray:
    """Upscale one image.

    The arguments mean what the fields of `UpscaleOptions` mean. Each call loads the network; for several images open
    it once and pass it on::

        upscaler = open_upscaler(UpscaleOptions(model="merged.safetensors"))
        images = [upscale_array(image, upscaler=upscaler) for image in images]

    Args:
        image: (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4), uint8 or uint16: grey or RGB, with alpha or not.
        model: Checkpoint file or catalogue name; None for the run's merged model, else its backbone, else SAFMN x4.
        adapters: Adapter files whose updates are added to the backbone.
        strength: From 0, the backbone, to 1, the adapted model; None for 1.
        sharpness: How much of the run's perceptual adapter is added, from 0 to 1, or ``auto:FOLDER``.
        outscale: Final factor; None for the network's own.
        ensemble: Average over eight rotated and mirrored copies.
        run: The run folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        engine: ``auto``, ``torch``, ``openvino`` or ``onnxruntime``.
        upscaler: An open network, in place of all other arguments but `outscale`.
        progress: Told which network was loaded.

    Returns:
        The image with ``round(factor * size)`` pixels a side, of the same type and with the same channels.

    Raises:
        UsageError: `image` is not such an array, or an argument is not usable.
        CheckpointError: The model file is no usable network.
        ArtifactError: An adapter or a model belongs to another backbone.
        ImageError: The network fails on this image.
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (2, 3) or 0 in image.shape:
        raise UsageError(
            f"`image` is an array of {image.dtype} and shape {image.shape}",
            "pass uint8 or uint16 of shape (height, width) or (height, width, channels)",
        )
    layers = image[..., None] if image.ndim == 2 else image
    if layers.shape[2] > 4:
        raise UsageError(f"`image` has {layers.shape[2]} channels", "pass 1 (grey), 2, 3 (RGB) or 4 (RGB and alpha)")
    if upscaler is None:
        values = {
            "adapters": adapters,
            "strength": strength,
            "sharpness": sharpness,
            "ensemble": ensemble,
            "run": run,
            "device": device,
            "precision": precision,
            "engine": engine,
        }
        chosen = UpscaleOptions.of(values if model is None else values | {"model": str(model)})
        upscaler = open_upscaler(chosen, progress)
    picture = picture_of(layers, grey=layers.shape[2] <= 2)
    result = layers_of(upscale_picture(upscaler, picture, outscale=outscale))
    return result[..., 0] if image.ndim == 2 else result
