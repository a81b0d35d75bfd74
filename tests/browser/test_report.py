"""Studio's tab of a job's reports: asking for one, how far it is, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from arkor.evaluation.building import build_report
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.parts import LeftOut, RowsAsked, ServedCheck, SharedRow, plain_points, points_of
from arkor.evaluation.report import EvaluationReport
from arkor.evaluation.retention import RetentionQuestion
from tests.browser.jobview import saved
from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_job import ScriptedJob
from tests.support.studio_script import ABOUT, Answer, ByQuestion, ScriptedStudio

ROUTE = "#/jobs/job_1?tab=report"
PATH = "/api/jobs/job_1/evaluations"
ASK = f"POST {PATH}"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
CHECK = ServedCheck(
    rows=4, tokens=80, served=1.5474, trained=1.5469, difference=0.0005, dtype="bfloat16", tolerance=0.02, is_same=True
)
OTHER = attrs.evolve(CHECK, served=2.25, is_same=False, cause="stale")


@pytest.fixture
def studio(studio: ScriptedStudio) -> ScriptedStudio:
    """A stand-in whose backend makes evaluations."""
    studio.can("evaluations")
    return studio


def evaluation(status: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return an evaluation as the backend describes it."""
    return {"id": "eval_1", "jobId": "job_1", "status": status, "options": {"limit": 50}, **fields}


def check_only(status: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return an evaluation that nobody asked for."""
    return evaluation(status, id="eval_0", options={"limit": 0, "retention": False}, **fields)


def case(row: int, expected: str, base: str, adapter: str, **more: Any) -> Case:
    """Return a row that both answered."""
    answers = {"base": Answered(text=base, finish_reason="length"), "adapter": Answered(text=adapter)}
    messages = [{"role": "user", "content": f"Question {row}"}]
    return Case(row=row, expected=expected, answers=answers, **{"messages": messages, **more})


def report(cases: Sequence[Case] = (), **more: Any) -> EvaluationReport:
    """Return a report with something of everything."""
    labels = ("billing", "login", "other")
    made = [case(row, labels[row % 3], "no idea", labels[row % 3]) for row in range(1, 9)]
    asked = (RetentionQuestion("one", "1 + 1?", ["2"], "number"), {"base": Answered(text="2"), "adapter": Answered()})
    facts: dict[str, Any] = {
        "id": "eval_1",
        "job_id": "job_1",
        "model": "smollm2-135m",
        "answered_by": ["llama.cpp-bf16"],
        "candidates": ["base", "adapter"],
        "scorers": ["labels"],
        "retention_cases": [asked],
        "check": CHECK,
    }
    rows = RowsAsked(
        source="rows.jsonl",
        is_held_out=True,
        available=30,
        asked=9,
        leaked=[SharedRow(3, 17)],
        left_out=[LeftOut(5, "is plain text")],
    )
    cases = cases or [*made, case(9, "billing", "billing", "login")]
    return build_report(**{"cases": cases, "rows": rows, **facts, **more})


def shows(studio: ScriptedStudio, made: EvaluationReport) -> None:
    """Let the newest evaluation of the job have a report."""
    check = made.check and made.check.to_wire()
    studio.the_job("job_1").evaluations = [evaluation(verdict=made.verdict, check=check)]
    studio.answers[f"GET {PATH}/eval_1/report"] = Answer(made.to_wire())


def test_an_evaluation_is_asked_for_and_followed_to_its_report(
    page: Page, job: ScriptedJob, studio: ScriptedStudio
) -> None:
    """From the button over the bar to the verdict; a screen reader is told how it ended."""
    made = report()

    def queued(question: Any) -> Answer:
        job.evaluations = [evaluation("queued")]
        return Answer({"evaluation": evaluation("queued", options={"limit": question["limit"]})})

    studio.answers[ASK] = ByQuestion(queued)
    page.open(ROUTE)
    page.the(".evaluation", "The base model and the adapter answer the held-out rows")
    field = page.the("#evaluation-limit")
    assert field.get_attribute("value") == "50"
    field.clear()
    field.send_keys("20")
    page.click("button", "Evaluate")
    page.the(".evaluation", "It waits for its turn.")
    [asked] = page.asked(ASK)
    assert (asked["limit"], len(asked["idempotencyKey"])) == (20, 36)
    job.evaluations = [evaluation("running", done=30, total=80)]
    page.the(".evaluation", "30 of 80 answers")
    assert page.run("return document.querySelector('.evaluation progress').value") == 0.375
    assert page.accessibility() == []
    shows(studio, made)
    page.the(".verdict-better", f"Better{made.verdict.removeprefix('better')}")
    page.reads("#announcer", f"The report is there. {made.verdict}")
    assert page.the(".evaluation h2").text == "Evaluate again"
    assert page.accessibility() == []


def test_the_page_does_not_ask_on_when_nothing_is_under_way(
    page: Page, job: ScriptedJob, studio: ScriptedStudio
) -> None:
    """The list is asked for once, and again when somebody comes back to the tab."""
    shows(studio, report())
    page.open(ROUTE)
    page.the(".verdict")
    asked = len(studio.asked(f"GET {PATH}"))
    others = len(studio.asked("GET /api/credentials"))
    page.asked("GET /api/credentials", others + 1)  # the page is alive, and asks for other things
    assert len(studio.asked(f"GET {PATH}")) == asked
    page.click("[role=tab]", "Training")
    page.click("[role=tab]", "Report")
    page.asked(f"GET {PATH}", asked + 1)


def test_a_running_evaluation_is_cancelled(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """Then there is a reason, and the button to ask again."""
    job.evaluations = [evaluation("running")]

    def cancelled(_question: object) -> Answer:
        job.evaluations = [evaluation("cancelled", error="It was cancelled.")]
        return Answer({"evaluation": job.evaluations[0]})

    studio.answers[f"{ASK}/eval_1/cancel"] = ByQuestion(cancelled)
    page.open(ROUTE)
    page.the(".evaluation", "It prepares the rows")
    page.click(".evaluation button", "Cancel")
    page.the(".evaluation", "The evaluation was cancelled: It was cancelled.")
    assert page.the(".evaluation button").text == "Evaluate again"


@pytest.mark.parametrize(
    ("status", "features", "says"),
    [
        ("running", ["evaluations"], "The job has not completed yet."),
        ("failed", ["evaluations"], "The job failed, so it has no adapter to evaluate."),
        ("completed", [], "This backend makes no evaluations."),
    ],
)
def test_what_cannot_be_evaluated_says_why(
    page: Page, studio: ScriptedStudio, status: str, features: list[str], says: str
) -> None:
    """And the button does nothing."""
    studio.answers["GET /api/credentials"] = Answer({**ABOUT, "features": features})
    studio.job("job_1", status=status)
    page.open(ROUTE)
    page.the(".evaluation", says)
    assert not page.button("Evaluate").is_enabled()
    assert page.accessibility() == []


def test_a_question_that_is_refused_says_why(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """A second try sends the same key, so that a lost answer makes no second evaluation."""
    studio.answers[ASK] = Answer({"error": f"limit: {MARKUP}"}, 422)
    page.meets_refusals = True
    page.open(ROUTE)
    for _ in range(2):
        eventually(lambda: page.button("Evaluate").is_enabled(), "the button")
        page.click("button", "Evaluate")
        assert page.the(".evaluation [role=alert]").text == f"limit: {MARKUP}"
        eventually(lambda: page.button("Evaluate").is_enabled(), "the button")
    first, second = page.asked(ASK, 2)
    assert first == second


def test_a_failed_evaluation_leaves_the_earlier_report(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """With the reason above it."""
    shows(studio, report())
    job.evaluations.append(evaluation("failed", id="eval_2", error="The model failed: out of memory"))
    page.open(ROUTE)
    page.the(".evaluation .problem", "The evaluation failed: The model failed: out of memory")
    page.the(".report", "The report below is of the evaluation before.")
    page.the(".verdict")


def test_a_report_that_cannot_be_read_is_tried_again(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """On a press."""
    shows(studio, report())
    answer = studio.answers.pop(f"GET {PATH}/eval_1/report")
    page.meets_refusals = True
    page.open(ROUTE)
    page.the(".report-unread", "The report cannot be read: Nothing is scripted")
    studio.answers[f"GET {PATH}/eval_1/report"] = answer
    page.click("button", "Try again")
    page.the(".verdict")


def test_the_scores_and_the_labels_are_tables(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """With the figures of the report; each interval as a bar."""
    made = report()
    shows(studio, made)
    page.open(ROUTE)
    page.the(".scores")
    rows = cells_of(page, ".scores tbody")
    [main, f1] = made.scores
    [one] = main.comparisons
    assert [row[:3] for row in rows] == [["Right labels", "11 %", "89 %"], ["Macro F1", *_percents(f1.values)]]
    assert rows[0][3:] == [
        f"{points_of(one.difference)} ({plain_points(one.low)} to {plain_points(one.high)})",
        "8 better, 1 worse, 0 alike",
        one.verdict,
    ]
    assert page.run("return document.querySelectorAll('.scores')[0].querySelectorAll('svg').length") == 2
    assert cells_of(page, ".confusion[open] table") == [
        ["Expected", "billing", "login", "other"],
        ["billing", "2", "1", "0"],
        ["login", "0", "3", "0"],
        ["other", "0", "0", "3"],
    ]
    notes = page.texts(".report-body .receipt-warnings li")
    assert notes == [
        "Left out, because the job trained on them: row 3 (row 17 of the training)",
        "Left out: row 5 is plain text",
    ]
    assert page.the(".retention-verdict").text.startswith("100 % before, 0 % now")
    page.the(".served", "Served is trained: loss 1.5474 served, 1.5469 trained (80 tokens)")
    page.the(".report-body .quiet", "computed by llama.cpp-bf16")


def cells_of(page: Page, css: str) -> list[list[str]]:
    """Return the texts of the cells of a table, row by row."""
    script = (
        "return [...document.querySelector(arguments[0]).rows].map((row) => [...row.cells].map(cell => cell.innerText))"
    )
    return list(page.run(script, css))


def _percents(values: Any) -> list[str]:
    return [f"{round(100 * values[who])} %" for who in ("base", "adapter")]


def test_rows_are_filtered_by_who_won(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """With both answers beside what was expected; a row leads to the training's view of it."""
    shows(studio, report())
    page.open(ROUTE)
    page.the(".case-list")
    assert page.texts(".case-filters button") == ["All 9", "Wins 8", "Losses 1"]
    page.click(".case-filters button", "Losses")
    assert page.texts(".case h3") == ["Row 9"]
    assert page.the(".case-filters [aria-pressed=true]").text == "Losses 1"
    parts = page.texts(".case dd")
    assert [text.splitlines()[0] for text in parts] == ["Question 9", "billing", "billing", "login"]
    assert page.the(".case .mark-bad").text == "loss"
    assert str(page.the(".case h3 a").get_attribute("href")).endswith("#/jobs/job_1/data?row=9&held=1")


def test_many_rows_come_in_parts_and_long_texts_are_folded(
    page: Page, job: ScriptedJob, studio: ScriptedStudio
) -> None:
    """The focus goes to the first row that came."""
    cases = [case(row, "yes", "no", f"yes{' long' * 200}") for row in range(1, 46)]
    shows(studio, report(cases, scorers=["exact"]))
    page.open(ROUTE)
    page.the(".case-list")
    assert len(page.all(".case")) == 20
    page.click(".cases > .button", "Show 20 more of 45")
    assert len(page.all(".case")) == 40
    assert page.run("return document.activeElement.textContent") == "Row 21"
    button = page.the(".case button", "Show all 1,003 characters")
    page.run("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert page.run("return document.querySelector('.case .folded .said').textContent.length") == 1003


def test_what_models_and_rows_say_is_text(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """Nothing of it becomes part of the page: answers, questions, labels, names of candidates, reasons."""
    cases = [case(1, MARKUP, MARKUP, MARKUP, messages=[{"role": MARKUP, "content": MARKUP}] * 2)]
    made = report(cases, check=attrs.evolve(OTHER, cause=MARKUP), scorers=["labels"])
    rows = RowsAsked(source=MARKUP, available=1, asked=1, left_out=[LeftOut(2, MARKUP)])
    made = attrs.evolve(made, verdict=MARKUP, model=MARKUP, rows=rows)
    shows(studio, made)
    page.open(ROUTE)
    page.the(".case")
    assert page.the(".verdict").text == MARKUP
    assert page.run("return document.querySelectorAll('main img').length") == 0


def test_a_newer_or_broken_report_is_shown_as_far_as_it_goes(
    page: Page, job: ScriptedJob, studio: ScriptedStudio
) -> None:
    """Fields may be missing; unknown ones are passed over."""
    shows(studio, report())
    studio.answers[f"GET {PATH}/eval_1/report"] = Answer({"verdict": "better", "news": {"a": 1}, "scores": [{}]})
    page.open(ROUTE)
    assert page.the(".verdict").text == "Better"


def test_a_tab_is_part_of_the_address(page: Page, job: ScriptedJob) -> None:
    """Arrow keys go from tab to tab; what is not shown is hidden from everybody."""
    page.open("#/jobs/job_1")
    training = page.the("[role=tab]", "Training")
    assert training.get_attribute("aria-selected") == "true"
    assert page.accessibility() == []
    training.send_keys(Keys.ARROW_RIGHT)
    page.press(Keys.ARROW_RIGHT)
    page.the(".evaluation")
    assert page.all(".log") == []
    eventually(lambda: page.browser.current_url.endswith(ROUTE), "the tab in the address")
    page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    page.the(".log")
    assert not page.browser.current_url.endswith(ROUTE)


def test_a_check_that_nobody_asked_for_is_one_quiet_line(page: Page, job: ScriptedJob) -> None:
    """On both tabs; it is no report."""
    job.evaluations = [check_only(check=CHECK.to_wire())]
    page.open("#/jobs/job_1")
    line = page.the(".job-about .served")
    assert line.text == "Served is trained: loss 1.5474 served, 1.5469 trained (80 tokens)"
    assert "quiet" in str(line.get_attribute("class"))
    page.click("[role=tab]", "Report")
    page.the(".report .served", "Served is trained")
    assert page.the(".evaluation button").text == "Evaluate"


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            check_only(check=OTHER.to_wire()),
            "Warning: the served adapter is not the trained one: loss 2.2500 served, 1.5469 trained (80 tokens); stale",
        ),
        (
            check_only("failed", error="The model failed."),
            "Warning: whether chats get the trained adapter could not be checked: The model failed.",
        ),
    ],
)
def test_another_adapter_than_the_trained_one_is_a_warning(
    page: Page, job: ScriptedJob, found: dict[str, Any], says: str
) -> None:
    """With the cause, and the colours of a warning."""
    job.evaluations = [found]
    page.open("#/jobs/job_1")
    assert page.the(".job-about .served-warning").text == says
    assert page.accessibility() == []


def test_a_report_is_saved_as_a_page(
    page: Page, job: ScriptedJob, studio: ScriptedStudio, chromium: webdriver.Chrome, tmp_path: Path
) -> None:
    """The file that Studio makes of it."""
    shows(studio, report())
    content = report().to_html().encode()
    studio.answers[f"GET {PATH}/eval_1/report.html"] = Answer(content)
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.open(ROUTE)
    page.click("button", "Save as HTML")
    assert saved(tmp_path, "report.html") == content


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_report_fits_the_window_and_everybody_can_use_it(
    page: Page, job: ScriptedJob, studio: ScriptedStudio, width: int, scheme: str
) -> None:
    """On a phone, and in the dark."""
    long = case(10, "billing", "x" * 300, "billing " * 200)
    shows(studio, report([*report().table, long], check=OTHER))
    page.look(width, 900, scheme)
    page.open(ROUTE)
    page.the(".case-list")
    assert page.overflow() == 0
    assert page.accessibility() == []


def test_the_page_says_figures_as_the_report_does(page: Page) -> None:
    """Rounding, signs and words are those of the terminal."""
    page.open()
    shares = [0, 0.005, 0.015, -0.005, 0.125, -0.314, 1, -1, 0.0049, -0.0001]
    script = """
        const [shares, checks, rows] = arguments, done = arguments[arguments.length - 1];
        import('/static/report/figures.js').then((figures) => done({
            points: shares.map(figures.points),
            intervals: shares.map((low) => figures.interval({low, high: 1})),
            checks: checks.map(figures.checkWords),
            rows: rows.map(figures.askedWords),
        }));
    """
    checks = [CHECK, OTHER, attrs.evolve(CHECK, tokens=1)]
    rows = [RowsAsked(available=9, asked=2, is_held_out=True), RowsAsked(source="rows.jsonl", available=9, asked=9)]
    wires = [[one.to_wire() for one in checks], [one.to_wire() for one in rows]]
    said = page.browser.execute_async_script(script, shares, *wires)
    assert said == {
        "points": [points_of(share) for share in shares],
        "intervals": [f"{plain_points(low)} to 100" for low in shares],
        "checks": [str(check) for check in checks],
        "rows": [str(one) for one in rows],
    }
