"""``pairs.html`` in a real browser: slider, blinking and overlays work, and nothing leaves the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")
from browser.chromium import LOW_CONTRAST, NEEDS_CHROMIUM, Browser, open_watched
from report.pair_pages import PLAIN, make_previews, make_record, make_shot_record

from adaptsr_cli.report.pairs.page import render_pairs_page

pytestmark = NEEDS_CHROMIUM

NAMES = ("first", "second")


def page() -> bytes:
    shots = (make_shot_record("first"), make_shot_record("second", accepted=False))
    return render_pairs_page(make_record(*shots), make_previews(*NAMES))


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The page of two shots."""
    with open_watched(chromium, page()) as watched:
        yield watched


def seen(browser: Browser, across: float) -> str:
    return browser.colour_at(".sheet", PLAIN, across)


def test_the_divider_is_dragged_on_the_picture(browser: Browser) -> None:
    assert (seen(browser, 0.4), seen(browser, 0.6)) == ("LR", "HR")
    sheet = browser.one(".sheet")
    width = sheet.size["width"]
    browser.actions().move_to_element(sheet).click_and_hold().move_by_offset(int(0.3 * width), 5).release().perform()
    assert (seen(browser, 0.7), seen(browser, 0.9)) == ("LR", "HR")
    assert browser.one(".compare input").get_property("value") == "80"


def test_the_keyboard_moves_the_divider(browser: Browser) -> None:
    handle = browser.one(".compare input")
    handle.send_keys("\ue011")  # Home
    assert seen(browser, 0.1) == "HR"
    handle.send_keys("\ue010")  # End
    assert seen(browser, 0.9) == "LR"
    assert handle.get_attribute("aria-valuetext") == "100 % LR, the rest HR"


def test_blinking_shows_one_after_the_other_and_stops(browser: Browser) -> None:
    button = browser.one(".compare button")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    at = "return document.querySelector('.sheet').style.getPropertyValue('--split')"
    for wanted in ("100", "0", "100"):
        browser.wait(at.replace("return ", "return '" + wanted + "' === "))
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert browser.run(at) == "50"


def test_hr_is_shown_pixel_by_pixel(browser: Browser) -> None:
    # 240 px wide pictures in a frame that holds 480: the frame is as large as the picture.
    assert browser.run("return document.querySelector('.high').getBoundingClientRect().width") == pytest.approx(
        240, abs=1
    )


def test_blocks_lie_on_both_photographs(browser: Browser) -> None:
    assert len(browser.all(".shot:first-of-type .frame polygon.kept")) == 4
    assert len(browser.all(".shot:first-of-type .frame polygon.dropped")) == 2
    assert len(browser.all(".shot:last-of-type .frame polygon.spare")) == 4
    box = "const b = document.querySelector('{}').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
    frame, block = (browser.run(box.format(name)) for name in (".frame", ".frame polygon"))
    assert (block[0] - frame[0]) / frame[2] == pytest.approx(160 / 640, abs=0.01)
    assert block[2] / frame[2] == pytest.approx(48 / 640, abs=0.01)


def test_light_and_dark_can_be_read(browser: Browser) -> None:
    for dark in (False, True):
        browser.open(page(), dark=dark)
        assert (browser.look("header").mean() < 80) == dark
        assert browser.run(LOW_CONTRAST) == []


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_no_width_scrolls_sideways(browser: Browser, width: int) -> None:
    shots = (make_shot_record("a-very-long-name-of-a-shot-" * 6, file="another-long-name-of-a-file-" * 5),)
    browser.open(render_pairs_page(make_record(*shots), make_previews(shots[0].name)), width=width, height=740)
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_without_script_lr_and_hr_stand_beside_each_other(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.refresh()
        assert (seen(browser, 0.25), seen(browser, 0.75)) == ("LR", "HR")
        assert not browser.one(".compare input").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
