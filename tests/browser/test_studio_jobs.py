"""Studio's list of jobs: what it shows, how one finds a job in it, and that it keeps still while it is refreshed."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from typing import Any

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_script import Answer, ScriptedStudio

JOBS = "GET /api/jobs"
CREATED = "2026-01-31T09:30:00Z"
NONE = "\N{EN DASH}"


def job(number: int, status: str = "completed", **more: Any) -> dict[str, Any]:
    """Return a job as a backend tells it."""
    return {
        "id": f"job_{number}",
        "name": f"run {number}",
        "status": status,
        "createdAt": CREATED,
        **more,
    }


def ago(seconds: float) -> str:
    """Return the time so long ago."""
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds)).isoformat()


def names(page: Page) -> list[str]:
    """Return the names of the jobs that are shown."""
    script = "return [...document.querySelectorAll('tbody tr')].map((row) => row.cells[1].textContent.trim())"
    return [str(name) for name in page.run(script)]


def row(page: Page, number: int) -> list[str]:
    """Return the cells of a row."""
    return [str(cell) for cell in page.run("return [...document.querySelectorAll('tbody tr')[arguments[0]].cells]"
                                            ".map((cell) => cell.textContent.trim())", number)]  # fmt: skip


def test_a_job_has_its_row(page: Page, studio: ScriptedStudio) -> None:
    """Status, name, time, duration, last loss and id, in the backend's order."""
    begun = {"startedAt": "2026-01-31T09:30:01Z", "completedAt": "2026-01-31T09:33:21Z"}
    studio.answers[JOBS] = Answer(
        {
            "jobs": [
                job(9, "running", startedAt=ago(65), config={"maxSteps": 60}, progress={"step": 35, "loss": 1.82341}),
                job(3, "completed", **begun, progress={"step": 60, "loss": 0.5}),
                job(5, "queued"),
                {"id": "job_x", "status": "Held up!", "name": "\u200b", "progress": {"step": 1, "loss": None}},
                job(2, "running", config={"maxSteps": 60, "dryRun": True}, progress={"step": 1, "loss": 2}),
            ]
        }
    )
    page.open("#/jobs")
    page.the("td a", "run 9")
    headings = [heading.text for heading in page.all("th")]
    assert headings == ["Status", "Name", "Created", "Duration", "Last loss", "ID"]
    assert names(page) == ["run 9", "run 3", "run 5", "job_x", "run 2 dry run"]
    created = page.run("return new Date(arguments[0]).toLocaleString()", CREATED)
    assert row(page, 0)[4:] == ["1.8234step 35 of 60", "job_9"]
    assert row(page, 1) == ["completed", "run 3", created, "3 min 20 s", "0.5000step 60", "job_3"]
    assert row(page, 2)[3:5] == [NONE, NONE]
    assert row(page, 3) == ["Held up!", "job_x", NONE, NONE, f"{NONE}step 1", "job_x"]
    assert row(page, 4)[4] == "2.0000step 1"
    statuses = page.run("return [...document.querySelectorAll('td .status')].map((one) => one.className)")
    assert statuses == [f"status status-{name}" for name in ("running", "completed", "queued", "held-up-", "running")]
    assert "mono" in page.the("td .id").value_of_css_property("font-family").lower()
    eventually(lambda: row(page, 0)[3] > "1 min 05 s", "the duration goes on")


def test_dry_runs_are_marked_in_every_list(page: Page, studio: ScriptedStudio) -> None:
    """On Home, in the table, at the head of the job's view, and in the menu of runs to compare; no other job is."""
    config = {"dryRun": True}
    found = [
        studio.job(f"job_{number}", name=f"run {number}", config=config if number == 2 else {}) for number in (1, 2)
    ]
    for one in found:
        one.logs(range(3))
    studio.answers[JOBS] = Answer({"jobs": [one.wire for one in found]})
    page.open()
    page.the(".short-row", "run 2")
    assert [text.split("\n")[0] for text in page.texts(".short-row .job-title")] == ["run 1", "run 2 dry run"]
    page.click("nav a", "Jobs")
    page.the(".table .job-title", "run 2")
    assert page.texts(".table .job-title") == ["run 1", "run 2 dry run"]
    assert page.accessibility() == []
    page.click("td a", "run 2")
    page.the(".job-head .dry-run", "dry run")
    page.click("nav a", "Jobs")
    page.click("td a", "run 1")
    page.the("h1", "run 1")
    page.click("summary", "Compare")
    page.the(".run-list .dry-run", "dry run")
    assert page.all(".job-head .dry-run") == []
    assert page.accessibility() == []


def test_an_id_is_copied(page: Page, studio: ScriptedStudio) -> None:
    """One press puts it where it can be pasted from; it is said to those who listen."""
    studio.answers[JOBS] = Answer({"jobs": [job(1)]})
    grant = {"origin": studio.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.browser.execute_cdp_cmd("Browser.grantPermissions", grant)
    page.open("#/jobs")
    page.click("button[aria-label='Copy the ID job_1']")
    page.reads("#announcer", "Copied.")
    read = "navigator.clipboard.readText().then(arguments[0])"
    assert page.browser.execute_async_script(read) == "job_1"


def test_none_yet_and_none_that_match_are_told_apart(page: Page, studio: ScriptedStudio) -> None:
    """An empty list is not an empty search."""
    page.open("#/jobs")
    page.reads(".empty", "No jobs yet.")
    assert page.accessibility() == []
    studio.answers[JOBS] = Answer({"jobs": [job(1)]})
    page.the("td a", "run 1")
    page.the("#job-search").send_keys("zzz")
    page.reads(".empty", "No jobs match.")
    page.gone(".table")
    assert page.accessibility() == []


def test_jobs_are_found_by_name_id_and_status(page: Page, studio: ScriptedStudio) -> None:
    """What is looked for stands in the address: it survives a reload, and the way back from a job."""
    studio.answers[JOBS] = Answer({"jobs": [job(1), job(2, "failed"), job(12, "failed"), job(3, "running")]})
    page.open("#/jobs")
    page.the("td a", "run 12")
    page.the("#job-search").send_keys("RUN 1")
    assert names(page) == ["run 1", "run 12"]
    assert page.the(".view-head span").text == "2 of 4"
    Select(page.the("#job-status")).select_by_visible_text("failed")
    assert names(page) == ["run 12"]
    assert page.browser.current_url.endswith("#/jobs?status=failed&q=RUN+1")
    page.browser.refresh()
    page.click("td a", "run 12")
    page.the("h1", "job_12")
    page.browser.back()
    page.the("td a", "run 12")
    assert names(page) == ["run 12"]
    page.the("#job-search").clear()
    page.the("#job-search").send_keys("job_2")
    assert names(page) == ["run 2"]
    page.open("#/jobs?status=nonsense")
    page.the("td a", "run 3")
    assert len(names(page)) == 4


def test_paused_jobs_are_found(page: Page, studio: ScriptedStudio) -> None:
    """They have a badge of their own, and say how far they are, as every job that has not ended."""
    begun = {"config": {"maxSteps": 60}, "progress": {"step": 35, "loss": 0.5}}
    found = [job(1, "paused", **begun), job(2, "queued", **begun), job(3, "running"), job(4, "completed", **begun)]
    studio.answers[JOBS] = Answer({"jobs": found})
    page.open("#/jobs?status=paused")
    page.the("td .status-paused", "paused")
    assert names(page) == ["run 1"]
    page.look(1200, 800, "dark")
    assert page.accessibility() == []
    Select(page.the("#job-status")).select_by_visible_text("All")
    assert [row(page, number)[4] for number in (0, 1, 3)] == [
        *("0.5000step 35 of 60", "0.5000step 35 of 60", "0.5000step 35"),
    ]
    page.look(1200, 800)
    assert page.accessibility() == []


def test_a_refresh_moves_nothing(page: Page, studio: ScriptedStudio) -> None:
    """New jobs come in above, others change or go; the focus stays where it is."""
    studio.answers[JOBS] = Answer({"jobs": [job(1, "running"), job(2), job(3)]})
    page.open("#/jobs")
    link = page.the("td a", "run 1")
    page.run("arguments[0].focus()", link)
    studio.answers[JOBS] = Answer({"jobs": [job(4, "queued"), job(1, "failed"), job(3)]})
    page.the("td a", "run 4")
    assert names(page) == ["run 4", "run 1", "run 3"]
    assert page.browser.switch_to.active_element == link
    assert row(page, 1)[0] == "failed"


def test_the_list_is_asked_for_one_request_at_a_time(page: Page, studio: ScriptedStudio) -> None:
    """While an answer is late the page says so, keeps what it has, and does not ask again, whoever presses Refresh."""
    studio.answers[JOBS] = Answer({"jobs": [job(1)]})
    page.open("#/jobs")
    page.the("td a", "run 1")
    gate = threading.Event()
    studio.answers[JOBS] = Answer({"jobs": [job(2)]}, gate=gate)
    page.the(".stale", "The backend takes its time to answer. Shown is what it was at")
    asked = len(studio.asked(JOBS))
    page.click("button", "Refresh")
    page.the("td a", "run 1")
    assert len(studio.asked(JOBS)) == asked
    gate.set()
    page.the("td a", "run 2")
    page.gone(".stale")
    page.asked(JOBS, asked + 2)


def test_a_list_that_cannot_be_had(page: Page, studio: ScriptedStudio) -> None:
    """The reason is shown, first without any jobs, later over those known; it goes when all is well."""
    page.meets_refusals = True
    studio.answers[JOBS] = Answer({"error": "Cannot reach http://127.0.0.1:1"}, 502)
    page.open("#/jobs")
    page.the(".stale", "Couldn't load the jobs: Cannot reach http://127.0.0.1:1. Studio keeps trying.")
    assert page.all(".empty") == []
    assert page.accessibility() == []
    studio.answers[JOBS] = Answer({"jobs": [job(1)]})
    page.click("button", "Refresh")
    page.the("td a", "run 1")
    page.gone(".stale")
    studio.answers[JOBS] = Answer({"error": "gone"}, 503)
    page.the(".stale", "Couldn't refresh the jobs: gone. Shown is what it was at")
    page.the("td a", "run 1")


def test_many_jobs_come_in_portions(page: Page, studio: ScriptedStudio) -> None:
    """Two hundred at a time; the search goes over all; the way back leads to where one was."""
    studio.answers[JOBS] = Answer({"jobs": [job(number) for number in range(450)]})
    page.open("#/jobs")
    page.click("button", "Show 200 more")
    page.button("Show 50 more")
    assert len(names(page)) == 400
    page.the("#job-search").send_keys("run 449")
    assert names(page) == ["run 449"]
    page.the("#job-search").send_keys(Keys.BACKSPACE * 7)
    page.run("scrollTo(0, 900)")
    eventually(lambda: page.run("return scrollY") == 900, "a scrolled page")
    page.click("td a", "run 30")
    page.the("h1", "job_30")
    assert page.run("return scrollY") == 0
    page.browser.back()
    page.the("td a", "run 30")
    assert page.run("return scrollY") == 900


def test_older_jobs_are_loaded_on_demand(page: Page, studio: ScriptedStudio) -> None:
    """The page asks for the newest 500 alone, and says so wherever it counts or searches."""
    newest = [job(number) for number in range(549, 0, -1)]
    studio.answers[JOBS] = Answer({"jobs": [*newest, job(0, name="the oldest")]})
    page.open()
    page.click("a", "All 500+ jobs")
    page.the("td a", "run 549")
    page.the("#job-search").send_keys("the oldest")
    page.the(".table-panel .empty", "No jobs match among the newest 500.")
    assert names(page) == []
    page.click("button", "Load older jobs")
    page.the("td a", "the oldest")
    page.reads(".view-head [role=status]", "1 of 550")
    assert page.accessibility() == []


def test_an_old_job_can_be_asked(page: Page, studio: ScriptedStudio) -> None:
    """The playground loads more jobs until it knows the one that its address names."""
    newest = [job(number) for number in range(549, 0, -1)]
    studio.answers[JOBS] = Answer({"jobs": [*newest, job(0, name="the oldest")]})
    page.open("#/playground?job=job_0")
    chosen = "return document.querySelector('.picker select')?.selectedOptions[0]?.text ?? ''"
    eventually(lambda: "the oldest" in page.run(chosen), "the job is known by its name")
