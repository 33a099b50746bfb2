"""The report in a real browser: what people do with it works, and nothing leaves the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")
from browser.chromium import LOW_CONTRAST, NEEDS_CHROMIUM, Browser, open_watched
from report.pages import COLOURS, make_content, make_evaluation
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from adaptsr_cli.report.html import render_report

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The page of a small evaluation."""
    with open_watched(chromium, render_report(make_content())) as watched:
        yield watched


def colour_at(browser: Browser, selector: str, across: float, down: float = 0.8) -> str:
    return browser.colour_at(selector, COLOURS, across, down)


def test_the_slider_is_dragged_on_the_picture_and_the_picture_changes(browser: Browser) -> None:
    assert colour_at(browser, ".stage", 0.4) == "backbone"
    assert colour_at(browser, ".stage", 0.6) == "merged"
    stage = browser.one(".stage")
    width = stage.size["width"]
    browser.actions().move_to_element(stage).click_and_hold().move_by_offset(int(0.3 * width), 40).release().perform()
    assert colour_at(browser, ".stage", 0.7) == "backbone"
    assert colour_at(browser, ".stage", 0.9) == "merged"
    assert browser.one(".split").get_property("value") == "80"


def test_the_range_is_dragged_by_the_mouse(browser: Browser) -> None:
    handle = browser.one(".split")
    browser.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", handle)
    far = int(0.3 * handle.size["width"])
    browser.actions().move_to_element(handle).click_and_hold().move_by_offset(-far, 0).release().perform()
    assert colour_at(browser, ".stage", 0.1) == "backbone"
    assert colour_at(browser, ".stage", 0.3) == "merged"


def test_the_keyboard_alone_is_enough(browser: Browser) -> None:
    body = browser.one("body")
    body.send_keys(Keys.TAB)
    assert browser.run("return document.activeElement.textContent") == "Skip to the results"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "main"
    reached = []
    for _ in range(12):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.run("return document.activeElement.className || document.activeElement.tagName"))
        outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"the focus is not seen on {reached[-1]}"
        if reached[-1] == "split":
            break
    assert reached[-2:] == ["stage", "split"]
    handle = browser.driver.switch_to.active_element
    handle.send_keys(*[Keys.ARROW_RIGHT] * 30)
    assert handle.get_property("value") == "80"
    assert handle.get_attribute("aria-valuetext") == "80 % backbone, the rest merged"
    assert colour_at(browser, ".stage", 0.7) == "backbone"
    handle.send_keys(Keys.HOME)
    assert colour_at(browser, ".stage", 0.1) == "merged"
    handle.send_keys("++")
    assert browser.one("output").text == "4×"
    stage = browser.one(".stage")
    before = browser.run("return arguments[0].style.getPropertyValue('--x')", stage)
    stage.send_keys(Keys.ARROW_RIGHT)
    assert float(browser.run("return arguments[0].style.getPropertyValue('--x')", stage)) < float(before)
    stage.send_keys("0")
    assert browser.one("output").text == "1×"
    stage.send_keys(Keys.ARROW_RIGHT)
    assert handle.get_property("value") == "1"


def test_every_side_can_show_every_layer(browser: Browser) -> None:
    left, right = (Select(browser.one(f".card select[data-side={side}]")) for side in ("left", "right"))
    assert [option.text for option in left.options] == ["LR, bicubic", "backbone", "merged", "HR"]
    left.select_by_visible_text("HR")
    assert colour_at(browser, ".stage", 0.3) == "HR"
    right.select_by_visible_text("HR")
    assert colour_at(browser, ".stage", 0.7) == "HR"
    right.select_by_visible_text("LR, bicubic")
    assert (colour_at(browser, ".stage", 0.3), colour_at(browser, ".stage", 0.7)) == ("HR", "LR, bicubic")
    assert browser.one(".tag-right").text == "LR, bicubic"
    Select(browser.one("select[data-all=right]")).select_by_visible_text("merged")
    last = ".card:last-of-type .stage"
    assert colour_at(browser, ".stage", 0.7) == colour_at(browser, last, 0.7) == "merged"


def test_zoom_by_buttons_wheel_and_fingers(browser: Browser) -> None:
    stage, shown = browser.one(".stage"), browser.one("output")
    scale = "return new DOMMatrix(getComputedStyle(document.querySelector('.pane.left img')).transform).a"
    browser.one("[data-zoom=in]").click()
    assert shown.text == "2×"
    assert browser.run(scale) == pytest.approx(2)
    browser.one("[data-zoom=out]").click()
    assert browser.run(scale) == pytest.approx(1)
    browser.run("document.activeElement.blur()")
    browser.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", stage)
    origin = ScrollOrigin.from_element(stage)
    top = browser.run("return scrollY")
    browser.actions().scroll_from_origin(origin, 0, -40).perform()
    assert browser.run(scale) == pytest.approx(1)  # the page scrolls until the picture is clicked
    browser.wait(f"return scrollY < {top}")
    browser.actions().click(stage).perform()
    browser.actions().scroll_from_origin(ScrollOrigin.from_element(stage), 0, -100).perform()
    browser.wait(f"return (() => {{ {scale} }})() > 1.2")
    browser.one("[data-zoom=fit]").click()
    assert shown.text == "1×"
    browser.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", stage)
    box = browser.run("const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width]", stage)

    def touch(kind: str, apart: float) -> None:
        middle = (box[0] + box[2] / 2, box[1] + box[2] / 2)
        places = [{"x": middle[0] + sign * apart, "y": middle[1], "id": sign + 1} for sign in (-1, 1)]
        points = [] if kind == "touchEnd" else places
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    touch("touchStart", 40)
    for apart in (60, 90, 120):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert browser.run(scale) == pytest.approx(3, rel=0.1)


def test_a_zoomed_picture_is_moved(browser: Browser) -> None:
    stage = browser.one(".stage")
    browser.one("[data-zoom=in]").click()
    width = stage.size["width"]
    before = float(browser.run("return arguments[0].style.getPropertyValue('--x')", stage))
    drag = browser.actions().move_to_element_with_offset(stage, -width // 4, 0).click_and_hold()
    drag.move_by_offset(width // 10, 0).release().perform()
    after = float(browser.run("return arguments[0].style.getPropertyValue('--x')", stage))
    assert after == pytest.approx(before + 0.1, abs=0.01)
    assert browser.one(".split").get_property("value") == "50"


def test_light_and_dark(browser: Browser) -> None:
    page = render_report(make_content())
    for system_is_dark in (False, True):
        browser.open(page, dark=system_is_dark)
        assert (browser.look("header").mean() < 80) == system_is_dark
        assert browser.run(LOW_CONTRAST) == []
        browser.one("#theme").click()
        assert (browser.look("header").mean() < 80) != system_is_dark
        assert browser.one("#theme").text == ("Dark" if system_is_dark else "Light")
        browser.wait("return document.getAnimations().length === 0")
        assert browser.run(LOW_CONTRAST) == []


def test_the_table_is_sorted_by_its_heads(browser: Browser) -> None:
    browser.open(render_report(make_content(make_evaluation(("img10", "img2", "img1"), gains_db=[0.1, -0.3, 0.2]))))

    def names() -> list[str]:
        return [cell.text for cell in browser.all("#image-table tbody th")]

    assert names() == ["img1", "img10", "img2"]
    head = browser.all("#image-table thead button")
    head[0].click()
    assert names() == ["img1", "img2", "img10"]
    head[0].send_keys(Keys.ENTER)
    assert names() == ["img10", "img2", "img1"]
    visible = [button for button in head if button.is_displayed()]
    assert len(visible) == 4
    visible[3].click()
    assert names() == ["img1", "img10", "img2"]
    visible[3].click()
    assert names() == ["img2", "img10", "img1"]
    assert browser.one("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    Select(browser.one("#metric")).select_by_index(1)
    shown = [cell.text for cell in browser.all("#image-table tbody tr:first-child td") if cell.is_displayed()]
    assert shown == ["0.3000", "0.3030", "+0.0030"]


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_no_width_scrolls_sideways(browser: Browser, width: int) -> None:
    name = "a-very-long-name-of-a-file-" * 6
    models = ("backbone", "merged", "another_system_with_a_long_name_x4", "yet_another", "the_last")
    browser.open(render_report(make_content(make_evaluation((name, "b", "c"), models))), width=width, height=740)
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    stage = browser.one(".stage").size
    assert stage["width"] == pytest.approx(stage["height"], abs=1)
    assert stage["width"] >= min(0.8 * width, 400)


def test_without_script_the_sides_stand_beside_each_other(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.refresh()
        assert colour_at(browser, ".stage", 0.25, 0.5) == "backbone"
        assert colour_at(browser, ".stage", 0.75, 0.5) == "merged"
        assert not browser.one("#theme").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_both_sides_are_seen(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert colour_at(browser, ".stage", 0.25, 0.5) == "backbone"
        assert colour_at(browser, ".stage", 0.75, 0.5) == "merged"
        assert not browser.one(".controls").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_file_names_run_no_script(browser: Browser) -> None:
    name = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"
    content = make_content(make_evaluation((name, "b", "c"), ("backbone", name)))
    browser.open(render_report(content))
    assert browser.run("return window.harmed === undefined")
    assert browser.one(".card h4").text == name
