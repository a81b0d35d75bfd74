"""Studio's page around its views: where one is, who one is, and what the page says when a server is gone."""

from __future__ import annotations

import threading

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_script import ABOUT, Answer, ScriptedStudio

ROUTES = ("#/", "#/jobs", "#/jobs/job_1", "#/playground", "#/nowhere")
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"


def about(**changes: object) -> Answer:
    """Answer who one is, but for some of it."""
    return Answer({**ABOUT, **changes})


def is_quiet(page: Page, studio: ScriptedStudio) -> bool:
    """Watch for the time of a few polls, and say whether nothing was asked for meanwhile."""
    before, begun = len(studio.requests), page.run("return performance.now()")
    eventually(lambda: page.run("return performance.now()") > begun + 1000, "the time of a few polls")
    return len(studio.requests) == before


def test_the_header_tells_who_one_is_and_where(page: Page) -> None:
    """Host and project stand in the header; its details have the rest, and close with Escape."""
    page.open()
    assert page.the(".backend summary", "127.0.0.1:4747").text.split("\n")[1:] == ["anon-1a2b3c4d / support-bot"]
    page.click(".backend summary")
    facts = page.the(".facts").text.split("\n")
    assert facts[:4] == ["Backend", "arkor-local", "Address", "http://127.0.0.1:4747"]
    assert page.accessibility() == []
    page.press(Keys.ESCAPE)
    page.gone(".facts")


def test_views_have_addresses_and_titles_and_the_back_button_works(page: Page) -> None:
    """Each view is marked in the navigation and named in the title; the one before comes back."""
    page.open()
    for title in ("Jobs", "Playground", "Home"):
        page.click("nav a", title)
        page.titled(title)
        assert page.the("nav a[aria-current=page]").text == title
    page.browser.back()
    page.titled("Playground")
    page.browser.back()
    page.the("h1", "Jobs")
    assert page.run("return document.activeElement.id") == "main"


@pytest.mark.parametrize("route", ["#/nowhere", "#/jobs/%", "#/jobs/a/b"])
def test_an_address_that_is_none_says_so(page: Page, route: str) -> None:
    """It names the address, and the way back."""
    page.open(route)
    page.the("h1", "There is no such page")
    assert page.the("code").text == route
    page.click("main a", "Jobs")
    page.the("h1", "Jobs")


def test_a_link_goes_deep(page: Page) -> None:
    """A job's address opens that job, with whatever characters its id has."""
    page.open("#/jobs/a%2Fb%20c")
    page.the("h1", "a/b c")


def test_what_the_backend_lacks_is_greyed_with_the_reason(page: Page, studio: ScriptedStudio) -> None:
    """A view that needs it cannot be chosen and says why, in the text, too; the details list all of it."""
    studio.answers["GET /api/credentials"] = about(features=["datasets"])
    page.open()
    link = page.the("nav a[aria-disabled=true]", "Playground")
    assert "not on this backend" in link.text
    assert link.get_attribute("title") == "This backend does not run models."
    link.click()
    page.titled("Home")
    page.click(".backend summary")
    assert page.the(".lacking").text.split("\n") == [
        "Playground: This backend does not run models.",
        "Files of a job: This backend does not hand out the files of a job.",
        "List of models: This backend does not list its models.",
    ]
    assert page.accessibility() == []


def test_a_cloud_that_does_not_tell_its_features_can_chat(page: Page, studio: ScriptedStudio) -> None:
    """Inference is part of its contract, files of a job are not."""
    studio.answers["GET /api/credentials"] = about(features=[], backend=None, host="api.arkor.ai", mode="oauth")
    page.open()
    page.click(".backend summary", "api.arkor.ai")
    assert "Files of a job" in page.the(".lacking").text
    assert page.all("nav a[aria-disabled=true]") == []


def test_a_backend_that_is_down_is_said_to_be(page: Page, studio: ScriptedStudio) -> None:
    """The header says so in words, until it is back."""
    unknown = dict.fromkeys(("backend", "features", "mode", "org"))
    studio.answers["GET /api/credentials"] = about(error="Connection refused.", **unknown)
    page.open()
    page.the(".backend-state", "cannot be reached")
    page.click(".backend summary")
    page.the(".backend-details .problem", "Connection refused.")
    assert page.the(".facts").text.startswith("Backend\n\N{EN DASH}\n")
    studio.answers["GET /api/credentials"] = about()
    page.gone(".backend-state")


def test_studio_goes_away_and_comes_back(page: Page, studio: ScriptedStudio) -> None:
    """A notice says so; what was shown stays, and is brought up to date afterwards."""
    page.meets_refusals = True
    studio.answers["GET /api/jobs"] = Answer({"jobs": [{"id": "job_1", "name": "before", "status": "queued"}]})
    page.open("#/jobs")
    page.the("td a", "before")
    with studio.away():
        page.the(".notice", "Studio has stopped answering")
        page.the(".stale", "Couldn't refresh the jobs: Studio does not answer. Is `arkor dev` still running?")
        assert page.accessibility() == []
        page.the("td a", "before")
        studio.answers["GET /api/jobs"] = Answer({"jobs": [{"id": "job_1", "name": "after", "status": "queued"}]})
    page.the("td a", "after")
    page.gone(".notice")
    page.gone(".stale")


def test_studio_is_started_anew(page: Page, studio: ScriptedStudio) -> None:
    """The old page cannot speak to the new Studio: it offers to load again, and then can."""
    page.meets_refusals = True
    page.open()
    page.button("Run training: triage")
    studio.token = "f" * 64
    page.the(".notice", "Studio was started anew")
    page.click("button", "Load the page again")
    page.button("Run training: triage")
    page.gone(".notice")


def test_a_backend_that_refuses_a_token_is_not_another_studio(page: Page, studio: ScriptedStudio) -> None:
    """Its words may be about a token of its own; loading again would mend nothing."""
    page.meets_refusals = True
    studio.answers["GET /api/jobs"] = Answer({"error": "This token may not list jobs."}, 403)
    page.open("#/jobs")
    page.the(".stale", "Couldn't load the jobs: This token may not list jobs.")
    assert page.all(".notice") == []


def test_nothing_that_comes_from_a_backend_is_markup(page: Page, studio: ScriptedStudio) -> None:
    """Names, ids, statuses, errors and output are text."""
    page.meets_refusals = True
    studio.answers["GET /api/credentials"] = about(host=MARKUP, org=MARKUP, error=MARKUP, backend=MARKUP)
    studio.answers["GET /api/manifest"] = Answer({"error": MARKUP}, 400)
    studio.answers["GET /api/jobs"] = Answer({"jobs": [{"id": MARKUP, "name": MARKUP, "status": MARKUP}]})
    studio.starts(job_id=MARKUP).say(MARKUP)
    page.open()
    page.the(".short-row", MARKUP)
    page.click(".fold", "Output")
    page.the(".log", MARKUP)
    page.the(".run-status a", MARKUP)
    page.the(".manifest", f"Couldn't read manifest: {MARKUP}")
    page.click("nav a", "Jobs")
    page.the(".table .id", MARKUP)
    page.the(".table .status", MARKUP)
    assert page.run("return document.querySelectorAll('img[onerror], b b, main b').length") == 0


def test_the_keyboard_reaches_everything(page: Page, studio: ScriptedStudio) -> None:
    """The first stop skips the header; after it come the links, then the view, in the order that one sees."""
    studio.answers["GET /api/jobs"] = Answer({"jobs": [{"id": "job_1", "name": "triage", "status": "queued"}]})
    page.open()
    page.button("Run training: triage")
    page.the(".short-row")
    page.the(".backend summary", "support-bot")
    stops = [page.tab().split("\n")[0] for _ in range(11)]
    assert stops == [
        *("Skip to the content", "arkor Studio", "Home", "Jobs", "Playground", "127.0.0.1:4747"),
        *("Run training: triage", "dry-run", "See its rows", "Output of the run", "All jobs"),
    ]
    assert page.tab() == "triage"
    page.run("document.activeElement.blur()")
    page.the("body").send_keys(Keys.HOME)
    page.run("document.querySelector('.skip-link').focus()")
    page.press(Keys.ENTER)
    assert page.tab() == "Run training: triage"


@pytest.mark.parametrize("width", [360, 1600])
def test_no_view_is_wider_than_its_window(page: Page, studio: ScriptedStudio, width: int) -> None:
    """Long names, ids and words wrap."""
    job = {"id": "job_" + "x" * 60, "name": "y" * 200, "status": "a-status-nobody-knows", "createdAt": "2026-01-31"}
    studio.answers["GET /api/jobs"] = Answer({"jobs": [job]})
    studio.answers["GET /api/credentials"] = about(features=[], host="h" * 80, error="e" * 300, baseUrl="u" * 200)
    studio.answers["GET /api/manifest"] = Answer({"trainer": {"name": "n" * 200}})
    studio.starts(job_id="job_" + "x" * 60).say("z" * 1000)
    page.look(width, 800)
    for route in ROUTES:
        page.open(route)
        page.click(".backend-state", "cannot be reached")
        page.the("h1") if route != "#/" else page.the(".short-row")
        assert page.overflow() <= 0, route


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_views_are_free_of_what_axe_finds(page: Page, studio: ScriptedStudio, scheme: str) -> None:
    """In light and in dark, with a job of every status."""
    names = ("queued", "running", "completed", "failed", "cancelled", "unheard-of")
    jobs = [{"id": f"job_{name}", "name": name, "status": name, "createdAt": "2026-01-31"} for name in names]
    studio.answers["GET /api/jobs"] = Answer({"jobs": jobs})
    page.look(1200, 800, scheme)
    for route, element in (("#/", ".short-row"), ("#/jobs", ".table tr:last-child"), ("#/nowhere", "h1")):
        page.open(route)
        page.the(".backend summary", "support-bot")
        page.the(element)
        assert page.accessibility() == [], route


def test_asking_has_a_safe_answer(page: Page) -> None:
    """The dialog has the focus on the answer that changes nothing; Escape is that answer; the focus comes back."""
    page.open()
    page.button("Run training: triage")
    page.run("""
        document.querySelector('.button-primary').focus();
        window.ask = async () => {
            window.answer = null;
            const { confirm } = await import('/static/dialog.js');
            window.answer = await confirm({title: 'Cancel it?', text: 'It ends.', yes: 'Cancel it'});
        };
    """)
    for key in (Keys.ESCAPE, Keys.ENTER):
        page.run("window.ask()")
        page.the("dialog", "It ends.")
        assert key == Keys.ENTER or page.accessibility() == []
        page.press(key)
        eventually(lambda: page.run("return window.answer") is False, "no")
        assert page.run("return document.activeElement.textContent") == "Run training: triage"
    page.run("window.ask()")
    page.click("button", "Cancel it")
    eventually(lambda: page.run("return window.answer") is True, "yes")


def test_a_hidden_page_asks_for_nothing(page: Page, studio: ScriptedStudio) -> None:
    """In a tab behind another one it holds no connection, though an answer was late; seen again, it is up to date."""
    run = studio.starts()
    run.say("first\n")
    page.open()
    page.the(".log", "first")
    page.run("document.addEventListener('visibilitychange', () => { window.wasHidden = true; }, {once: true})")
    gate = threading.Event()
    studio.answers["GET /api/jobs"] = Answer({"jobs": []}, gate=gate)
    page.asked("GET /api/jobs", len(studio.asked("GET /api/jobs")) + 1)
    mine = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    try:
        gate.set()
        run.say("second\n")
        run.cut()
        eventually(lambda: is_quiet(page, studio), "no request in the time of a few polls")
    finally:
        page.browser.close()
        page.browser.switch_to.window(mine)
    page.the(".log", "second")
    assert page.run("return window.wasHidden")
