"""A real Studio before a real backend that is stopped, killed, frozen and started again under the page."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
from selenium import webdriver

from tests.browser.conftest import used
from tests.browser.jobview import charted, logged, trace
from tests.browser.page import Page, on_every_page, quick_timers
from tests.support.eventually import eventually
from tests.support.processes import descendants
from tests.support.studio_local import LocalStudio, local_studio
from tests.support.studio_server import served

# Counts the event streams that a page opens.
COUNT = """
    window.opened = [];
    const Native = EventSource;
    window.EventSource = class extends Native {
        constructor(url) { super(url); window.opened.push(Math.round(performance.now())); }
    };
"""
# How long a call of the API takes, in milliseconds.
ANSWERS_IN = """
    const headers = {"X-Arkor-Studio-Token": document.querySelector("meta[name=arkor-studio-token]").content};
    const begun = performance.now();
    return fetch(arguments[0], {headers}).then((answer) => answer.json()).then(() => performance.now() - begun);
"""
SLEPT_MS = 60000
HELD_UP_MS = 10000  # behind six open connections it would wait for ever
TABS = 12


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStudio]:
    """One of each for all tests; each leaves them running."""
    with local_studio(tmp_path_factory.mktemp("local")) as running:
        yield running


@pytest.fixture
def page(chromium: webdriver.Chrome, local: LocalStudio) -> Iterator[Page]:
    """Studio's page, not yet open."""
    with (
        quick_timers(chromium),
        on_every_page(chromium, COUNT),
        used(Page(chromium, url=f"{local.studio.url}/")) as page,
    ):
        yield page


@pytest.fixture(autouse=True)
def _no_job_left(local: LocalStudio) -> Iterator[None]:
    """Make room for the next test's job: the backend trains one at a time."""
    yield
    client = local.backend.client_as(local.client)
    for job in client.get("/v1/jobs").json()["jobs"]:
        if job["status"] in ("queued", "running"):
            client.cancel(job["id"])
            client.wait_for(job["id"], "cancelled")


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Stop processes inside the block, as a closed laptop does."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def pid_of(local: LocalStudio) -> int:
    """Return the process id of the backend."""
    assert local.backend.process is not None
    return local.backend.process.pid


def watched(page: Page, local: LocalStudio, steps: int = 100) -> str:
    """Open the view of a new job that goes on step by step, and is at its second; return its id."""
    job_id = local.submit(f"gated:{steps}")
    local.backend.allow(job_id, 2)
    page.open(f"#/jobs/{job_id}")
    charted(page, 2)
    eventually(lambda: page.run("return window.opened.length") == 1, "a stream")
    return job_id


def goes_on(page: Page, local: LocalStudio, job_id: str, step: int) -> None:
    """Let the job go on to a step; all that came until then is in the chart and in the log once."""
    local.backend.allow(job_id, step)
    charted(page, step)
    assert trace(page, "loss")["x"] == logged(page) == list(range(1, step + 1))


def test_stop_on_home_cancels_the_job(page: Page, local: LocalStudio) -> None:
    """The run ends, and so does the job, here and at the backend."""
    local.write_entry("gated:100")
    page.open()
    page.click("button", "Run training: gated:100")
    link = page.the(".run-status a", "job_")
    job_id = link.text
    local.backend.allow(job_id, 3)
    local.client.wait_for(job_id, "running")
    page.click("button", "Stop")
    page.click("button", "Stop it")
    page.the(".run-ended", "The run was stopped.")
    local.client.wait_for(job_id, "cancelled")  # the backend was asked; its worker ends in its own time
    page.the(".short-row .status-cancelled")
    page.the(".run-status", "cancelled The run was stopped.")
    page.click(".run-status a")
    page.the(".status-cancelled")
    page.the(".log", "Cancelled")


def test_cancel_in_the_view_of_a_job(page: Page, local: LocalStudio) -> None:
    """After the confirmation the job ends, and the view says so."""
    job_id = watched(page, local)
    page.click("button", "Cancel")
    page.click("button", "Cancel the job")
    page.the(".status-cancelled")
    assert local.client.job(job_id)["status"] == "cancelled"


def test_pause_in_the_view_of_a_job(page: Page, local: LocalStudio) -> None:
    """The worker saves and leaves; unpaused, the job goes on with the next step in the same chart and log."""
    job_id = watched(page, local)
    page.click("button", "Pause")
    page.the(".status-paused")
    assert page.the(".job-paused").text == f"Paused: {local.client.job(job_id)['pauseReason']}."
    page.click("button", "Unpause")
    page.the(".log", "Unpaused")
    goes_on(page, local, job_id, 4)
    page.the(".status-running")
    page.browser.refresh()
    charted(page, 4)
    page.the(".log", "Paused")
    assert logged(page) == [1, 2, 3, 4]


def test_cancelling_the_job_of_a_run_is_no_failure_of_the_run(page: Page, local: LocalStudio) -> None:
    """The command exits with 1; Home calls the run cancelled, as the job is."""
    local.write_entry("gated:99")
    page.open()
    page.click("button", "Run training: gated:99")
    link = page.the(".run-running a", "job_")
    job_id = link.text
    local.backend.allow(job_id, 3)
    local.client.wait_for(job_id, "running")
    link.click()
    page.click("button", "Cancel")
    page.click("button", "Cancel the job")
    page.the(".job-head .status-cancelled")
    page.click("nav a", "Home")
    page.the(".run-status", f"cancelled The job was cancelled. Job {job_id}")
    page.click(".fold", "Output")
    page.the(".log", "[exit 1]")
    assert page.all(".exit-bad") == []


def test_a_backend_is_killed_and_started_again(page: Page, local: LocalStudio) -> None:
    """The view goes on where it was, with nothing lost and nothing twice."""
    page.meets_refusals = True
    job_id = watched(page, local)
    with local.backend.lock():  # Studio starts none of its own meanwhile
        local.backend.kill()
        try:
            page.the(".stale", "The backend takes its time to answer. Shown is what it was at")
            assert trace(page, "loss")["x"] == [1, 2]
        finally:
            local.backend.start()
    goes_on(page, local, job_id, 5)
    page.gone(".stale")
    page.browser.refresh()
    charted(page, 5)
    goes_on(page, local, job_id, 6)


def test_a_backend_that_stalls(page: Page, local: LocalStudio) -> None:
    """The view says that it waits, the other views stay usable, and all goes on when it answers again."""
    job_id = local.submit("gated:100")
    local.backend.allow(job_id, 2)
    page.open("#/jobs")
    page.click("tbody a", "gated")
    charted(page, 2)
    with frozen(pid_of(local)):
        page.the(".stale", "The backend takes its time to answer.")
        page.click("nav a", "Home")
        page.button("Run training")
        page.the(".short-row")
        page.click("nav a", "Jobs")
        page.the("tbody a", "gated")
        page.the(".stale", "The backend takes its time to answer. Shown is what it was at")
        page.click("tbody a", "gated")
        page.titled("Job")
    goes_on(page, local, job_id, 5)
    page.gone(".stale")


def _studio(page: Page, local: LocalStudio) -> list[int]:
    return [local.studio.process.pid]


def _renderers(page: Page, local: LocalStudio) -> list[int]:
    """The processes in which pages run."""
    driver = psutil.Process(page.browser.service.process.pid)
    return [renderer.pid for renderer in descendants(driver, "--type=renderer")]


@pytest.mark.parametrize("sleepers", [_studio, _renderers])
def test_a_closed_laptop(page: Page, local: LocalStudio, sleepers: Callable[[Page, LocalStudio], list[int]]) -> None:
    """What happened meanwhile comes afterwards, once, on one stream or two."""
    page.meets_refusals = True
    job_id = watched(page, local)
    with frozen(*sleepers(page, local)):
        local.backend.allow(job_id, 6)
        eventually(lambda: _steps(local, job_id) == 6, "steps that nobody sees")
    page.run(f"const now = Date.now; Date.now = () => now() + {SLEPT_MS}")  # it slept longer
    goes_on(page, local, job_id, 8)
    assert page.run("return window.opened.length") <= 3


def _steps(local: LocalStudio, job_id: str) -> int:
    return int(local.client.job(job_id)["progress"]["step"])


def test_twelve_tabs_of_the_same_job(
    chromium: webdriver.Chrome, local: LocalStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is live while one looks at it; the others hold no stream, and hold nobody up; closed, none is left."""
    monkeypatch.setenv("HOME", str(local.home))
    monkeypatch.chdir(local.project)
    job_id = local.submit("gated:100")
    with served(local=True) as studio, used(Page(chromium, url=f"{studio.url}/")) as page:
        first, tabs = chromium.current_window_handle, []
        for step in range(1, TABS + 1):
            chromium.switch_to.new_window("tab")
            tabs.append(chromium.current_window_handle)
            page.open(f"#/jobs/{job_id}")
            local.backend.allow(job_id, step)
            page.the(".log", f"step {step}/")
            assert logged(page) == list(range(1, step + 1))
            eventually(lambda: streams() == 1, "one stream, of the tab that one sees")
        for step, tab in enumerate((tabs[0], tabs[5], tabs[-1]), TABS + 1):
            chromium.switch_to.window(tab)
            goes_on(page, local, job_id, step)
            assert page.run(ANSWERS_IN, f"/api/jobs/{job_id}/artifacts") < HELD_UP_MS
        eventually(lambda: streams() == 1, "one stream")
        for tab in tabs:
            chromium.switch_to.window(tab)
            assert page.console() == []
            chromium.close()
        chromium.switch_to.window(first)
        eventually(lambda: streams() == 0, "no stream")


def streams() -> int:
    """Return how many streams of events a Studio in this process reads for browsers."""
    return len([thread for thread in threading.enumerate() if thread.name == "arkor-studio-events"])
