"""The report in a real browser: what people do with it works, and nothing leaves the page."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report.pages import COLOURS, make_content, make_evaluation

from adaptsr_cli.report.html import render_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver"),
]

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)

# Every text whose contrast with the ground behind it is below WCAG AA; text that lies on pictures is left out.
LOW_CONTRAST = """
const parts = (colour) => { const c = document.createElement("canvas").getContext("2d"); c.fillStyle = colour;
  c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
const light = (colour) => { const [r, g, b] = colour.slice(0, 3).map((v) => v / 255).map(
  (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (element) => { for (let at = element; at; at = at.parentElement) {
  const found = parts(getComputedStyle(at).backgroundColor); if (found[3] === 255) return found; }
  return [255, 255, 255, 255]; };
const faults = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || element.closest(".tag, .divider, script, option, noscript")) continue;
  const style = getComputedStyle(element);
  const [one, other] = [light(parts(style.color)), light(ground(element))].sort((a, b) => b - a);
  const size = parseFloat(style.fontSize);
  const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
  const ratio = (one + 0.05) / (other + 0.05);
  if (ratio < needed) faults.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
}
return [...new Set(faults)];
"""


class Browser:
    """A page in headless Chromium, and what it did."""

    def __init__(self, folder: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM or ""
        for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        self._folder = folder

    def open(self, page: bytes, *, width: int = 1280, height: int = 1000, dark: bool = False) -> None:
        """Shows a page afresh, and waits until its script has run."""
        path = self._folder / "report.html"
        path.write_bytes(page)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # what moves cannot be clicked
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        self.driver.get(path.as_uri())
        self.wait("return document.readyState === 'complete' && document.documentElement.className === 'js'")

    def wait(self, question: str) -> None:
        """Until a question is answered by true; a stuck page fails the test."""
        for _ in range(200):
            if self.driver.execute_script(question):
                return
            time.sleep(0.05)
        raise AssertionError(f"never: {question}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def look(self, selector: str) -> np.ndarray:
        """The pixels of the first such element, as (H, W, 3) uint8."""
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", self.one(selector))
        return np.array(Image.open(io.BytesIO(self.one(selector).screenshot_as_png)).convert("RGB"))

    def colour_at(self, selector: str, across: float, down: float = 0.8) -> str:
        """Which of the plain layers is seen there."""
        pixels = self.look(selector)
        seen = pixels[int(down * pixels.shape[0]), int(across * pixels.shape[1])].astype(int)
        return min(COLOURS, key=lambda name: int(abs(seen - COLOURS[name]).sum()))

    def actions(self) -> ActionChains:
        return ActionChains(self.driver, duration=20)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The page of a small evaluation; in the end nothing was complained of and nothing was fetched."""
    for log in ("browser", "performance"):
        chromium.driver.get_log(log)
    chromium.open(render_report(make_content()))
    yield chromium
    assert chromium.driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    # The browser's own pages ask for things too.
    asked = [entry["request"]["url"] for entry in sent if entry["documentURL"].startswith("file://")]
    assert asked
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []


def test_the_slider_is_dragged_on_the_picture_and_the_picture_changes(browser: Browser) -> None:
    assert browser.colour_at(".stage", 0.4) == "backbone"
    assert browser.colour_at(".stage", 0.6) == "merged"
    stage = browser.one(".stage")
    width = stage.size["width"]
    browser.actions().move_to_element(stage).click_and_hold().move_by_offset(int(0.3 * width), 40).release().perform()
    assert browser.colour_at(".stage", 0.7) == "backbone"
    assert browser.colour_at(".stage", 0.9) == "merged"
    assert browser.one(".split").get_property("value") == "80"


def test_the_range_is_dragged_by_the_mouse(browser: Browser) -> None:
    handle = browser.one(".split")
    browser.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", handle)
    far = int(0.3 * handle.size["width"])
    browser.actions().move_to_element(handle).click_and_hold().move_by_offset(-far, 0).release().perform()
    assert browser.colour_at(".stage", 0.1) == "backbone"
    assert browser.colour_at(".stage", 0.3) == "merged"


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
    assert browser.colour_at(".stage", 0.7) == "backbone"
    handle.send_keys(Keys.HOME)
    assert browser.colour_at(".stage", 0.1) == "merged"
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
    assert browser.colour_at(".stage", 0.3) == "HR"
    right.select_by_visible_text("HR")
    assert browser.colour_at(".stage", 0.7) == "HR"
    right.select_by_visible_text("LR, bicubic")
    assert (browser.colour_at(".stage", 0.3), browser.colour_at(".stage", 0.7)) == ("HR", "LR, bicubic")
    assert browser.one(".tag-right").text == "LR, bicubic"
    Select(browser.one("select[data-all=right]")).select_by_visible_text("merged")
    last = ".card:last-of-type .stage"
    assert browser.colour_at(".stage", 0.7) == browser.colour_at(last, 0.7) == "merged"


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
        assert browser.colour_at(".stage", 0.25, 0.5) == "backbone"
        assert browser.colour_at(".stage", 0.75, 0.5) == "merged"
        assert not browser.one("#theme").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_both_sides_are_seen(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.colour_at(".stage", 0.25, 0.5) == "backbone"
        assert browser.colour_at(".stage", 0.75, 0.5) == "merged"
        assert not browser.one(".controls").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_file_names_run_no_script(browser: Browser) -> None:
    name = "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"
    content = make_content(make_evaluation((name, "b", "c"), ("backbone", name)))
    browser.open(render_report(content))
    assert browser.run("return window.harmed === undefined")
    assert browser.one(".card h4").text == name
