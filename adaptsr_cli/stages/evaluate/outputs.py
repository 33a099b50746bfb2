"""Outputs of another system: which file of its folder was made of which image."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from adaptsr_cli.data.names import plain_name, read_file_name
from adaptsr_cli.errors import DataError
from adaptsr_cli.io.contents import read_contents

_BEHIND: Final = re.compile(r"(?:[^0-9a-z]|x\d).*", re.IGNORECASE | re.DOTALL)  # _x4, -4x, _SwinIR, (1), x4
_BEFORE: Final = re.compile(r".*[^0-9a-z]", re.IGNORECASE | re.DOTALL)  # SR_, 4x-

Outputs = Mapping[str, Mapping[str, Sequence[Path]]]
"""Folder below the root -> name without type -> files of that name."""


def find_outputs(folder: Path, images: Sequence[str]) -> dict[str, Path]:
    """The output for each image that has one.

    An output is called as its image, with or without something behind or before: ``baby.png``, ``baby_x4_SwinIR.png``,
    ``baby-4x.png``, ``SR_baby.png``. With several data folders images are called ``Set5/baby``; their outputs lie in
    ``Set5/`` below the folder, or in the folder itself where no two images would then share one.

    Args:
        folder: Where the outputs lie.
        images: Names of the images.

    Raises:
        DataError: An image has several outputs, or an output several images, or no image has an output.
    """
    contents = read_contents(folder)
    outputs: dict[str, dict[str, list[Path]]] = {}
    for parts, paths in contents.images.items():
        place = outputs.setdefault(plain_name("/".join(parts)), {})
        for path in paths:
            place.setdefault(plain_name(path.stem), []).append(path)
    outputs = {place: dict(sorted(named.items())) for place, named in outputs.items()}
    names = sorted(plain_name(image.split("/")[-1]) for image in images)
    chosen = {image: _find_output(plain_name(image), names, outputs, folder) for image in images}
    found = {image: output for image, output in chosen.items() if output is not None}
    if not found:
        others = "; ".join(group.describe() for group in contents.unread())
        raise DataError(
            f"{folder} has no image for {images[0]!r}, nor for any other" + (f", but {others}" if others else ""),
            "convert them to PNG" if others else f"name it as the HR image: {Path(images[0]).name}.png",
        )
    image_of: dict[Path, str] = {}
    for image, output in found.items():
        if output in image_of:
            raise DataError(
                f"{output} would be the output for both {image_of[output]} and {image}",
                f"put each set's outputs into a folder of its own, such as {folder / Path(image).parent}",
            )
        image_of[output] = image
    return found


def _find_output(image: str, all_names: Sequence[str], outputs: Outputs, folder: Path) -> Path | None:
    """The one output for an image, the longest form of its name first; None where there is none.

    Args:
        image: Its name.
        all_names: Names of all images without their folders, sorted.
        outputs: By folder and name, the names sorted.
        folder: For messages.
    """
    parts = image.split("/")
    for start in range(len(parts)):
        here = outputs.get("/".join(parts[start:-1]), {})
        paths = [path for name in _names_of(parts[-1], list(here), all_names) for path in here[name]]
        if len(paths) > 1:
            raise DataError(
                f"{folder} has {len(paths)} images for {image!r}: {paths[0].name}, {paths[1].name}",
                "leave one of each there",
            )
        if paths:
            return paths[0]
    return None


def _names_of(image: str, names: Sequence[str], all_names: Sequence[str]) -> list[str]:
    """The names that may be those of an image's output: equal ones, else those with more behind, else before."""
    if image in names:
        return [image]
    longer = _longer(image, all_names)  # img_1 beside img: img_1_x4 is not img's
    behind = [
        name for name in _longer(image, names) if not any(name == other or _is_behind(other, name) for other in longer)
    ]
    if behind:
        return behind
    if before := [name for name in names if name.endswith(image) and _BEFORE.fullmatch(name[: -len(image)])]:
        return before
    key = read_file_name(image).key
    return [] if key == image else [name for name in names if name == key] or _longer(key, names)


def _longer(image: str, names: Sequence[str]) -> list[str]:
    """Those of sorted names that are `image` with something behind."""
    found = []
    for name in islice(names, bisect_left(names, image), None):
        if not name.startswith(image):
            break
        if _is_behind(image, name):
            found.append(name)
    return found


def _is_behind(image: str, name: str) -> bool:
    return name.startswith(image) and _BEHIND.fullmatch(name[len(image) :]) is not None
