"""Studio's page, as a person sees and uses it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.support.eventually import eventually
from tests.support.studio_script import ScriptedStudio

# Whatever the page does every few seconds, it does twenty times as often here.
_QUICK = "const slow = setTimeout; window.setTimeout = (work, ms, ...rest) => slow(work, ms / 20, ...rest);"
# Chromium tells of every answer from 400 on; which of them a page has to live with, its test knows.
_REFUSED = re.compile(r"Failed to load resource: (the server responded with a status of|net::ERR_)")

_FIND = """
    const [css, text] = arguments;
    return [...document.querySelectorAll(css)].filter((one) => one.checkVisibility() && one.innerText.includes(text));
"""


@contextmanager
def on_every_page(browser: webdriver.Chrome, script: str) -> Iterator[None]:
    """Run a script in each page that is opened inside the block, before its own."""
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def quick_timers(browser: webdriver.Chrome) -> AbstractContextManager[None]:
    """Let the pages that are opened inside the block wait shorter."""
    return on_every_page(browser, _QUICK)


class Page:
    """The page in a browser.

    Args:
        browser: shared by all tests.
        studio: the stand-in that the page comes from.
        url: its address instead, where it comes from a real Studio.

    Attributes:
        meets_refusals: whether calls of this page are refused on purpose.
    """

    def __init__(self, browser: webdriver.Chrome, studio: ScriptedStudio | None = None, *, url: str = "") -> None:
        self.browser, self.studio = browser, studio
        self.url = url or (studio.url if studio is not None else "")
        self.meets_refusals = False

    def open(self, route: str = "#/") -> None:
        """Open the page anew, at one of its routes."""
        if self.browser.current_url.startswith(self.url):
            self.browser.get("about:blank")  # another hash alone loads nothing
        self.browser.get(self.url + route)

    def leave(self) -> None:
        """Let go of the page: it asks for nothing any more."""
        self.browser.get("about:blank")

    def look(self, width: int, height: int, scheme: str = "light") -> None:
        """Give the window a size, and its owner a taste."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, and return what it returns."""
        return self.browser.execute_script(script, *arguments)

    def texts(self, css: str) -> list[str]:
        """Return the texts of what a selector finds and can be seen, all as of one moment."""
        script = "return [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility())"
        return [str(text) for text in self.run(f"{script}.map((one) => one.innerText)", css)]

    def all(self, css: str, text: str = "") -> list[WebElement]:
        """Return the elements of a selector that can be seen and have a text."""
        return list(self.run(_FIND, css, text))

    def the(self, css: str, text: str = "", timeout_s: float = 15.0) -> WebElement:
        """Return the first element of a selector that can be seen and has a text; wait for it."""
        try:
            return eventually(lambda: self.all(css, text), f"{css} with {text!r}", timeout_s)[0]
        except AssertionError:
            shown = self.browser.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"no {css} with {text!r} in:\n{shown}") from None

    def click(self, css: str, text: str = "", timeout_s: float = 15.0) -> None:
        """Click the first element of a selector that can be seen and has a text; wait for it.

        The page may draw it anew between the two: then it is looked for again.
        """

        def is_clicked() -> bool:
            try:
                self.the(css, text, timeout_s).click()
            except StaleElementReferenceException:
                return False
            return True

        eventually(is_clicked, f"a click on {css} with {text!r}", timeout_s)

    def reads(self, css: str, text: str) -> None:
        """Wait until an element has exactly this text."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        eventually(lambda: text in self.run(script, css), f"{css} reads {text!r}")

    def titled(self, view: str) -> None:
        """Wait until the window has a view's title."""
        eventually(lambda: self.browser.title == f"{view} · arkor Studio", f"the title {view}")

    def gone(self, css: str) -> None:
        """Wait until there is no such element to be seen."""
        eventually(lambda: not self.all(css), f"no {css}")

    def button(self, text: str) -> WebElement:
        """Return a button; wait for it."""
        return self.the("button", text)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def tab(self) -> str:
        """Go to the next thing that takes the focus, and return its text."""
        self.press(Keys.TAB)
        focused = self.browser.switch_to.active_element
        return str(focused.get_attribute("aria-label") or focused.text or focused.get_attribute("id"))

    def asked(self, call: str, times: int = 1) -> list[Any]:
        """Wait until the page has made a call of the stand-in so many times; return the bodies."""
        assert self.studio is not None
        studio = self.studio
        eventually(lambda: len(studio.asked(call)) >= times, f"{call}, {times} times")
        return studio.asked(call)

    def console(self) -> list[str]:
        """Return what the console has against the page, such as violations of the Content-Security-Policy."""
        entries = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        messages = [str(entry["message"]) for entry in entries]
        return [message for message in messages if not (self.meets_refusals and _REFUSED.search(message))]

    def accessibility(self) -> list[str]:
        """Return what axe-core finds to be in the way of people who do not see or use a page as most do."""
        if self.run("return typeof axe") == "undefined":
            self.run(_axe())
        script = """
            const done = arguments[arguments.length - 1];
            axe.run().then(({violations}) => done(violations.flatMap(({id, nodes}) =>
                nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`))));
        """
        return list(self.browser.execute_async_script(script))

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(self.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def _axe() -> str:
    spec = importlib.util.find_spec("axe_core_python")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
