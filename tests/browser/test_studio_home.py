"""Studio's Home: the run panel in every state it has, and the jobs beside it."""

from __future__ import annotations

import threading

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.jobview import charted
from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_script import Answer, ScriptedStudio

JOBS = "GET /api/jobs"
MANIFEST = "GET /api/manifest"
NO_TRAINER = "No trainer in src/arkor/index.py yet. Add create_trainer(...) and pass it to create_arkor."
RUN = "Run training: triage"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"

TERMINAL = """
    const [pieces, done] = arguments;
    import('/static/home/terminal.js').then(({Terminal}) => {
        const terminal = new Terminal();
        for (const piece of pieces) terminal.write(piece);
        done(terminal.lines);
    });
"""

SHOWN = (
    ("a\nb", ["a", "b"]),
    ("a\r\nb\r\n", ["a", "b", ""]),
    ("10%\r55%\r100%", ["100%"]),
    ("long text\rshort", ["shorttext"]),
    ("long text\r\x1b[Kshort", ["short"]),
    ("\x1b[1;31mred\x1b[0m \x1b[38;5;9mx\x1b[m", ["red x"]),
    ("\x1b]0;a title\x07text\x1b]8;;http://x\x1b\\link", ["textlink"]),
    ("no title\x1b] has\nan end", ["no title has", "an end"]),
    ("one\ntwo\n\x1b[2A\rONE", ["ONE", "two", ""]),
    ("ab\b\bc", ["cb"]),
    ("a\tb", ["a       b"]),
    ("a\x07\x00b\x7f", ["ab"]),
    ("x\x1b[999999999B\x1b[99999A\x1b[5000Cy", ["x".ljust(1001) + "y"]),
    ("grün 日本 🙂\n", ["grün 日本 🙂", ""]),
)


def test_a_run_whose_job_is_paused_says_so(page: Page, studio: ScriptedStudio) -> None:
    """As long as it is; the run goes on meanwhile."""
    page.open()
    page.click("button", RUN)
    page.the(".run-status", "Run under way.")
    run = studio.run
    assert run is not None
    run.job_id = "job_7"
    job = {"id": "job_7", "name": "triage", "status": "paused"}
    studio.answers[JOBS] = Answer({"jobs": [job]})
    page.the(".run-status", "Run under way. Job job_7 is paused.")
    page.the(".short-row .status-paused", "paused")
    assert page.accessibility() == []
    studio.answers[JOBS] = Answer({"jobs": [{**job, "status": "running"}]})
    page.reads(".run-status", "Run under way. Job job_7")


def test_a_trainer_can_be_run(page: Page, studio: ScriptedStudio) -> None:
    """The button has its name; it is off while the run is in flight, and on after its exit.

    Its job is the one that the server names, whatever its output says.
    """
    page.open()
    button = page.button(RUN)
    page.the(".log-empty", "What the run prints appears here.")
    button.click()
    page.the(".run-status", "Run under way. Its job is not known yet.")
    assert not button.is_enabled()
    assert studio.asked("POST /api/train") == [{"dryRun": False}]
    run = studio.run
    assert run is not None
    studio.answers[JOBS] = Answer({"jobs": [{"id": "job_7", "name": "triage", "status": "running"}]})
    run.say("Reading rows\nStarted job job_99\n")
    run.job_id = "job_7"
    run.say("Started job job_7\nstep 1\n")
    page.click(".fold", "Output")
    page.the(".log", "step 1")
    page.the(".short-row", "triage")
    assert str(page.the(".run-status a", "job_7").get_attribute("href")).endswith("#/jobs/job_7")
    assert page.accessibility() == []
    run.end(0)
    page.the(".run-status", "exit 0 The run has ended well. Job job_7")
    page.reads(".log", "Reading rows\nStarted job job_99\nStarted job job_7\nstep 1\n[exit 0]\n")
    assert page.button(RUN).is_enabled()
    page.gone(".stop")
    page.reads("#announcer", "The run has ended with exit code 0.")


def test_a_run_is_shown_as_its_job(page: Page, studio: ScriptedStudio) -> None:
    """A bar with the time left, the chart, and the newest sample, as they come; the output is folded below."""
    job = studio.job("job_7", name="triage")
    job.wire["config"]["samplePrompts"] = 2
    studio.answers[JOBS] = Answer({"jobs": [job.wire]})
    run = studio.starts()
    run.say("Reading rows\n")
    page.open()
    page.the(".log", "Reading rows")
    assert page.all(".fold") == []
    run.job_id = "job_7"
    run.say("Started job job_7\n")
    job.event("training.preparing", phase="tokenizing", done=100, total=400)
    page.the(".preparing", "Tokenizing the rows \N{MIDDLE DOT} 25 %")
    page.gone(".log")
    job.event("training.started", metadata={"maxSteps": 40})
    for step in range(1, 11):
        job.log(step, loss=2 / step, timestamp=f"2026-01-31T09:30:{10 + step}.000Z")
    page.the(".training-bar", "Step 10 of 40 \N{MIDDLE DOT} loss 0.2000 \N{MIDDLE DOT} 30 s left")
    assert page.run("return document.querySelector('.training-bar progress').value") == 0.25
    page.gone(".preparing")
    charted(page, 10)
    assert page.all(".run-sample") == []
    job.sample(10, 1, "At nine.", expected="At ten.", exact=False)
    page.the(".run-sample", "Newest sample, step 10")
    assert page.the(".run-sample").text.split("\n")[1:] == ["Question 1?", "At nine.", "Expected", "At ten."]
    job.sample(20, 1, MARKUP, expected=MARKUP, exact=True)
    page.the(".run-sample", "\N{CHECK MARK} equals the expected answer")
    page.the(".run-sample", MARKUP)
    for width, scheme in ((1280, "light"), (390, "dark")):
        page.look(width, 900, scheme)
        assert page.accessibility() == []
        assert page.overflow() == 0
    page.button("Output").send_keys(Keys.ENTER)
    page.the(".log", "Started job job_7")
    page.open()
    page.the(".run-sample", MARKUP)
    assert page.run("return document.querySelectorAll('main img, main b').length") == 0
    page.click(".run-sample a", "All samples")
    page.the(".samples td", MARKUP)


def test_a_failure_unfolds_the_output(page: Page, studio: ScriptedStudio) -> None:
    """It may say what went wrong, unless somebody has folded it."""
    run = studio.starts(job_id="job_7")
    studio.answers[JOBS] = Answer({"jobs": [{"id": "job_7", "name": "triage", "status": "failed"}]})
    run.say("Traceback\n")
    page.open()
    page.button("Output")
    assert page.all(".log") == []
    run.end(1)
    page.the(".log", "Traceback")
    page.click(".fold")
    page.gone(".log")


def test_the_job_of_a_run_that_ends_at_once_is_known(page: Page, studio: ScriptedStudio) -> None:
    """Its output and its end came before the page asked again."""
    page.open()
    page.click("button", RUN)
    eventually(lambda: studio.run, "a run")
    assert studio.run is not None
    studio.run.job_id = "job_7"
    studio.run.end(0)
    page.the(".run-status", "exit 0 The run has ended well. Job job_7")


def test_a_dry_run_is_asked_for(page: Page, studio: ScriptedStudio) -> None:
    """With the switch on, the run is a dry one, and is called so."""
    page.open()
    page.button(RUN)
    page.click(".switch-label")
    page.click("button", RUN)
    page.the(".run-status", "Dry run under way.")
    assert studio.asked("POST /api/train") == [{"dryRun": True}]


@pytest.mark.parametrize(
    ("code", "text"),
    [(1, "The job failed or was cancelled."), (2, "The run did not start"), (-9, "The run has ended.")],
)
def test_an_exit_is_explained(page: Page, studio: ScriptedStudio, code: int, text: str) -> None:
    """A code that arkor has a meaning for comes with it; the panel of an ended run is there after a reload."""
    run = studio.starts(job_id="job_7")
    run.say("no line end")
    run.end(code)
    page.open()
    page.the(".run-status", f"exit {code} {text}")
    page.the(".log", f"no line end\n[exit {code}]")
    assert page.accessibility() == []


def test_no_trainer_yet(page: Page, studio: ScriptedStudio) -> None:
    """It says what to write; once that is written and somebody comes back to the page, the button has the name."""
    studio.answers[MANIFEST] = Answer({"trainer": None})
    page.open()
    page.reads(".manifest span", NO_TRAINER)
    assert not page.button("Run training").is_enabled()
    assert page.accessibility() == []
    studio.answers[MANIFEST] = Answer({"trainer": {"name": "triage"}})
    eventually(lambda: page.run("window.dispatchEvent(new Event('focus'))") or page.all(".button-primary:enabled"), RUN)
    assert page.button(RUN).is_enabled()
    page.gone(".manifest")


def test_a_manifest_that_cannot_be_read(page: Page, studio: ScriptedStudio) -> None:
    """The error is shown as it is; it can be tried again."""
    page.meets_refusals = True
    error = "src/arkor/index.py: SyntaxError: invalid syntax\n  trainer =" + 40 * "\n  more of it"
    studio.answers[MANIFEST] = Answer({"error": error}, 400)
    page.open()
    page.reads(".manifest span", f"Couldn't read manifest: {error}")
    assert not page.button("Run training").is_enabled()
    assert page.accessibility() == []
    studio.answers[MANIFEST] = Answer({"trainer": {"name": "triage"}})
    page.click("button", "Try again")
    assert page.button(RUN).is_enabled()


def test_nothing_can_be_run_before_the_manifest_is_known(page: Page, studio: ScriptedStudio) -> None:
    """While it is read the panel says so."""
    gate = threading.Event()
    studio.answers[MANIFEST] = Answer({"trainer": {"name": "triage"}}, gate=gate)
    page.open()
    page.reads(".manifest span", "Reading src/arkor/index.py …")
    assert not page.button("Run training").is_enabled()
    gate.set()
    assert page.button(RUN).is_enabled()


def test_a_run_is_of_the_entry_as_it_is_now(page: Page, studio: ScriptedStudio) -> None:
    """An edit that broke the entry after the page was opened shows, and nothing is started."""
    page.meets_refusals = True
    page.open()
    button = page.button(RUN)
    studio.answers[MANIFEST] = Answer({"error": "NameError: trainr"}, 400)
    button.click()
    page.the(".manifest", "Couldn't read manifest: NameError: trainr")
    assert studio.asked("POST /api/train") == []


def test_a_start_that_is_refused(page: Page, studio: ScriptedStudio) -> None:
    """The reason is shown, and it can be tried again."""
    page.meets_refusals = True
    studio.answers["POST /api/train"] = Answer({"error": "A run is under way."}, 409)
    page.open()
    page.click("button", RUN)
    page.the(".problem", "A run is under way.")
    del studio.answers["POST /api/train"]
    eventually(lambda: page.button(RUN).is_enabled(), "another try")
    page.click("button", RUN)
    assert len(page.asked("POST /api/train", 2)) == 2
    page.click("button", RUN)
    page.the(".run-status", "Run under way.")
    page.gone(".problem")


def test_stopping_takes_two_presses(page: Page, studio: ScriptedStudio) -> None:
    """The first asks, with the focus on the safe answer; the second stops; then nothing can be pressed twice."""
    run = studio.starts(job_id="job_7")
    page.open()
    page.button("Stop").send_keys(Keys.ENTER)
    assert page.browser.switch_to.active_element.text == "Keep running"
    assert page.accessibility() == []
    page.press(Keys.ENTER)
    assert page.browser.switch_to.active_element.text == "Stop"
    assert studio.asked("POST /api/train/stop") == []
    page.press(Keys.ENTER)
    page.click("button", "Stop it")
    page.asked("POST /api/train/stop")
    assert not page.button("Stopping …").is_enabled()
    page.the(".run-status", "Stopping the run and cancelling its job … Job job_7")
    run.end(130)
    page.the(".run-status", "stopped The run was stopped. Job job_7")


@pytest.mark.parametrize("code", [130, 1, 137])
def test_a_run_that_was_stopped_ends_as_cancelled(page: Page, studio: ScriptedStudio, code: int) -> None:
    """Whichever way the command ends then, nothing about it is red; it is cancelled once its job is."""
    job = {"id": "job_7", "name": "triage", "status": "running"}
    studio.answers[JOBS] = Answer({"jobs": [job]})
    run = studio.starts(job_id="job_7")
    page.open()
    page.click("button", "Stop")
    page.click("button", "Stop it")
    page.asked("POST /api/train/stop")
    run.end(code)
    page.the(".run-status", "stopped The run was stopped. Job job_7")
    studio.answers[JOBS] = Answer({"jobs": [{**job, "status": "cancelled"}]})
    page.the(".run-status", "cancelled The run was stopped. Job job_7")
    page.reads("#announcer", "The run was stopped.")
    assert page.all(".exit-bad") == []
    assert page.accessibility() == []


def test_a_run_without_a_job_is_cancelled_by_stop(page: Page, studio: ScriptedStudio) -> None:
    """Nothing was submitted; another tab's Stop counts as much."""
    run = studio.starts()
    page.open()
    page.the(".run-status", "Run under way.")
    run.stopping = True
    run.end(130)
    page.the(".run-status", "cancelled The run was stopped.")
    assert page.all(".exit") == []


def test_a_run_whose_job_was_cancelled_ends_as_cancelled(page: Page, studio: ScriptedStudio) -> None:
    """By its own Cancel, or elsewhere: it is not called a failure, not even until the list of jobs has come."""
    job = {"id": "job_7", "name": "triage", "status": "running"}
    studio.answers[JOBS] = Answer({"jobs": [job]})
    run = studio.starts(job_id="job_7")
    page.open()
    page.the(".short-row", "running")
    run.end(1)
    page.the(".run-status .exit-open", "exit 1")
    studio.answers[JOBS] = Answer({"jobs": [{**job, "status": "cancelled"}]})
    page.the(".run-status", "cancelled The job was cancelled. Job job_7")
    page.reads("#announcer", "The run was cancelled.")
    assert page.all(".exit") == []
    page.browser.refresh()
    page.the(".run-status", "cancelled The job was cancelled. Job job_7")


def test_a_run_whose_job_failed_is_a_failure(page: Page, studio: ScriptedStudio) -> None:
    """Also where somebody pressed Stop just then."""
    studio.answers[JOBS] = Answer({"jobs": [{"id": "job_7", "name": "triage", "status": "failed"}]})
    run = studio.starts(job_id="job_7")
    run.stopping = True
    run.end(1)
    page.open()
    page.the(".run-status", "exit 1 The job failed. Job job_7")
    assert len(page.all(".exit-bad")) == 1


def test_a_stop_that_fails_says_so(page: Page, studio: ScriptedStudio) -> None:
    """The run goes on, and can be stopped again."""
    page.meets_refusals = True
    studio.answers["POST /api/train/stop"] = Answer({"error": "The backend is down."}, 502)
    studio.starts()
    page.open()
    page.click("button", "Stop")
    page.click("button", "Stop it")
    page.the(".problem", "The run could not be stopped: The backend is down.")
    assert page.button("Stop").is_enabled()


def test_a_reload_loses_nothing(page: Page, studio: ScriptedStudio) -> None:
    """The log is there from its first line, and goes on; so it is in a tab that did not start the run."""
    page.open()
    page.click("button", RUN)
    eventually(lambda: studio.run, "a run")
    assert studio.run is not None
    studio.run.job_id = "job_7"
    studio.run.say("first\nStarted job job_7\n")
    page.click(".fold", "Output")
    page.the(".log", "first")
    page.browser.refresh()
    page.click(".fold", "Output")
    page.the(".log", "first\nStarted job job_7")
    page.the(".run-status a", "job_7")
    studio.run.say("second\n")
    page.the(".log", "first\nStarted job job_7\nsecond")
    assert not page.button(RUN).is_enabled()


def test_another_view_and_back_loses_nothing(page: Page, studio: ScriptedStudio) -> None:
    """The run goes on while one looks at the jobs."""
    run = studio.starts()
    run.say("first\n")
    page.open()
    page.the(".log", "first")
    page.click("nav a", "Jobs")
    page.the("h1", "Jobs")
    run.say("second\n")
    page.browser.back()
    page.the(".log", "first\nsecond")


def test_a_run_of_another_tab_is_seen(page: Page, studio: ScriptedStudio) -> None:
    """It takes the place of the one before."""
    studio.starts().say("old\n")
    page.open()
    page.the(".log", "old")
    assert studio.run is not None
    studio.run.end(0)
    page.the(".run-status", "exit 0")
    studio.starts(dry_run=True).say("new\n")
    page.the(".run-status", "Dry run under way.")
    page.reads(".log", "new\n")


def test_a_log_that_is_cut_off_is_read_again(page: Page, studio: ScriptedStudio) -> None:
    """Nothing of it is missing or twice, and nothing is lost while Studio is away."""
    page.meets_refusals = True
    run = studio.starts()
    run.say("first\n")
    page.open()
    page.the(".log", "first")
    run.cut()
    run.say("second\n")
    page.reads(".log", "first\nsecond\n")
    with studio.away():
        page.the(".run-status", "The log is cut off; connecting again …")
        page.reads(".log", "first\nsecond\n")
    run.say("third\n")
    page.reads(".log", "first\nsecond\nthird\n")
    page.gone(".run-status .warning")


def test_the_log_follows_unless_somebody_reads(page: Page, studio: ScriptedStudio) -> None:
    """It stays at its end; scrolled up it stays where it is, and a button leads back."""
    run = studio.starts()
    run.say("".join(f"line {number}\n" for number in range(6000)))
    page.open()
    below = "const log = document.querySelector('.log'); return log.scrollHeight - log.scrollTop - log.clientHeight"
    page.the(".log", "line 5999")
    assert "line 999\n" not in page.the(".log").text, "the oldest lines go"
    assert page.run(below) < 12
    run.say("more\n")
    page.the(".log", "more")
    assert page.run(below) < 12
    page.the(".log").send_keys(Keys.HOME)
    page.button("Jump to the end")
    eventually(lambda: page.run("return document.querySelector('.log').scrollTop") == 0, "the start")
    run.say("unseen\n")
    page.the(".log", "unseen")
    assert page.run("return document.querySelector('.log').scrollTop") == 0
    page.click("button", "Jump to the end")
    eventually(lambda: page.run(below) < 12, "the end")
    page.gone(".log-jump")


def test_the_log_shows_what_a_terminal_would(page: Page) -> None:
    """Progress bars overwrite themselves, colours and titles are dropped, wherever the output is cut in pieces."""
    page.open("#/nowhere")
    for text, lines in SHOWN:
        for pieces in ([text], list(text)):
            assert page.browser.execute_async_script(TERMINAL, pieces) == lines


def test_the_jobs_stand_beside(page: Page, studio: ScriptedStudio) -> None:
    """The newest twelve, with a link to all; none yet is said."""
    page.open()
    page.reads(".empty", "No jobs yet.")
    jobs = [{"id": f"job_{i}", "name": f"run {i}", "status": "completed", "createdAt": "2026-01-31"} for i in range(20)]
    studio.answers[JOBS] = Answer({"jobs": jobs})
    page.the(".short-row", "run 0")
    assert len(page.all(".short-row")) == 12
    page.gone(".empty")
    page.click(".short-row a", "run 3")
    eventually(lambda: page.browser.current_url.endswith("#/jobs/job_3"), "the job's view")
    page.browser.back()
    page.click("a", "All 20 jobs")
    page.the("h1", "Jobs")
