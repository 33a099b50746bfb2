"""``pairs.html`` as text: what it says, and that it says it the same every time."""

from __future__ import annotations

import re

from report.pair_pages import make_previews, make_record, make_shot_record

from adaptsr_cli.report.pairs.page import render_pairs_page
from adaptsr_cli.report.pairs.views import view_shot


def test_the_page_is_complete_in_itself_and_always_the_same() -> None:
    page = render_pairs_page(make_record(), make_previews())
    assert page == render_pairs_page(make_record(), make_previews())
    text = page.decode()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "2 pairs of 1 shot" in text
    assert "pairs made by adaptsr pair, x2, 2 pairs of 1 shot" in text


def test_a_refused_shot_says_why() -> None:
    text = render_pairs_page(make_record(make_shot_record(accepted=False)), {}).decode()
    assert "the tele photo is out of focus at the right" in text
    assert "0 pairs of 1 shot" in text
    assert "1 shot was refused" in text


def test_names_are_escaped() -> None:
    text = render_pairs_page(make_record(make_shot_record(file="<img src=x onerror=1>")), make_previews()).decode()
    assert "<img src=x" not in text


def test_blocks_lie_where_the_mapping_puts_them() -> None:
    view = view_shot(make_shot_record(), {})
    assert [block.kind for block in view.blocks] == ["kept", "dropped", "kept"]
    corners = [tuple(map(float, corner.split(","))) for corner in view.blocks[0].tele.split()]
    # Zoom 2 about the middle, but for a little distortion.
    assert abs(corners[0][0] - (320 + 2 * (160 - 320))) < 6
    assert abs(corners[2][1] - (240 + 2 * (168 - 240))) < 6
    arrow = view.blocks[1].arrow
    assert arrow is not None
    assert abs(arrow[2] - arrow[0]) <= 48  # as long as a block at most
