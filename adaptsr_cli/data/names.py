"""Side, scale, split and pairing, read from the names of folders and files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from unicodedata import normalize

from adaptsr_cli.units import readable

Side = Literal["lr", "hr"]
SplitName = Literal["train", "val", "test"]

_SPLITS: Final[dict[str, SplitName]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_LR_WORD = re.compile(r"(?:lr|lq)(?P<kind>bic|bicubic|blur|unknown)?(?:x?(?P<scale>[2348]))?")
_HR_WORD = re.compile(r"(?:hr|gt|hq)(?:mod\d+)?")
_LR_WORDS = frozenset({"low", "lowres", "input", "inputs"})
_HR_WORDS = frozenset({"high", "highres", "target", "targets", "groundtruth"})
_KINDS = frozenset({"bic", "bicubic", "blur", "unknown", "mild", "difficult", "wild", "samesize"})
_SCALE_WORD = re.compile(r"x([2348])|([2348])x")
# Words that say nothing about which set a folder is: "image_SRF_4", "training_data", "DIV2K_train_HR".
_FILLERS = frozenset({"srf", "image", "images", "data", "div2k", "mod4"})

_SUFFIXES = (
    re.compile(r"(?<=.)[_\-. ]?x(?P<scale>[1-8])(?:m|d|w\d?|bic)?$", re.IGNORECASE),
    re.compile(r"(?<=.)[_\-. ](?P<side>lr|lq|hr|gt|hq)(?:[_-]?x?(?P<scale>[1-8]))?$", re.IGNORECASE),
    re.compile(r"(?<=.)[_\-. ]srf[_-]?(?P<scale>[1-8])$", re.IGNORECASE),
)
_PREFIX = re.compile(r"(?P<side>lr|lq|hr|gt|hq)[_\-. ](?=.)", re.IGNORECASE)


def plain_name(name: str | Path) -> str:
    """A name as it is shown and compared, whichever system wrote it: macOS takes letters with accents apart."""
    return normalize("NFC", readable(name))


@dataclass(frozen=True)
class FolderName:
    """Parts of a folder name.

    Attributes:
        side: Which side of pairs lies in it.
        scale: The factor it names, as in ``X4``, ``LRbicx4``, ``image_SRF_4`` or RealSR's plain ``4``.
        split: The split it names, where it names nothing else but side, scale and a known set.
        kind: How the LR side was made: ``bicubic``, ``unknown`` ...; empty where not said.
        rest: The words that are left, by which the two sides of one set are recognised.
    """

    side: Side | None
    scale: int | None
    split: SplitName | None
    kind: str
    rest: tuple[str, ...]


def read_folder_name(name: str) -> FolderName:
    """Take a folder name apart, such as ``DIV2K_train_LR_unknown`` or ``GTmod12``."""
    words = [word for word in re.split(r"[^a-z0-9]+", plain_name(name).lower()) if word]
    side: Side | None = None
    scale: int | None = None
    kind = ""
    rest: list[str] = []
    for place, word in enumerate(words):
        if found := _LR_WORD.fullmatch(word):
            side, kind = "lr", found["kind"] or kind
            scale = int(found["scale"]) if found["scale"] else scale
        elif _HR_WORD.fullmatch(word):
            side = "hr"
        elif word in _LR_WORDS or word in _HR_WORDS:
            side = "lr" if word in _LR_WORDS else "hr"
        elif word in _KINDS:
            kind = word
        elif found := _SCALE_WORD.fullmatch(word):
            scale = int(found[1] or found[2])
        elif word in {"2", "3", "4", "8"} and (len(words) == 1 or words[place - 1] == "srf"):
            scale = int(word)
        else:
            rest.append(word)
    meaning = [word for word in rest if word not in _FILLERS]
    split = _SPLITS.get(meaning[0]) if len(meaning) == 1 else None
    return FolderName(side, scale, split, {"bic": "bicubic"}.get(kind, kind), tuple(rest))


@dataclass(frozen=True)
class FileName:
    """Parts of a file name.

    Attributes:
        key: The name without side and scale, the same on both sides of a pair.
        side: The side it names, as in ``Canon_001_HR``.
        scale: The factor it names, as in ``0001x4`` or ``Canon_001_LR4``.
    """

    key: str
    side: Side | None
    scale: int | None


def read_file_name(stem: str) -> FileName:
    """Take a file name without its suffix apart.

    ``babyx4`` and ``baby``, ``Canon_001_LR4`` and ``Canon_001_HR``, ``img_001_SRF_4_LR`` and
    ``img_001_SRF_4_HR``, ``panasonic_7_x1`` and ``panasonic_7_x4`` have one key.
    """
    key, side, scale = stem, "", ""
    stripped = True
    while stripped:
        stripped = False
        for rule in _SUFFIXES:
            if found := rule.search(key):
                words = found.groupdict()
                side, scale = side or words.get("side") or "", scale or words.get("scale") or ""
                key, stripped = key[: found.start()], True
    if found := _PREFIX.match(key):
        side, key = side or found["side"], key[found.end() :]
    named: Side | None = ("lr" if side.lower() in {"lr", "lq"} else "hr") if side else None
    return FileName(key, named, int(scale) if scale else None)
