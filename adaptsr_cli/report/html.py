"""``report.html``: one self-contained page. The only file that talks to Jinja, which escapes all that it is given.

The page may fetch nothing: its Content-Security-Policy allows the one script in it, by hash, and pictures that are
part of it. The same input gives the same bytes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.base import BackboneIdentity, Provenance
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.report.camera_charts import Estimate, camera_charts, describe_camera, guard_charts
from adaptsr_cli.report.charts import training_charts
from adaptsr_cli.report.dial import describe_equal, dial_charts, dial_table
from adaptsr_cli.report.findings import describe_seen, fold_rows, headline, list_warnings, side_findings
from adaptsr_cli.report.gallery import ImageDetail, encode
from adaptsr_cli.report.views import (
    describe_adapter,
    describe_protocol,
    gain_charts,
    heat_tables,
    image_table,
    picture_cards,
    score_table,
)

MAX_BYTES: Final = 15_000_000  # what mail lets through
_MAX_PICTURE_BYTES: Final = 7_000_000  # a third more as text
_MAX_CELLS: Final = 40_000  # of the table of images
_MIN_ROWS: Final = 50


@dataclass(frozen=True)
class Adaptation:
    """What the run folder knows of how the model was adapted; what it does not have is None or empty.

    Attributes:
        search: How method and learning rate were found.
        card: What training has cost, in lines for people.
        camera: As photographs or pairs show it, where it was estimated.
        guard: What strength a training without pairs may have.
        steps: Stage and what made its artifact.
    """

    backbone: BackboneIdentity
    rank_map: RankMap | None = None
    adapter: AdapterHeader | None = None
    log: Sequence[LogRow] = ()
    search: SearchRecord | None = None
    card: Sequence[str] = ()
    camera: Estimate | None = None
    guard: GuardRecord | None = None
    steps: Sequence[tuple[str, Provenance]] = ()


@dataclass(frozen=True)
class ReportContent:
    """Everything that the page shows.

    Attributes:
        specimens: Details of the images that are shown, best first.
        adaptation: None where the scored models are not those of a run.
        machine: Where it was evaluated.
    """

    evaluation: Evaluation
    details: Sequence[ImageDetail]
    adaptation: Adaptation | None
    machine: str


def render_report(content: ReportContent) -> bytes:
    """The page, UTF-8, smaller than `MAX_BYTES`.

    Pictures get the best quality that fits; of very many images the table shows the ends.
    """
    evaluation = content.evaluation
    quality, encoded = encode(content.details, _MAX_PICTURE_BYTES)
    columns = len(evaluation.models[0].metrics) * (len(evaluation.models) + 1) + 1
    rows = max(_MIN_ROWS, min(len(evaluation.images), _MAX_CELLS // columns))
    script = files("adaptsr_cli.report").joinpath("template/script.js").read_text(encoding="utf-8")
    style = files("adaptsr_cli.report").joinpath("template/style.css").read_text(encoding="utf-8")
    story = content.adaptation
    given = {
        "evaluation": evaluation,
        "adaptation": story,
        "adapter": describe_adapter(story.adapter, story.rank_map) if story else (),
        "heat": heat_tables(story.rank_map) if story else (),
        "training": training_charts(story.log) if story else (),
        "camera": describe_camera(story.camera) if story and story.camera else (),
        "camera_charts": (
            [*(camera_charts(story.camera) if story.camera else ()), *guard_charts(story.guard)] if story else []
        ),
        "guard": story.guard.describe() if story and story.guard else "",
        "dial": evaluation.dial,
        "dial_charts": dial_charts(evaluation.dial) if evaluation.dial else (),
        "dial_table": dial_table(evaluation.dial) if evaluation.dial else None,
        "dial_equal": describe_equal(evaluation.dial) if evaluation.dial else "",
        "search": story.search.table() if story and story.search else None,
        "steps": (*(story.steps if story else ()), ("eval", evaluation.provenance)),
        "machine": content.machine,
        "first": evaluation.models[0].name,
        "last": evaluation.models[-1].name,
        "seen": describe_seen(evaluation),
        "folds": fold_rows(evaluation),
        "headline": headline(evaluation),
        "warnings": list_warnings(evaluation),
        "side_findings": side_findings(evaluation),
        "cards": picture_cards(evaluation, encoded),
        "quality": quality,
        "scores": score_table(evaluation),
        "protocol": describe_protocol(evaluation),
        "script": script,
        "script_hash": b64encode(sha256(script.encode()).digest()).decode(),
        "style": style,
    }
    template = _environment().get_template("report.html.jinja")
    while True:
        text = template.render(given, table=image_table(evaluation, rows), gain_charts=gain_charts(evaluation, rows))
        # Names of files may hold bytes that are no UTF-8.
        page = text.encode("utf-8", "backslashreplace")
        if len(page) < MAX_BYTES or rows <= _MIN_ROWS:
            return page
        rows = max(_MIN_ROWS, rows // 2)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("adaptsr_cli.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["jpeg"] = _data_address
    environment.filters["thousands"] = "{:,}".format
    return environment


def _data_address(jpeg: bytes) -> str:
    """A JPEG as an address that needs no file."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
