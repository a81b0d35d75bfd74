"""Studio's view of one job: its status, its chart, its events as they come, and what it has left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from arkor.cli.display.run_progress import Figures
from arkor.protocol.events import TrainingCompletedEvent, parse_event
from arkor.protocol.jobs import TrainingJob
from arkor.protocol.metrics import METRICS
from arkor.protocol.receipt import NumberedCount, Receipt
from tests.browser.jobview import axis, charted, lines, logged, saved, switch, trace
from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_job import ScriptedJob
from tests.support.studio_script import ABOUT, Answer, ScriptedStudio

ROUTE = "#/jobs/job_1"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
DEFINITIONS = (".settings > .settings-facts", ".settings-defaults > .settings-facts")
ADAPTER = {"name": "adapter", "kind": "adapter", "sizeBytes": 9871360}
CHECKPOINT = {"name": "checkpoint-40", "kind": "adapter", "step": 40, "sizeBytes": 5000}
STREAM_ERROR = "The connection to the events broke off; Studio tries again."
HIDE = "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
HIDE += "document.dispatchEvent(new Event('visibilitychange'));"


@pytest.fixture
def job(studio: ScriptedStudio) -> ScriptedJob:
    """A job that runs, and has told nothing yet."""
    return studio.job("job_1", name="triage")


def shown_from(page: Page) -> str:
    """Return the step from which the fields below the chart say that it is shown."""
    return str(page.the("[aria-label='From step']").get_attribute("value"))


def test_a_job_that_runs(page: Page, job: ScriptedJob) -> None:
    """Its head says what it is; the chart waits for the first loss, then follows, and so does the log."""
    page.open(ROUTE)
    page.the("h1", "triage")
    page.titled("triage")
    page.the(".status-running", "running")
    page.the(".chart-empty", "No training.log events yet.")
    facts = page.the(".job-facts").text.split("\n")
    assert facts[:2] == ["ID", "job_1"]
    assert facts[-4:] == ["Model", "smollm2-135m", "Dataset", "uploaded, 9f2c9f2c9f2c"]
    job.event("training.started", metadata={"device": "cpu", "maxSteps": 4})
    job.log(1, loss=2.5, learningRate=2e-4)
    job.log(1, evalLoss=2.75)
    job.log(2, loss=None)
    job.log(3, loss=1.25)
    charted(page, 3)
    assert trace(page, "loss") == {"x": [1, 2, 3], "y": [2.5, None, 1.25]}
    assert trace(page, "eval loss") == {"x": [1], "y": [2.75]}
    assert lines(page) == [
        *(
            "Training started",
            "step 1/4  loss 2.5000",
            "step 1/4  eval loss 2.7500",
            "step 2/4",
            "step 3/4  loss 1.2500",
        ),
    ]
    page.the(".job-facts", "3 of 4")
    ticks = page.run("return [...document.querySelectorAll('.xtick text')].map((one) => one.textContent)")
    assert ticks == ["1", "2", "3"]
    label = str(page.the(".plot").get_attribute("aria-label"))
    assert "Last: step 3, loss 1.2500. Last evaluation: step 1, loss 2.7500." in label
    page.click("summary", "Show as table")
    shown = page.the(".figures tbody tr").text.split()
    assert shown == ["3", "1.2500", *["\N{EN DASH}"] * (len(METRICS) - 1)]
    assert page.accessibility() == []


def test_settings_have_the_names_that_one_writes(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """And Python's values. Those that were not given follow in grey, if the backend is one whose defaults are known."""
    job.wire["config"] |= {"loraR": 8, "loadIn4bit": True, "datasetSplit": {"evalFraction": 0.1}, "newThing": None}
    page.open(ROUTE)
    page.click(".settings > summary", "Settings")
    page.the(".settings-defaults", "By default")
    given, defaults = (dict(part.split("\n", 1) for part in page.texts(f"{css} > div")) for css in DEFINITIONS)
    assert list(given) == ["model", "dataset", "dataset_split", "max_steps", "lora.r", "lora.load_in_4bit", "newThing"]
    assert (given["model"], given["dataset_split"]) == ('"smollm2-135m"', '{"eval_fraction": 0.1}')
    assert (given["lora.r"], given["lora.load_in_4bit"], given["newThing"]) == ("8", "True", "None")
    assert (defaults["learning_rate"], defaults["optim"]) == ("0.0002", '"adamw_torch"')
    assert defaults["eval_batch_size"] == "twice batch_size: no gradients are kept"
    assert not set(given) & set(defaults)
    colour = "return getComputedStyle(document.querySelector(arguments[0])).color"
    assert len({page.run(colour, f"{css} dd") for css in DEFINITIONS}) == 2
    assert page.accessibility() == []
    studio.answers["GET /api/credentials"] = Answer({**ABOUT, "backend": None})
    page.open(ROUTE)
    page.click(".settings > summary", "Settings")
    page.the(".settings-facts", "lora.r")
    page.gone(".settings-defaults")


def test_events_are_the_sentences_of_the_command_line(page: Page, job: ScriptedJob) -> None:
    """Each has its JSON on demand: of one line, or of all."""
    share = {"phase": "tokenizing", "done": 1, "total": 3}
    disk = {"reason": "the disk is full: 12 MiB are free", "step": 2}
    for kind, fields in (
        ("training.preparing", {"phase": "reading", "done": 0, "total": 0}),
        ("training.preparing", share),
        ("training.started", {"metadata": {"maxSteps": 4}}),
        ("training.log", {"step": 1, "loss": 2.51239}),
        ("training.log", {"step": 2, "loss": 1, "evalLoss": 0.5}),
        ("checkpoint.saved", {"step": 2, "artifacts": [CHECKPOINT]}),
        ("training.interrupted", {"reason": "Memory  ran\nout", "batchSize": 2, "gradientAccumulationSteps": 4}),
        ("training.paused", disk),
        ("training.unpaused", {}),
        ("training.log", {"step": 5, "loss": None}),
    ):
        job.event(kind, **fields)
    job.sample(2, 0, "At nine.\n" + "x" * 200)
    job.end("training.completed", metrics={"bestStep": 2, "bestEvalLoss": 0.5})
    page.open(ROUTE)
    page.the(".line-completed")
    figures = Figures(TrainingJob.from_wire(job.wire), "")
    events = [parse_event(event) for event in job.metrics()["lines"]]
    told = []
    for event in events:
        assert event is not None
        figures.take(event)
        told.append(figures.line(event))
    *before, last = lines(page)
    assert [" ".join(line.split()) for line in before] == [" ".join(line.split()) for line in told[:-1]]
    assert last == f"Completed. {told[-1]}"
    page.click(".line summary", "checkpoint saved")
    page.reads(".line-json", json.dumps({k: v for k, v in job.metrics()["lines"][5].items() if k != "id"}, indent=2))
    page.run("document.querySelector('.log').scrollTop = 0")
    switch(page, "Raw JSON")
    assert len(page.all(".line-json")) == len(lines(page))
    assert page.accessibility() == []
    switch(page, "Raw JSON")
    page.gone(".line-json")


def test_the_preparing_of_the_rows_has_a_bar(page: Page, job: ScriptedJob) -> None:
    """With the time left, by the backend's clock, until the training starts; also for a page that comes later."""
    page.open(ROUTE)
    page.the(".status-running", "running")
    assert page.all(".preparing") == []
    job.event("training.preparing", phase="reading", done=0, total=0)
    page.the(".preparing", "Reading the rows")
    assert page.run("return document.querySelector('.preparing progress').hasAttribute('value')") is False
    for second, done in enumerate((0, 100)):
        at = f"2026-01-01T09:00:0{second}.000Z"
        job.event("training.preparing", phase="tokenizing", done=done, total=1000, timestamp=at)
    for again in (False, True):
        if again:
            page.open(ROUTE)
        page.the(".preparing", "Tokenizing the rows \N{MIDDLE DOT} 10 % \N{MIDDLE DOT} 9 s left")
        assert page.run("return document.querySelector('.preparing progress').value") == 0.1
    assert page.accessibility() == []
    job.event("training.started", metadata={})
    page.gone(".preparing")
    eventually(lambda: lines(page)[-1] == "Training started", "the line of the start")


RECEIPT = Receipt(
    rows=12_340,
    held_out_rows=2000,
    examples=12_345,
    answers=12_345,
    tokens=1_234_567,
    counted_tokens=123_456,
    max_length=2048,
    max_length_reason="the most on a CPU",
    left_out={MARKUP: NumberedCount.of([5]), "tools": NumberedCount.of([], [7, 9])},
    unseen_keys={MARKUP: NumberedCount.of([5]), "id": NumberedCount.of(range(1, 12_341))},
    more_unseen_keys=3,
    recognised_columns="question as prompt, answer as completion",
    special_text=NumberedCount.of([6], [2]),
    dropped=NumberedCount.of(range(1, 31), [4]),
    truncated=NumberedCount.of([3], [3]),
    without_end=NumberedCount.of([3]),
    duplicates=NumberedCount.of([8, 9]),
    held_out_duplicates=NumberedCount.of([], [1]),
)


def test_each_field_of_a_receipt_is_compared() -> None:
    """What the page leaves out would be missing in the comparison, too."""
    assert [field.name for field in attrs.fields(Receipt) if getattr(RECEIPT, field.name) == field.default] == [
        "unlearnt_answers"  # no text tells of it
    ]


def receipt(page: Page) -> list[str]:
    """Return what the page says of the rows: a line, and the warnings."""
    return page.texts(".receipt p, .receipt li")


def words(receipt: Receipt) -> list[str]:
    """Return what the command line says of them."""
    return [receipt.line(), *(f"Warning: {warning}" for warning in receipt.warnings())]


def test_what_became_of_the_rows(page: Page, job: ScriptedJob) -> None:
    """As it comes, in the words of the command line; with nothing lost it is one line."""
    page.open(ROUTE)
    page.the(".status-running", "running")
    assert receipt(page) == []
    job.event("training.started", metadata={"receipt": RECEIPT.to_wire()})
    page.the(".receipt", "Warning")
    assert receipt(page) == words(RECEIPT)
    assert page.all(".receipt b, .receipt img") == []
    assert page.accessibility() == []
    page.look(360, 800, "dark")
    assert page.overflow() == 0
    assert page.accessibility() == []
    page.look(1200, 800)
    job.event("training.started", metadata={"receipt": RECEIPT.to_wire(), "advice": [MARKUP, 3]})
    page.the(".receipt", "Advice")
    assert receipt(page) == [*words(RECEIPT), f"Advice: {MARKUP}"]
    whole = Receipt(rows=1, answers=1, tokens=12, counted_tokens=3, max_length=12, max_length_reason="the longest row")
    job.event("training.started", metadata={"receipt": whole.to_wire()})
    page.gone(".receipt li")
    assert receipt(page) == words(whole)


def test_what_became_of_the_rows_is_there_after_a_reload(page: Page, job: ScriptedJob) -> None:
    """Also of a job that has logged far more than the last events, and how many steps it has."""
    job.event("training.started", metadata={"receipt": RECEIPT.to_wire(), "maxSteps": 700})
    job.logs(range(1, 601))
    page.open(ROUTE)
    page.the(".receipt", "Warning")
    assert receipt(page) == words(RECEIPT)
    page.the(".job-facts", "600 of 700")


@pytest.mark.parametrize("metadata", [{}, {"receipt": None}, {"receipt": "none"}, {"receipt": []}])
def test_an_old_job_has_no_receipt(page: Page, job: ScriptedJob, metadata: dict[str, Any]) -> None:
    """Nothing is said of its rows, also not after a receipt of another form."""
    job.event("training.started", metadata=metadata)
    job.log(1, loss=2.5)
    page.open(ROUTE)
    charted(page, 1)
    assert receipt(page) == []
    odd = {"receipt": {"rows": "many", "dropped": 3, "truncated": {"count": 2}, "leftOut": [], "maxLengthReason": 7}}
    job.event("training.started", metadata=odd)
    page.the(".receipt", "0 rows to train on")
    assert receipt(page)[1:] == ["Warning: 2 rows cut to max_length (rows …)"]


def test_held_out_rows_of_their_own_are_named(page: Page, studio: ScriptedStudio) -> None:
    """Beside the data set; other jobs say nothing of them."""
    job = studio.job("job_1", name="triage")
    page.open(ROUTE)
    page.the(".job-facts", "Dataset")
    assert "Held-out rows" not in page.the(".job-facts").text
    job.wire["config"]["evalDatasetSource"] = {"type": "huggingface", "name": "owner/rows", "split": "test"}
    page.open(ROUTE)
    facts = page.the(".job-facts", "Held-out rows").text.split("\n")
    assert facts[-2:] == ["Held-out rows", "owner/rows, test"]


@pytest.mark.parametrize("kind", ["completed", "failed", "cancelled"])
def test_a_job_ends_while_one_looks(page: Page, job: ScriptedJob, kind: str) -> None:
    """The status flips, a failure says why, and the stream is closed for good."""
    job.logs(range(1, 4))
    page.open(ROUTE)
    page.button("Cancel")
    eventually(lambda: job.opened, "the stream is open")
    job.artifacts = [CHECKPOINT, ADAPTER] if kind == "completed" else []
    told = {"artifacts": job.artifacts} if job.artifacts else {"error": "Out of memory"} if kind == "failed" else {}
    job.wire.update({"error": "Out of memory"} if kind == "failed" else {})
    job.end(f"training.{kind}", **told)
    page.the(f".status-{kind}", kind)
    page.the(".log", {"completed": "Completed.", "failed": "Failed: Out of memory", "cancelled": "Cancelled"}[kind])
    page.gone(".job-actions button")
    assert page.texts(".job-error") == (["Out of memory"] if kind == "failed" else [])
    assert page.texts(".artifacts h2") == (["artifacts: 2"] if kind == "completed" else [])
    assert kind == "cancelled" or page.accessibility() == []
    for hidden in (True, False):  # nor does the way back to the tab open it again
        page.run(HIDE, hidden)
    time_was = page.run("return performance.now()")
    eventually(lambda: page.run("return performance.now()") > time_was + 400, "the time of a few tries")
    assert job.opened == ["3"]
    assert job.streams == 0
    assert STREAM_ERROR not in lines(page)


def test_which_adapter_is_the_final_one_and_why_it_ended(page: Page, job: ScriptedJob) -> None:
    """In the words of the command line, as it comes and after a reload; usual ends need no words."""
    page.open(ROUTE)
    page.the(".status-running", "running")
    metrics = {"bestStep": 40, "bestEvalLoss": 0.61237, "endReason": "early_stopping"}
    job.end("training.completed", metrics=metrics)
    words = " ".join(TrainingCompletedEvent(job_id="job_1", timestamp="", metrics=metrics).notes())
    assert page.the(".job-outcome", "step 40").text == words
    assert page.accessibility() == []
    page.open(ROUTE)
    assert page.the(".job-outcome", "step 40").text == words


def test_an_ended_job_opens_no_stream(page: Page, job: ScriptedJob) -> None:
    """All that there is to know comes at once."""
    job.logs(range(1, 31))
    job.end("training.completed")
    page.open(ROUTE)
    page.the(".status-completed")
    charted(page, 30)
    assert job.opened == []


def test_a_job_that_failed_before_its_first_step(page: Page, job: ScriptedJob) -> None:
    """Its chart does not promise that something will come."""
    job.end("training.failed", error="Out of memory")
    page.open(ROUTE)
    page.reads(".chart-empty", "No training.log events.")


def test_a_cancelled_job_without_an_event_of_it(page: Page, job: ScriptedJob) -> None:
    """After the stream's end the job itself is asked for, as Arkor Cloud wants it."""
    page.open(ROUTE)
    page.the(".status-running")
    eventually(lambda: job.opened, "the stream is open")
    job.wire.update(status="cancelled")
    job.end()
    page.the(".status-cancelled")
    assert len(job.opened) == 1


def test_an_answer_from_before_the_end_changes_nothing(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """A job that has ended does not come back to life."""
    call = "GET /api/jobs/job_1"
    page.open(ROUTE)
    page.the(".status-running")
    eventually(lambda: job.opened, "the stream is open")
    studio.answers[call] = Answer({"job": dict(job.wire)})
    job.end("training.completed")
    page.the(".status-completed")
    page.asked(call, len(studio.asked(call)) + 2)  # the answer before the last one has come
    assert page.texts(".job-head .status") == ["completed"]
    assert page.all(".job-actions button") == []


def test_a_stream_that_breaks_is_resumed(page: Page, job: ScriptedJob) -> None:
    """One line says so; nothing is lost, and nothing comes twice."""
    page.meets_refusals = True
    job.logs(range(1, 4))
    page.open(ROUTE)
    charted(page, 3)
    eventually(lambda: job.opened == ["3"], "the stream is open")
    job.refuses = True
    job.cut()
    page.the(".log", STREAM_ERROR)
    job.logs(range(4, 8))
    asked = len(page.asked("GET /api/jobs/job_1"))
    page.asked("GET /api/jobs/job_1", asked + 3)
    job.refuses = False
    charted(page, 7)
    assert trace(page, "loss")["x"] == logged(page) == [1, 2, 3, 4, 5, 6, 7]
    assert lines(page).count(STREAM_ERROR) == 1
    assert job.opened == ["3", "3"]


def test_a_backend_without_ids_tells_everything_again(page: Page, studio: ScriptedStudio) -> None:
    """What comes again takes the place of what was there."""
    job = studio.job("job_1", numbered=False)
    job.logs(range(1, 4))
    page.open(ROUTE)
    charted(page, 3)
    job.log(4, loss=1)
    charted(page, 4)
    job.cut()
    eventually(lambda: len(job.opened) == 2, "a second stream")
    job.log(5, loss=1)
    charted(page, 5)
    eventually(lambda: trace(page, "loss")["x"] == logged(page) == [1, 2, 3, 4, 5], "each step once")


def test_a_hidden_tab_holds_no_stream(page: Page, job: ScriptedJob) -> None:
    """It is closed while nobody looks, and goes on behind the last event that was seen."""
    job.logs(range(1, 4))
    page.open(ROUTE)
    charted(page, 3)
    job.log(4, loss=1)
    charted(page, 4)
    page.run(HIDE, True)
    eventually(lambda: job.streams == 0, "a closed stream")
    job.logs(range(5, 9))
    assert logged(page)[-1] == 4
    page.run(HIDE, False)
    charted(page, 8)
    assert trace(page, "loss")["x"] == logged(page) == list(range(1, 9))
    assert job.opened == ["3", "4"]
    assert STREAM_ERROR not in lines(page)


def test_a_view_that_is_left_leaves_nothing_behind(page: Page, job: ScriptedJob) -> None:
    """Its stream is closed, and the way back shows the same again."""
    job.logs(range(1, 4))
    page.open(ROUTE)
    charted(page, 3)
    page.click("nav a", "Jobs")
    page.the("h1", "Jobs")
    eventually(lambda: job.streams == 0, "a closed stream")
    page.browser.back()
    charted(page, 3)
    assert logged(page) == [1, 2, 3]


def test_a_silent_stream_is_dead(page: Page, job: ScriptedJob) -> None:
    """Where not even a ping comes, such as after a laptop has slept, the stream is opened anew."""
    page.open(ROUTE)
    eventually(lambda: job.streams == 1, "a stream")
    job.silent = True
    later = "const now = Date.now; Date.now = () => now() + 60000;"
    eventually(lambda: page.run(later) or len(job.opened) == 2, "another stream")
    assert lines(page) == [STREAM_ERROR]


def test_a_long_run_stays_small(page: Page, job: ScriptedJob) -> None:
    """Of many events the page keeps some: the ends, evaluations, extremes and gaps; of the log, the last 500 lines."""
    job.log(0, loss=1)
    page.open(ROUTE)
    charted(page, 0)
    for step in range(1, 9001):
        job.log(step, loss={4321: 99.0, 5432: None}.get(step, 1 / step))
    job.log(9000, evalLoss=0.5)
    job.log(9001, loss=0.001)
    charted(page, 9001)
    shown = trace(page, "loss")
    assert len(shown["x"]) <= 4000
    assert shown["x"][0] == 0
    assert shown["x"] == sorted(set(shown["x"]))
    assert max(loss for loss in shown["y"] if loss is not None) == 99.0
    assert [step for step, loss in zip(shown["x"], shown["y"], strict=True) if loss is None] == [5432]
    assert len([step for step in shown["x"] if step < 3000]) > 300  # the beginning is not thinned more than the rest
    assert trace(page, "eval loss")["y"] == [0.5]
    assert len(lines(page)) == 500
    assert lines(page)[-1] == "step 9001  loss 0.0010"


def test_the_log_stays_where_one_reads(page: Page, job: ScriptedJob) -> None:
    """Scrolled up it stays; otherwise it follows."""
    job.logs(range(1, 101))
    page.open(ROUTE)
    page.the(".log", "step 100")
    box = "const box = document.querySelector('.log');"
    eventually(lambda: page.run(f"{box} return box.scrollTop") > 500, "a log that follows")
    page.run(f"{box} box.scrollTop = 40")
    page.button("Jump to the end")
    job.log(101, loss=1)
    page.the(".log", "step 101")
    assert page.run(f"{box} return box.scrollTop") == 40
    page.click("button", "Jump to the end")
    eventually(lambda: page.run(f"{box} return box.scrollTop") > 500, "the end")


def test_zoom_is_kept_while_figures_come(page: Page, job: ScriptedJob) -> None:
    """Dragging over the chart shows those steps, also when more come, until one resets it; or one types them."""
    job.logs(range(101))
    page.open(ROUTE)
    charted(page, 100)
    page.run("document.querySelector('.plot').scrollIntoView({block: 'center'})")
    plot = page.the(".plot")
    drag = ActionChains(page.browser, duration=20).move_to_element_with_offset(plot, -100, 0).click_and_hold()
    drag.move_by_offset(50, 0).move_by_offset(50, 0).release().perform()
    eventually(lambda: 0 < axis(page)[0] < axis(page)[1] < 60, "a zoomed chart")
    zoomed = axis(page)
    eventually(lambda: float(shown_from(page) or -1) == pytest.approx(zoomed[0], abs=1), "the same in the fields")
    job.logs(range(101, 201))
    charted(page, 200)
    assert axis(page) == zoomed
    page.click("button", "Reset zoom")
    eventually(lambda: axis(page)[1] >= 200, "the whole chart")
    page.the("[aria-label='From step']").send_keys("150")
    page.the("[aria-label='To step']").send_keys("160" + Keys.ENTER)
    eventually(lambda: axis(page) == [150, 160], "steps 150 to 160")
    double = ActionChains(page.browser).move_to_element(page.the(".plot")).double_click()
    double.perform()
    eventually(lambda: axis(page)[1] >= 200, "the whole chart")
    eventually(lambda: shown_from(page) == "", "empty fields")


def test_the_chart_as_one_wants_it(page: Page, job: ScriptedJob) -> None:
    """A log axis, smoothing as in TensorBoard, and the rates below it."""
    for step, loss in enumerate((4.0, 2.0, None, 1.0), 1):
        job.log(step, loss=loss, learningRate=0.1 * step, samplesPerSecond=10, gradNorm=0.5 * step)
    job.log(4, evalLoss=1.5, samplesPerSecond=90)
    page.open(ROUTE)
    charted(page, 4)
    slider = page.the("#smoothing")
    slider.send_keys(Keys.ARROW_RIGHT * 50)
    eventually(lambda: trace(page, "loss")["y"][1] != 2.0, "smoothed losses")
    assert page.the("output").text == "0.50"
    assert [y if y is None else round(y, 4) for y in trace(page, "loss")["y"]] == [4, 2.6667, None, 1.7143]
    switch(page, "Log axis")
    eventually(lambda: page.run("return document.querySelector('.plot')._fullLayout.yaxis.type") == "log", "a log axis")
    switch(page, "Learning rate")
    switch(page, "Samples/s")
    script = "return document.querySelector('.plot').data.map(({name, yaxis, y}) => [name, yaxis ?? 'y', [...y]])"
    speeds = ["samples/s", "y3", [10] * 4]  # of the training: an evaluation has a speed of its own
    eventually(lambda: speeds in page.run(script), "samples/s")
    assert ["learning rate", "y2"] in [figures[:2] for figures in page.run(script)]
    switch(page, "Gradient norm")
    eventually(lambda: ["gradient norm", "y4", [0.5, 1, 1.5, 2]] in page.run(script), "the gradient norm")


def test_other_runs_are_laid_over_it(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """They are found by name, asked for once, told apart by name and colour, and can be taken away again."""
    job.logs(range(1, 11))
    other, bold = studio.job("job_2", name="triage r=32"), studio.job("job_3", name="<b>bold</b>")
    other.logs(range(1, 21))
    bold.logs(range(1, 6))
    studio.job("job_4", name="silent")
    studio.answers["GET /api/jobs"] = Answer({"jobs": [one.wire for one in studio.jobs.values()]})
    page.open(ROUTE)
    charted(page, 10)
    page.click("summary", "Compare")
    page.the(".run-list", "silent")
    names = [text.split("\n")[0] for text in page.texts(".run-list label")]
    assert names == ["triage r=32", "<b>bold</b>", "silent"]
    page.look(360, 800)
    assert page.overflow() == 0
    page.look(1200, 800)
    assert page.accessibility() == []
    page.press("r=3")
    eventually(lambda: len(page.all(".run-list label")) == 1, "one run")
    page.press(Keys.TAB, Keys.SPACE)
    page.the("summary", "Compare (1)")
    eventually(lambda: trace(page, "triage r=32").get("x", [0])[-1] == 20, "the other run")
    page.the(".comparison .field").clear()
    page.the(".comparison .field").send_keys(" ")
    page.click(".run-list label", "bold")
    page.click(".run-list label", "silent")
    page.the(".chart-panel .problem", "silent cannot be laid over: it has no training.log events yet.")
    eventually(lambda: "<b>bold</b>" in page.run("return document.querySelector('.plot .legend').textContent"), "text")
    colours = page.run("return document.querySelector('.plot').data.map(({line}) => line.color)")
    assert len(set(colours)) == 3
    page.press(Keys.ESCAPE)
    page.gone(".comparison-box")
    page.click("summary", "Compare (2)")
    page.click(".run-list label", "r=32")
    eventually(lambda: trace(page, "triage r=32") == {}, "one run less")
    assert len(studio.asked("GET /api/jobs/job_2/metrics")) == 1


def test_the_chart_can_be_saved(page: Page, job: ScriptedJob, downloads: Path) -> None:
    """As a picture, and as a table."""
    job.logs(range(1, 31))
    page.open(ROUTE)
    charted(page, 30)
    page.click("button", "PNG")
    assert saved(downloads, "job_1-loss.png").startswith(b"\x89PNG")
    page.click("button", "CSV")
    assert saved(downloads, "job.csv").startswith(b"step,loss\r\n1,0.5\r\n")


def test_what_it_has_left(page: Page, job: ScriptedJob, studio: ScriptedStudio, downloads: Path) -> None:
    """Names, sizes and a download; a checkpoint of a running job can be talked to, and so can the final adapter."""
    page.meets_refusals = True
    job.artifacts = [CHECKPOINT]
    page.open(ROUTE)
    page.the(".artifacts", "artifacts: 1")
    assert str(page.the(".job-actions a", "Try it").get_attribute("href")).endswith("#/playground?job=job_1&step=40")
    job.artifacts = [CHECKPOINT, ADAPTER]
    job.end("training.completed", artifacts=[ADAPTER])
    page.the(".artifacts", "artifacts: 2")
    eventually(lambda: len(page.all(".artifact-list button")) == 2, "two downloads")
    assert [row.split("\n") for row in page.texts(".artifact-list li")] == [
        ["checkpoint-40", "4.9 KiB", "Download"],
        ["adapter", "9.4 MiB", "Download"],
    ]
    assert str(page.the(".job-actions a", "Try it").get_attribute("href")).endswith("#/playground?job=job_1")
    link = "POST /api/jobs/job_1/artifacts/adapter/link"
    studio.answers[link] = Answer({"url": "/download/adapter.tar"})
    page.click("[aria-label='Download adapter']")
    assert saved(downloads, "adapter.tar") == b"tar"
    studio.answers[link] = Answer({"error": "The file is gone from the disk."}, 410)
    page.click("[aria-label='Download adapter']")
    page.the(".artifacts .problem", "adapter cannot be downloaded: The file is gone from the disk.")


def test_a_backend_that_hands_out_no_files(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """What the job's events tell of them is shown, and why there is no more."""
    page.meets_refusals = True
    refusal = {"error": "not supported", "feature": "artifacts"}
    studio.answers["GET /api/jobs/job_1/artifacts"] = Answer(refusal, 501)
    studio.answers["GET /api/credentials"] = Answer({**ABOUT, "features": []})
    job.event("checkpoint.saved", step=40, artifacts=[CHECKPOINT])
    page.open(ROUTE)
    page.the(".artifacts", "This backend does not hand out the files of a job.")
    assert page.the(".artifacts h2").text == "artifacts: 1"
    assert page.all(".artifacts button") == []


def test_cancelling_is_asked_twice(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """No means no; yes tells the backend, whose refusal is shown; the status flips when the job has ended."""
    page.meets_refusals = True
    call = "POST /api/jobs/job_1/cancel"
    studio.answers[call] = Answer({"error": "The backend is stopping."}, 503)
    page.open(ROUTE)
    page.click("button", "Cancel")
    page.the("dialog", "triage stops where it is.")
    page.click("button", "Keep it")
    assert studio.asked(call) == []
    page.click("button", "Cancel")
    page.click("button", "Cancel the job")
    page.the(".problem", "The job was not cancelled: The backend is stopping.")
    assert len(studio.asked(call)) == 1
    studio.answers[call] = Answer({"job": job.wire}, 202)
    page.click("button", "Cancel")
    page.click("button", "Cancel the job")
    assert page.button("Cancelling …").get_attribute("disabled")
    job.end("training.cancelled", step=3)
    page.the(".status-cancelled")
    page.gone(".job-actions button")


def test_a_job_that_is_not_there(page: Page, studio: ScriptedStudio) -> None:
    """It says so, and leads back."""
    page.meets_refusals = True
    for part in ("", "/metrics"):
        studio.answers[f"GET /api/jobs/job_9{part}"] = Answer({"error": "There is no job 'job_9'."}, 404)
    page.open("#/jobs/job_9")
    page.the("main", "There is no such job in this project.")
    page.titled("Unknown job")
    page.click("main a", "All jobs")
    page.the("h1", "Jobs")


def test_a_backend_that_is_away_for_a_while(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """What is known stays, a line says that it is old; when it is back, all goes on."""
    page.meets_refusals = True
    down = Answer({"error": "Cannot reach the backend."}, 502)
    studio.answers["GET /api/jobs/job_1/metrics"] = studio.answers["GET /api/jobs/job_1"] = down
    page.open(ROUTE)
    page.the(".stale", "Couldn't load the job: Cannot reach the backend. Studio keeps trying.")
    assert len(page.all(".stale")) == 1
    assert page.texts(".job-facts, .log-empty") == ["Loading …"]
    del studio.answers["GET /api/jobs/job_1"]
    page.the(".stale", "Couldn't load its events: Cannot reach the backend.")
    job.logs(range(1, 4))
    del studio.answers["GET /api/jobs/job_1/metrics"]
    charted(page, 3)
    page.gone(".stale")
    with studio.away():
        page.the(".notice", "Studio has stopped answering")
        page.the(".log", STREAM_ERROR)
        job.log(4, loss=1)
    charted(page, 4)
    page.gone(".stale")
    assert logged(page) == [1, 2, 3, 4]


def test_nothing_that_a_job_tells_is_markup(page: Page, studio: ScriptedStudio) -> None:
    """Names, errors, settings, files and events are text, in the chart, too."""
    job = studio.job(MARKUP, name=MARKUP, error=MARKUP, config={MARKUP: MARKUP, "model": MARKUP})
    job.artifacts = [{"name": MARKUP, "kind": "adapter"}]
    studio.answers["GET /api/jobs"] = Answer({"jobs": [job.wire, {**job.wire, "id": "job_2"}]})
    studio.job("job_2", name=MARKUP).logs(range(3))
    job.event(MARKUP, metadata={"x": f"{MARKUP}\nsecond"})
    job.event("training.failed", error=f"{MARKUP}\nsecond")
    job.logs(range(3))
    page.open("#/jobs/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%3Cb%3Ebold%3C%2Fb%3E")
    page.the("h1", MARKUP)
    page.the(".job-error", MARKUP)
    page.the(".job-facts", MARKUP)
    page.the(".artifacts", MARKUP)
    page.the(".log", MARKUP)
    assert lines(page)[:2] == [MARKUP, f"Failed: {MARKUP} second"]
    page.click(".log-panel .switch-label")
    page.the(".line-json", MARKUP)
    page.click(".settings > summary", "Settings")
    page.the(".settings-facts", MARKUP)
    page.click("summary", "Compare")
    page.click(".run-list label", MARKUP)
    eventually(lambda: "<img" in page.run("return document.querySelector('.plot .legend')?.textContent ?? ''"), "text")
    assert page.run("return document.querySelectorAll('main img, b b, .log b, h1 b').length") == 0


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_the_chart_fits(page: Page, job: ScriptedJob, width: int, scheme: str) -> None:
    """At any width, in light and in dark, the chart is as wide as its place, and axe finds nothing."""
    job.wire.update(name="y" * 200, error="e" * 400, config={"model": "m" * 200, "maxSteps": 10})
    job.logs(range(1, 11))
    page.look(width, 900, scheme)
    page.open(ROUTE)
    charted(page, 10)
    assert page.overflow() <= 0
    assert page.accessibility() == []
    script = (
        "return [document.querySelector('.plot').clientWidth, document.querySelector('.plot .main-svg').clientWidth]"
    )
    assert len(set(page.run(script))) == 1
    page.look(700, 900, scheme)
    eventually(lambda: len(set(page.run(script))) == 1 and page.run(script)[0] < 700, "a chart of another width")
    ground = page.run("return document.querySelector('.plot').layout.paper_bgcolor")
    assert ground == {"light": "#ffffff", "dark": "#171b21"}[scheme]
