"""Description of an image file: how it is stored, its colours, what goes with it, and what made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.colour import code_points, icc
from adaptsr_cli.io.decoding import decode_size, decode_xmp, find_fault, read_layout
from adaptsr_cli.io.exif import read_orientation
from adaptsr_cli.io.formats.kind import Layout
from adaptsr_cli.io.formats.table import find_by_suffix
from adaptsr_cli.io.images import read_note
from adaptsr_cli.io.integrity import is_whole
from adaptsr_cli.io.shot_exif import ShotFacts, parse_shot_facts
from adaptsr_cli.stages.info.describe import Facts
from adaptsr_cli.units import format_bytes

_OPEN_ENDED: Final = ("GIF", "JPEG XL", "camera raw")  # which may end without a mark
_NO_END: Final = "it does not end where its format says: cut off, or more follows"
_NEARLY_WHOLE: Final = 0.013
_ORIENTATIONS: Final = {
    2: "mirrored", 3: "turned by 180 degrees", 4: "mirrored, turned by 180 degrees", 5: "mirrored, turned left",
    6: "turned right", 7: "mirrored, turned right", 8: "turned left",
}  # fmt: skip


def describe_picture(path: Path) -> Facts:
    """Describe an image file by facts, in the order in which they should be shown.

    Raises:
        ImageError: It is none, it is damaged at its head, or a library that reads it is not installed.
    """
    name, layout = read_layout(path)
    width_px, height_px = decode_size(path)
    named = find_by_suffix(path.suffix)
    as_named = named is not None and named.name == name
    megapixels = width_px * height_px / 1e6
    facts = {
        "kind": f"image, {name}" + ("" if as_named else f", though its name ends in {path.suffix or 'nothing'}"),
        "pixels": f"{width_px} x {height_px}" + (f" ({megapixels:.1f} MP)" if megapixels >= 0.1 else ""),
        "channels": f"{layout.channels}, {layout.bits}",
        "pictures": layout.pictures,
        "stored": ", ".join(layout.details),
        "colour": _describe_colour(layout),
    }
    shot = parse_shot_facts(layout.exif) if layout.exif else ShotFacts()
    facts |= _describe_shot(shot)
    facts["orientation"] = _ORIENTATIONS.get(read_orientation(layout.exif or b""), "")
    facts |= _describe_attached(path, layout)
    facts["software"] = shot.software or ""
    facts["made by"] = _describe_maker(path)
    facts["damage"] = find_fault(path) or ("" if is_whole(path) or name in _OPEN_ENDED else _NO_END)
    return {what: text for what, text in facts.items() if text}


def _describe_colour(layout: Layout) -> str:
    parts = list(layout.colours)
    if layout.icc:
        parts.append(f"profile {icc.read_description(layout.icc) or icc.read_space(layout.icc) or 'without a name'}")
    if layout.cicp:
        parts.append(f"{code_points.describe(layout.cicp)} {layout.cicp}")
    return "; ".join(parts) or "not said: shown as sRGB"


def _describe_shot(shot: ShotFacts) -> Facts:
    camera = shot.camera or ""
    if shot.maker and not camera.lower().startswith(shot.maker.split()[0].lower()):
        camera = f"{shot.maker} {camera}".strip()
    focal = "" if shot.focal_mm is None else f"{shot.focal_mm:g} mm"
    if shot.focal_35_mm is not None:
        focal += f" ({shot.focal_35_mm:g} mm on 24 x 36 mm)"
    return {
        "camera": camera,
        "taken": "" if shot.taken is None else f"{shot.taken:%Y-%m-%d %H:%M:%S}",
        "focal length": focal.strip(),
        "position": "in EXIF (GPS)" if shot.has_position else "",
    }


def _describe_attached(path: Path, layout: Layout) -> Facts:
    """What goes with the picture: its resolution, and what kinds of texts it has."""
    xmp = decode_xmp(path)
    sizes = {"EXIF": len(layout.exif or b""), "XMP": len(xmp or b"")}
    held = [f"{name} ({format_bytes(size)})" for name, size in sizes.items() if size]
    held += ["IPTC"] if layout.iptc else []
    held += [f"texts ({', '.join(layout.texts)})"] if layout.texts else []
    resolution = ""
    if layout.dpi is not None:
        across, down = (_snap(float(number)) for number in layout.dpi)
        resolution = f"{across:g} dpi" if across == down else f"{across:g} x {down:g} dpi"
    return {"resolution": resolution, "coordinates": layout.ground, "holds": ", ".join(held)}


def _snap(dpi: float) -> float:
    """What a file rounded to whole pixels a metre, put right."""
    return float(round(dpi)) if abs(dpi - round(dpi)) < _NEARLY_WHOLE else round(dpi, 2)


def _describe_maker(path: Path) -> str:
    """What our own note says; empty where there is none."""
    try:
        note: Any = json.loads(read_note(path) or "null")
    except (AdaptsrError, ValueError, RecursionError):
        return ""
    if not isinstance(note, dict) or note.get("artifact") != "upscaled":
        return ""
    factor = note.get("outscale")
    parts = [
        f"adaptsr {note.get('tool_version')}: upscaled x{factor:g}" if isinstance(factor, int | float) else "adaptsr",
        f"by {note.get('network') or 'a network'} (weights sha256 {str(note.get('weights_sha256'))[:16]})",
        f"in {note.get('precision')}",
    ]
    if note.get("ensemble") is True:
        parts.append("with ensemble")
    if note.get("quality") is not None:
        parts.append(f"at quality {note['quality']}")
    return " ".join(parts)
