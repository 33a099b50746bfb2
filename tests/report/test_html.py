"""The report as a file: whole, harmless, the same every time, and small enough for a mail."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from report.pages import make_content, make_evaluation

from adaptsr_cli.io.images import decode_rgb
from adaptsr_cli.report.html import MAX_BYTES, render_report
from adaptsr_cli.units import readable

VOID = {"meta", "link", "img", "input", "br"}
NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></script>",
    "{{ 7 * 7 }}",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "bad\udcffbyte",
    "ångström Δ 画像",
)


class Page(HTMLParser):
    """Reads a page and refuses what is not closed in order; keeps tags and visible text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page.decode("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_well_formed_and_complete() -> None:
    page = Page(render_report(make_content()))
    identifiers = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    links = [str(attributes["href"]) for attributes in page.of("a")]
    assert {"#main", "#pictures", "#scores", "#images", "#adaptation", "#provenance"} == set(links)
    assert {link[1:] for link in links} <= set(identifiers)
    labelled = [str(attributes["aria-labelledby"]) for _, attributes in page.tags if "aria-labelledby" in attributes]
    assert labelled
    assert set(labelled) <= set(identifiers)
    assert all(attributes.get("alt") for attributes in page.of("img"))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.of(landmark)) == 1
    text = " ".join("".join(page.text).split())
    for part in ("SAFMN ×4, adapted", "+0.20 dB", "Not decided", "feats.#", "trained in 10 s", "dists: no weights"):
        assert part in text


def test_nothing_can_be_fetched() -> None:
    page = render_report(make_content())
    assert not re.search(rb"https?://|//[a-z]+\.|@import|url\(", page)
    found = Page(page)
    for _, attributes in found.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert re.match(r"data:|#", attributes.get(name) or "data:")
        assert not [name for name in attributes if name.startswith("on")]
    (policy,) = [str(entry["content"]) for entry in found.of("meta") if "http-equiv" in entry]
    script = page.split(b"<script>")[1].split(b"</script>")[0]
    assert f"script-src 'sha256-{b64encode(sha256(script).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_letter_by_letter(name: str) -> None:
    evaluation = make_evaluation((name, "b", "c"), ("backbone", name)).model_copy(update={"data": name})
    page = render_report(make_content(evaluation))
    plain = Page(render_report(make_content(make_evaluation(("a", "b", "c"), ("backbone", "merged")))))
    found = Page(page)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
    shown = readable(name)
    assert "".join(found.text).count(shown) > 5


def test_the_same_evaluation_gives_the_same_bytes() -> None:
    assert render_report(make_content()) == render_report(make_content())


def test_the_pictures_are_those_that_were_given() -> None:
    found = Page(render_report(make_content(shown=2)))
    pictures = {
        str(image["alt"]): decode_rgb(b64decode(str(image["src"]).partition(",")[2])) for image in found.of("img")
    }
    assert pictures["a, backbone"].shape == (480, 480, 3)
    assert abs(pictures["a, backbone"].mean(axis=(0, 1)) - (200, 30, 30)).max() < 3
    assert abs(pictures["c, merged"].mean(axis=(0, 1)) - (30, 60, 200)).max() < 3
    assert not [alt for alt in pictures if alt.startswith("b,")]


def test_a_thousand_images_fit_into_a_mail() -> None:
    names = [f"folder/with a long name/{number:04d}" for number in range(1000)]
    evaluation = make_evaluation(names, gains_db=[0.5 - 0.001 * number for number in range(1000)])
    page = render_report(make_content(evaluation, shown=12, noise=True))
    assert len(page) < MAX_BYTES
    found = Page(page)
    text = "".join(found.text)
    assert all(name in text for name in names)
    assert "Most improved" in text
    assert "Most harmed" in text


def test_of_more_images_than_fit_the_table_shows_the_ends() -> None:
    names = [f"{number:05d}" + "&" * 200 for number in range(9000)]
    evaluation = make_evaluation(names, gains_db=[0.5 - 0.0001 * number for number in range(9000)])
    page = render_report(make_content(evaluation, shown=2))
    assert len(page) < MAX_BYTES
    assert b"00000&amp;" in page
    assert b"08999&amp;" in page
    assert b"04500&amp;" not in page
    assert b"the best and the worst" in page


def test_a_model_of_others_has_no_story() -> None:
    content = make_content(make_evaluation(models=("one", "two", "three")))
    found = Page(render_report(replace(content, adaptation=None)))
    text = " ".join("".join(found.text).split())
    assert "three against one" in text
    assert "Adaptation" not in text
    assert "second best underlined" in text


def test_one_model_and_one_image_alone_are_no_comparison() -> None:
    lone = make_evaluation(("a",), ("backbone",), gains_db=[0.0])
    text = " ".join("".join(Page(render_report(replace(make_content(lone), adaptation=None))).text).split())
    assert "there is nothing to compare it with" in text
    assert "gained" not in text


def test_without_a_metric_that_judges_there_is_no_verdict() -> None:
    evaluation = make_evaluation(metrics={"blur_px": 1.0})
    content = replace(make_content(), evaluation=evaluation, details=[])
    text = " ".join("".join(Page(render_report(content)).text).split())
    assert "there is no verdict" in text
    assert "Drag the slider" not in text


def test_a_model_in_between_may_lack_a_metric() -> None:
    evaluation = make_evaluation(models=("one", "two", "three"))
    images = tuple(
        image.model_copy(update={"models": image.models | {"two": {"lpips_alex": 0.2}}}) for image in evaluation.images
    )
    content = replace(make_content(evaluation), evaluation=evaluation.model_copy(update={"images": images}))
    text = "".join(Page(render_report(content)).text)
    assert "–" in text
    assert "+0.50 dB" in text


def test_the_trials_of_a_search_are_shown() -> None:
    text = " ".join(" ".join(Page(render_report(make_content())).text).split())
    assert "method learning rate 22 steps 44 steps result" in text
    assert "full 0.001 +0.20 dB +0.15 dB full 1 failed lora 0.0005 +0.18 dB +0.30 dB goes on" in text
