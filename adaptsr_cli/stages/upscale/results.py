"""Results of earlier calls among the inputs: they are not upscaled once more.

A result says in its own metadata that it is one. Where a format holds no metadata, or they were taken out, its name
and size tell: it is called as another input with a suffix, and is that much larger.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.hashing import file_fingerprint
from adaptsr_cli.io.images import image_size
from adaptsr_cli.io.result_mark import read_mark
from adaptsr_cli.stages.upscale.inputs import Inputs, LeftOut, Source

_FACTOR: Final = re.compile(r"(.+?)_x(\d+(?:\.\d+)?)")
_HINT: Final = "name it by itself to upscale it again"


def set_results_aside(found: Inputs) -> Inputs:
    """Move the results of earlier calls from the inputs to what is left out.

    One that was found in a folder is always left out. One that was named is an input, unless what it was made of is an
    input too: then the names come from a pattern such as ``*.png``.
    """
    by_stem: dict[str, list[Source]] = defaultdict(list)
    for source in found.sources:
        by_stem[source.path.stem].append(source)
    kept, left_out = [], list(found.left_out)
    for source in found.sources:
        reason = _explain(source, by_stem)
        if reason is None:
            kept.append(source)
        else:
            left_out.append(LeftOut(source.path, f"{reason}: not upscaled again", _HINT))
    return Inputs(kept, found.errors, left_out)


def _explain(source: Source, by_stem: dict[str, list[Source]]) -> str | None:
    """Why an input is a result; None where it is none, or is wanted."""
    origins = _possible_origins(source, by_stem)
    mark = read_mark(source.path) if source.listed or origins else None
    if mark is None:
        return _explain_by_size(source, origins)
    origin = next((other for other in origins if _fingerprint(other.path) == mark.source), None)
    if origin is not None:
        return f"is the result of {origin.path}"
    if source.listed:
        return f"was made by adaptsr (x{mark.factor:g})"
    origin = next((other for other in origins if _has_suffix_of(source.path.stem, other.path.stem)), None)
    return f"is the result of {origin.path} as it was before" if origin is not None else None


def _possible_origins(source: Source, by_stem: dict[str, list[Source]]) -> list[Source]:
    """The other inputs whose name the name of this one begins with."""
    stem = source.path.stem
    # From the longest: of a_x2_x2.png it is a_x2.png rather than a.png.
    names = [stem[:length] for length in range(len(stem), 0, -1) if stem[:length] in by_stem]
    return [other for name in names for other in by_stem[name] if other.path != source.path]


def _has_suffix_of(stem: str, origin: str) -> bool:
    """Whether a name is another one with a suffix such as ``_x4``; not so img_10 and img_1."""
    return not stem[len(origin) : len(origin) + 1].isalnum()


def _explain_by_size(source: Source, origins: Sequence[Source]) -> str | None:
    named = _FACTOR.fullmatch(source.path.stem)
    if named is None:
        return None
    for origin in origins:
        if origin.path.stem == named[1] and is_enlarged(origin.path, source.path, float(named[2])):
            return f"is {origin.path} upscaled x{named[2]}, by name and size"
    return None


def is_enlarged(small: Path, large: Path, factor: float) -> bool:
    """Whether a picture is so many times as large as another one, as its header tells."""
    try:
        before, after = image_size(small), image_size(large)
    except AdaptsrError:
        return False
    return factor > 1 and all(
        to_px == max(1, round(factor * from_px)) for from_px, to_px in zip(before, after, strict=True)
    )


def _fingerprint(path: Path) -> str | None:
    try:
        return file_fingerprint(path)
    except AdaptsrError:
        return None
