"""A headless Chromium for tests of pages; they skip where there is none."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_DRIVERS = ("chromedriver", "chromium.chromedriver")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)

# Elements that end outside the window, or (on a phone) boxes that would have to be scrolled
# sideways; the drawing of the network is made to be moved.
CUT_OFF = """
const width = document.documentElement.clientWidth, cut = [];
for (const node of document.querySelectorAll('main *')) {
  if (node.closest('#network-box, svg, [hidden]') || !node.getClientRects().length) continue;
  const box = node.getBoundingClientRect();
  const inside = node.parentElement.closest('.scroll');
  if (!inside && (box.right > width + 1 || box.left < -1)) cut.push(node.tagName + '#' + node.id);
  const block = getComputedStyle(node).display !== 'inline';
  if (width < 600 && block && node.scrollWidth > node.clientWidth + 1)
    cut.push('wide ' + node.tagName + '.' + node.className + ' ' + node.textContent.slice(0, 40));
  // a short text in a column of its letters has no room either
  const text = node.textContent;
  const range = document.createRange();
  range.selectNodeContents(node);
  const tall = range.getBoundingClientRect().height > 50;
  if (node.tagName === 'TD' && text.length && text.length < 13 && tall)
    cut.push('narrow ' + text);
}
return cut;
"""


def _first(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A selenium driver with an empty profile; logs console and network events. Skips if absent."""
    if importlib.util.find_spec("selenium") is None:
        pytest.skip("no page test: the Python package selenium is not installed")
    browser, driver = _first(_BROWSERS), _first(_DRIVERS)
    if browser is None or driver is None:
        pytest.skip("no page test: chromium and its chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield session
    finally:
        session.quit()


def set_width(session: Any, width: int, height: int) -> None:
    """The page's own width, as a phone or a screen would have it."""
    session.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )


def full_page(session: Any, path: Path) -> Path:
    """A PNG of the whole page at its present width."""
    import base64

    shot = session.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True}
    )
    path.write_bytes(base64.b64decode(shot["data"]))
    return path


def console_errors(session: Any) -> list[str]:
    """What the console said at level SEVERE since the last call."""
    return [entry["message"] for entry in session.get_log("browser") if entry["level"] == "SEVERE"]


def requests(session: Any) -> list[str]:
    """URLs that were asked for since the last call, apart from data and file ones."""
    import json

    urls = []
    for entry in session.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
    return [url for url in urls if not url.startswith(("data:", "file:", "chrome:", "about:"))]
