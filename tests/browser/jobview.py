"""The view of a job, as a person reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.browser.page import Page
from tests.support.eventually import eventually

_LINES = """
    const lines = [...document.querySelectorAll('.log > .line')];
    return lines.map((one) => (one.querySelector('summary') ?? one).textContent);
"""
_LOGGED = re.compile(r"step (\d+)(?:/\d+)?(?:  (?:eval )?loss .*)?$")


def lines(page: Page) -> list[str]:
    """Return the sentences of the event log."""
    return [str(text) for text in page.run(_LINES)]


def logged(page: Page) -> list[int]:
    """Return the steps in the event log."""
    return [int(found[1]) for line in lines(page) if (found := _LOGGED.match(line))]


def trace(page: Page, name: str) -> dict[str, Any]:
    """Return what the chart shows under a name, empty where there is none: x and y."""
    script = """
        const found = (document.querySelector('.plot')?.data ?? []).find(({name, showlegend}) =>
            name === arguments[0] && showlegend !== false);
        return found ? {x: [...found.x], y: [...found.y]} : {};
    """
    return dict(page.run(script, name))


def axis(page: Page, name: str = "xaxis") -> list[float]:
    """Return the range of an axis."""
    script = "return document.querySelector('.plot')?._fullLayout?.[arguments[0]]?.range"
    return [float(end) for end in page.run(script, name) or (0, 0)]


def switch(page: Page, label: str) -> None:
    """Press a switch."""
    found = page.the(".switch-label", label)
    page.run("arguments[0].scrollIntoView({block: 'center'})", found)
    found.click()


def charted(page: Page, step: int, timeout_s: float = 15.0) -> None:
    """Wait until the chart has come to a step."""
    eventually(lambda: trace(page, "loss").get("x", [0])[-1] == step, f"a chart up to step {step}", timeout_s)


def saved(folder: Path, name: str) -> bytes:
    """Wait until the browser has saved a file; return what is in it."""
    file = folder / name
    eventually(lambda: file.exists() and file.stat().st_size > 0, f"a file {name}")
    return file.read_bytes()
