"""Studio's view of one job: pausing it, letting it go on, and resuming it as a new job."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from arkor.protocol.events import TrainingInterruptedEvent
from tests.browser.jobview import charted, lines, logged
from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_job import ScriptedJob
from tests.support.studio_script import ABOUT, Answer, ByQuestion, ScriptedStudio

ROUTE = "#/jobs/job_1"
RECORD = "GET /api/jobs/job_1"
PAUSE, UNPAUSE, RESUME = (f"POST /api/jobs/job_1/{action}" for action in ("pause", "unpause", "resume"))
REASON = "the disk is full: 12 MiB are free for /home/me/.arkor/local/data"
BY_PERSON = "it was paused by a person"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"


@pytest.fixture
def studio(studio: ScriptedStudio) -> ScriptedStudio:
    """A stand-in whose backend pauses and resumes jobs."""
    studio.answers["GET /api/credentials"] = Answer(
        {**ABOUT, "features": [*ABOUT["features"], "pause-jobs", "resume-jobs"]}
    )
    return studio


@pytest.fixture
def job(studio: ScriptedStudio) -> ScriptedJob:
    """A job that runs, and has told nothing yet."""
    return studio.job("job_1", name="triage")


def buttons(page: Page) -> list[str]:
    """Return what one can do about the job."""
    return page.texts(".job-actions button")


def focused(page: Page) -> str:
    """Return the text of the element that has the focus."""
    return str(page.run("return document.activeElement.textContent"))


def pause(job: ScriptedJob, reason: str) -> None:
    """Let a job be paused."""
    job.wire.update(status="paused", pauseReason=reason)
    job.event("training.paused", reason=reason, step=3)


def test_a_running_job_is_paused_and_goes_on(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """The button says that it is asked for until the worker has left; the focus goes to the button in its place."""
    job.logs(range(1, 4))
    page.open(ROUTE)
    charted(page, 3)
    eventually(lambda: buttons(page) == ["Pause", "Cancel"], "both buttons")
    studio.answers[PAUSE] = Answer({"job": dict(job.wire)})
    page.button("Pause").send_keys(Keys.ENTER)
    assert not page.button("Pausing …").is_enabled()
    page.reads("#announcer", "The job has been told to pause.")
    assert page.button("Cancel").is_enabled()
    assert page.accessibility() == []
    pause(job, REASON)
    page.the(".status-paused", "paused")
    page.reads("#announcer", "The job is paused.")
    assert page.the(".job-paused").text == f"Paused: {REASON}. It goes on by itself when there is room."
    eventually(lambda: buttons(page) == ["Unpause", "Cancel"], "the button in its place")
    eventually(lambda: focused(page) == "Unpause", "the focus on it")
    page.the(".log", f"Paused at step 3: {REASON}; it goes on by itself when there is room")
    assert page.accessibility() == []

    def unpause(_question: object) -> Answer:  # not before: the page asks for the job now and then
        job.wire.update(status="queued", pauseReason=None)
        return Answer({"job": dict(job.wire)})

    studio.answers[UNPAUSE] = ByQuestion(unpause)
    page.press(Keys.SPACE)
    page.the(".status-queued", "queued")
    page.gone(".job-paused")
    eventually(lambda: focused(page) == "Pause", "the focus on the button in its place")
    job.event("training.unpaused")
    page.the(".log", "Unpaused")
    job.wire.update(status="running")
    job.log(4, loss=0.5)
    charted(page, 4)
    page.the(".status-running", "running")
    assert [len(studio.asked(call)) for call in (PAUSE, UNPAUSE)] == [1, 1]


def test_events_tell_the_status(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """At once; an answer from before them changes nothing."""
    page.open(ROUTE)
    page.the(".status-running")
    eventually(lambda: job.opened, "the stream is open")
    late, later = threading.Event(), threading.Event()
    studio.answers[RECORD] = Answer({"job": dict(job.wire)}, gate=late)
    before = len(studio.asked(RECORD))
    page.asked(RECORD, before + 1)
    for kind, fields, status in (
        ("training.interrupted", {"reason": "Its worker died"}, "queued"),
        ("training.log", {"step": 1, "loss": 2.5}, "running"),
        ("training.paused", {"reason": REASON}, "paused"),
        ("training.unpaused", {}, "queued"),
        ("training.preparing", {"phase": "reading", "done": 0, "total": 0}, "running"),
        ("training.paused", {"reason": BY_PERSON}, "paused"),
    ):
        job.event(kind, **fields)
        page.the(f".status-{status}", status)
    page.gone(".preparing")
    assert page.the(".job-paused").text == f"Paused: {BY_PERSON}."
    studio.answers[RECORD] = Answer({"job": {**job.wire, "status": "paused", "pauseReason": BY_PERSON}}, gate=later)
    late.set()
    page.asked(RECORD, before + 2)
    assert page.texts(".job-head .status") == ["paused"]
    later.set()


def test_the_log_says_why_a_job_was_interrupted(page: Page, job: ScriptedJob) -> None:
    """In the words of the command line, with the batches that it goes on with."""
    page.open(ROUTE)
    page.the(".status-running")
    reason, batches = "Memory ran out (the limit is 4.0 GiB)", {"batchSize": 2, "gradientAccumulationSteps": 4}
    job.event("training.interrupted", reason=reason, step=7)
    job.event("training.interrupted", reason=MARKUP, step=7, **batches)
    job.event("training.paused")
    page.the(".log", "Paused")
    words = [
        TrainingInterruptedEvent("job_1", "", reason, 7).note(),
        TrainingInterruptedEvent("job_1", "", MARKUP, 7, 2, 4).note(),
    ]
    eventually(lambda: lines(page)[:2] == [f"Warning: {note}" for note in words], "both lines")
    assert page.all(".log b") == []
    assert logged(page) == []


def test_two_presses_pause_once(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """The second half of a double click does not press the button that has come in the place of the first."""
    job.wire.update(status="queued", startedAt=None)
    paused = {**job.wire, "status": "paused", "pauseReason": REASON}

    def answer(_: Any) -> Answer:
        job.wire.update(paused)
        return Answer({"job": paused})

    studio.answers[PAUSE] = ByQuestion(answer)
    page.open(ROUTE)
    place = page.button("Pause").rect
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            at = {"x": place["x"] + place["width"] / 2, "y": place["y"] + place["height"] / 2}
            event = {"type": kind, "button": "left", "clickCount": count, **at}
            page.browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        page.the(".job-paused", REASON)
        page.button("Unpause")
    page.asked(RECORD, len(studio.asked(RECORD)) + 2)
    assert [len(studio.asked(call)) for call in (PAUSE, UNPAUSE)] == [1, 0]


@pytest.mark.parametrize(
    ("status", "name", "asking", "done"),
    [
        ("running", "Pause", "Pausing …", "paused"),
        ("paused", "Unpause", "Unpausing …", "unpaused"),
        ("failed", "Resume", "Resuming …", "resumed"),
    ],
)
def test_a_refusal_is_shown(
    page: Page, job: ScriptedJob, studio: ScriptedStudio, status: str, name: str, asking: str, done: str
) -> None:
    """With the backend's reason; the button can be pressed again, and has the focus."""
    page.meets_refusals = True
    job.wire.update(status=status)
    call, gate = f"POST /api/jobs/job_1/{name.lower()}", threading.Event()
    studio.answers[call] = Answer({"error": "Its worker is about to leave."}, 503, gate=gate)
    page.open(ROUTE)
    page.click("button", name)
    assert not page.button(asking).is_enabled()
    gate.set()
    page.the(".problem", f"The job was not {done}: Its worker is about to leave.")
    eventually(lambda: focused(page) == name, "the focus on the same button")
    assert page.button(name).is_enabled()
    assert page.accessibility() == []
    gate.clear()
    page.click("button", name)
    page.gone(".job-head .problem:not(.job-error)")
    gate.set()


def test_a_failed_job_is_resumed_as_a_new_one(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """Who asks again for want of an answer sends the same key, and so gets the same job, which says its origin."""
    page.meets_refusals = True
    job.end("training.failed", error="Gave up after 3 lost attempts")
    new = studio.job("job_2", name="triage", status="queued", resumedFrom={"jobId": "job_1", "step": 40})
    keys: list[str] = []

    def answer(body: dict[str, Any]) -> Answer:
        keys.append(body["idempotencyKey"])
        return Answer({"error": "No answer."}, 502) if len(keys) == 1 else Answer({"job": new.wire})

    studio.answers[RESUME] = ByQuestion(answer)
    page.open(ROUTE)
    double = ActionChains(page.browser, duration=0).double_click(page.button("Resume"))
    double.perform()
    page.the(".problem", "The job was not resumed: No answer.")
    assert len(keys) == 1
    page.click("button", "Resume")
    page.the(".job-origin", "Resumed from step 40 of job job_1.")
    assert page.browser.current_url.endswith("#/jobs/job_2")
    assert keys[0] == keys[1]
    page.the(".status-queued")
    assert page.accessibility() == []
    new.wire.update(status="running")
    new.logs(range(41, 44))
    charted(page, 43)
    page.click(".job-origin a", "job_1")
    page.the(".status-failed")
    assert page.all(".job-origin") == []
    page.click("button", "Resume")
    page.the(".job-origin")
    assert keys[2] != keys[0]


def test_who_has_left_is_not_led_to_the_new_job(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """The answer comes when the page shows another view."""
    job.end("training.cancelled")
    new = studio.job("job_2", status="queued")
    gate = threading.Event()
    studio.answers[RESUME] = Answer({"job": new.wire}, gate=gate)
    page.open(ROUTE)
    page.click("button", "Resume")
    assert not page.button("Resuming …").is_enabled()
    page.click("nav a", "Jobs")
    page.the("h1", "Jobs")
    listed = len(studio.asked("GET /api/jobs"))
    gate.set()
    page.asked("GET /api/jobs", listed + 2)
    assert page.browser.current_url.endswith("#/jobs")


def test_a_job_that_is_cancelled_can_go_on_as_another(page: Page, job: ScriptedJob) -> None:
    """The question says so; nothing else is to be pressed until it has ended, then Resume is there."""
    page.open(ROUTE)
    page.click("button", "Cancel")
    page.the("dialog", "triage stops where it is. You can resume it from its last checkpoint, as a new job.")
    page.click("button", "Keep it")
    job.end("training.cancelled", step=3)
    page.the(".status-cancelled")
    eventually(lambda: buttons(page) == ["Resume"], "the button")


def test_a_backend_that_neither_pauses_nor_resumes(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """There is a button for what it can do."""
    studio.answers["GET /api/credentials"] = Answer(dict(ABOUT))
    page.open(ROUTE)
    page.click("button", "Cancel")
    page.the("dialog", "A job that was stopped cannot go on.")
    page.click("button", "Keep it")
    page.asked("GET /api/credentials")
    assert buttons(page) == ["Cancel"]
    job.end("training.failed", error="x")
    page.the(".status-failed")
    assert buttons(page) == []


def test_a_backend_that_is_away_takes_no_button(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """The page knows its features from before."""
    page.open(ROUTE)
    page.button("Pause")
    studio.answers["GET /api/credentials"] = Answer({**ABOUT, "features": None, "error": "Cannot reach the backend."})
    page.the(".header", "cannot be reached")
    assert buttons(page) == ["Pause", "Cancel"]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_a_paused_and_a_resumed_job_fit(page: Page, job: ScriptedJob, width: int, scheme: str) -> None:
    """At any width, in light and in dark, whatever the backend says."""
    job.wire.update(
        status="paused", name="y" * 200, pauseReason="r" * 400, resumedFrom={"jobId": MARKUP + "j" * 200, "step": 7}
    )
    page.look(width, 900, scheme)
    page.open(ROUTE)
    page.the(".job-origin", MARKUP)
    page.the(".job-paused", "rrr")
    page.button("Unpause")
    assert page.all(".job-origin b") == []
    assert page.overflow() <= 0
    assert page.accessibility() == []
