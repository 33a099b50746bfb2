"""Headless Chromium, and what tests of pages do with it."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
NEEDS_CHROMIUM = [
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

    def colour_at(
        self, selector: str, colours: Mapping[str, tuple[int, int, int]], across: float, down: float = 0.8
    ) -> str:
        """Which of the plain layers is seen there."""
        pixels = self.look(selector)
        seen = pixels[int(down * pixels.shape[0]), int(across * pixels.shape[1])].astype(int)
        return min(colours, key=lambda name: int(abs(seen - colours[name]).sum()))

    def actions(self) -> ActionChains:
        return ActionChains(self.driver, duration=20)


@contextmanager
def open_watched(browser: Browser, page: bytes) -> Iterator[Browser]:
    """Opens a page; in the end nothing was complained of and nothing was fetched."""
    for log in ("browser", "performance"):
        browser.driver.get_log(log)
    browser.open(page)
    yield browser
    assert browser.driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    # The browser's own pages ask for things too.
    asked = [entry["request"]["url"] for entry in sent if entry["documentURL"].startswith("file://")]
    assert asked
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
