"""One Chromium for all tests of a session: its start costs more than most of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.page import Page, quick_timers
from tests.support.auth0 import free_ports
from tests.support.needed import need
from tests.support.studio_job import ScriptedJob
from tests.support.studio_script import ScriptedStudio

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "chromium and chromedriver are not installed (on Debian: chromium-driver)"
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--host-resolver-rules=MAP evil.test 127.0.0.1",
)


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser without a window. Without one the test is skipped, but never in CI."""
    need(CHROMIUM is not None and DRIVER is not None, MISSING)
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in OPTIONS:
        options.add_argument(option)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def port() -> int:
    """A port of the stand-in's own: the browser compiles a script as large as Plotly's once an address."""
    return free_ports(1)[0]


@pytest.fixture
def studio(port: int) -> Iterator[ScriptedStudio]:
    """A stand-in for Studio's server."""
    with ScriptedStudio(port) as running:
        yield running


@pytest.fixture
def job(studio: ScriptedStudio) -> ScriptedJob:
    """A job that has completed."""
    job = studio.job("job_1", name="triage", status="completed")
    job.end()
    return job


@pytest.fixture
def page(chromium: webdriver.Chrome, studio: ScriptedStudio) -> Iterator[Page]:
    """Studio's page, not yet open. Its console has to be free of errors at the end."""
    with quick_timers(chromium), used(Page(chromium, studio)) as page:
        yield page


@contextmanager
def used(page: Page) -> Iterator[Page]:
    """Let the block use a page, whose console has to be free of errors at the end."""
    page.console()  # what is there is of others
    page.look(1200, 800)
    yield page
    trouble = page.console()
    page.leave()
    assert trouble == []


@pytest.fixture
def downloads(chromium: webdriver.Chrome, tmp_path: Path) -> Iterator[Path]:
    """The folder into which the browser saves."""
    command = "Browser.setDownloadBehavior"
    chromium.execute_cdp_cmd(command, {"behavior": "allow", "downloadPath": str(tmp_path)})
    yield tmp_path
    chromium.execute_cdp_cmd(command, {"behavior": "default"})
