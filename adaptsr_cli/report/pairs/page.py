"""``pairs.html``: one self-contained page on the shots of ``adaptsr pair``. It talks to Jinja, which escapes all.

As in the report, the Content-Security-Policy allows the one script, by hash, and pictures that are part of the page.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from adaptsr_cli.artifacts.pairs import PairsRecord
from adaptsr_cli.report.pairs.views import view_shot

_MOST_PICTURE_BYTES: Final = 9_000_000  # a third more as text; mail lets 15 MB through


def render_pairs_page(record: PairsRecord, previews: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """The page, UTF-8. Of very many shots only the first have pictures; the others keep their figures.

    Args:
        record: ``pairs.json``.
        previews: Shot -> name -> JPEG, as `write_previews` names them.
    """
    views = []
    left = _MOST_PICTURE_BYTES
    for shot in record.shots:
        pictures = previews.get(shot.name, {})
        size = sum(map(len, pictures.values()))
        left -= size
        views.append(view_shot(shot, pictures if left >= 0 else {}))
    here = files("adaptsr_cli.report.pairs").joinpath("template")
    script = here.joinpath("pairs.js").read_text(encoding="utf-8")
    common = files("adaptsr_cli.report").joinpath("template/style.css").read_text(encoding="utf-8")
    page = (
        _environment()
        .get_template("pairs.html.jinja")
        .render(
            record=record,
            views=views,
            description=record.describe(),
            refused=sum(not shot.accepted for shot in record.shots),
            pairs=sum(shot.kept for shot in record.shots if shot.accepted),
            script=script,
            script_hash=b64encode(sha256(script.encode()).digest()).decode(),
            style=common + here.joinpath("pairs.css").read_text(encoding="utf-8"),
        )
    )
    return page.encode("utf-8", "backslashreplace")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("adaptsr_cli.report.pairs", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["jpeg"] = lambda data: f"data:image/jpeg;base64,{b64encode(data).decode()}"
    return environment
