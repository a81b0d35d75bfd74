"""Studio's tab of a job's exports: asking for one, how far it is, and what there is to download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.support.select import Select

from tests.browser.jobview import saved
from tests.browser.page import Page
from tests.support.studio_job import ScriptedJob
from tests.support.studio_script import ABOUT, Answer, ByQuestion, ScriptedStudio

ROUTE = "#/jobs/job_1?tab=export"
PATH = "/api/jobs/job_1/exports"
ASK = f"POST {PATH}"
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture
def studio(studio: ScriptedStudio) -> ScriptedStudio:
    """A stand-in whose backend makes exports."""
    studio.can("exports")
    return studio


def export(status: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return an export as the backend describes it."""
    return {"id": "export_1", "jobId": "job_1", "status": status, "options": {"to": "merged"}, **fields}


def test_an_export_is_asked_for_followed_and_downloaded(
    page: Page, job: ScriptedJob, studio: ScriptedStudio, downloads: Path
) -> None:
    """The number type is asked for where it matters; a screen reader is told of the end."""

    def queued(_: Any) -> Answer:
        job.exports = [export("queued")]
        return Answer({"export": export("queued")})

    studio.answers[ASK] = ByQuestion(queued)
    page.open(ROUTE)
    page.the("#panel-export .evaluation", "The backend makes a folder that other programs load")
    assert not page.run("return document.getElementById('export-quantization').checkVisibility()")
    Select(page.the("#export-format")).select_by_value("gguf")
    Select(page.the("#export-quantization")).select_by_value("q8_0")
    assert page.accessibility() == []
    page.click("button", "Make the export")
    page.the("#panel-export .evaluation", "It waits for its turn.")
    [asked] = page.asked(ASK)
    assert len(asked.pop("idempotencyKey")) == 36
    assert asked == {"to": "gguf", "quantization": "q8_0", "check": True}
    job.exports = [export("running", done=1, total=3)]
    page.the("#panel-export .evaluation", "It compares them with what chats get …")
    assert page.accessibility() == []
    name = "export-gguf-1"
    verdict = "answers as chats do: the likeliest token is the same at 9 of 9 places"
    made = export(options={"to": "gguf", "quantization": "q8_0"}, artifact=name, verdict=verdict)
    job.exports = [made]
    page.the(".export-list li", f"It {verdict}.")
    page.reads("#announcer", "The export is there.")
    assert page.the(".export-list h3").text == "gguf, q8_0"
    studio.answers[f"POST /api/jobs/job_1/artifacts/{name}/link"] = Answer({"url": "/download/export.tar"})
    page.click(f"[aria-label='Download {name}']")
    assert saved(downloads, "export.tar") == b"tar"
    assert page.accessibility() == []


def test_exports_that_failed_say_why(page: Page, job: ScriptedJob) -> None:
    """As text, the newest first."""
    job.exports = [
        export("cancelled", id="export_0", error="It was cancelled."),
        export("failed", error=f"The export does not end its answers {MARKUP}"),
    ]
    page.open(ROUTE)
    page.the(".export-list li")
    items = page.all(".export-list li")
    assert [item.text.splitlines()[-1] for item in items] == [
        f"The export failed: The export does not end its answers {MARKUP}",
        "The export was cancelled: It was cancelled.",
    ]


def test_a_running_export_is_cancelled(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """Then the form is there again, with the focus."""
    job.exports = [export("running", done=0)]

    def cancelled(_: Any) -> Answer:
        job.exports = [export("cancelled")]
        return Answer({"export": export("cancelled")})

    studio.answers[f"{ASK}/export_1/cancel"] = ByQuestion(cancelled)
    page.open(ROUTE)
    page.the("#panel-export .evaluation", "It makes the files …")
    page.click("button", "Cancel")
    page.the(".export-list li", "The export was cancelled.")
    page.the("#panel-export .evaluation", "The backend makes a folder")


@pytest.mark.parametrize(
    ("status", "says"),
    [("running", "The job has not completed yet."), ("failed", "The job failed, so it has no adapter to export.")],
)
def test_a_job_without_an_adapter_says_why(page: Page, studio: ScriptedStudio, status: str, says: str) -> None:
    """The button cannot be pressed."""
    studio.job("job_1", name="triage", status=status)
    page.open(ROUTE)
    page.the("#export-reason", says)
    assert not page.button("Make the export").is_enabled()


def test_a_backend_that_makes_none_says_so(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """In place of a button that fails."""
    studio.answers["GET /api/credentials"] = Answer(ABOUT)
    page.open(ROUTE)
    page.the("#export-reason", "This backend makes no exports.")
