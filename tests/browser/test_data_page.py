"""Studio's view of rows, as the model sees them: a row, a search, all rows, and what goes wrong."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from arkor.protocol.previews import (
    Example,
    LengthBucket,
    LongerRows,
    RowLength,
    RowPlace,
    RowPreview,
    Token,
    TokenSummary,
)
from arkor.protocol.receipt import NumberedCount, Receipt
from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_script import ABOUT, Answer, ByQuestion, ScriptedStudio

DRAFT, PREVIEWS = "POST /api/draft", "POST /api/previews"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
COUNT, HELD_OUT = 40, frozenset({4, 9})
SUMMARY = TokenSummary(
    format="chatml",
    p50=120,
    p90=190,
    p99=380,
    longest=400,
    longest_rows=(RowLength(7, 400), RowLength(9, 390)),
    longer_rows=(LongerRows(256, 2),),
    histogram=tuple(LengthBucket(start, start + 20, (start * 7) % 50) for start in range(100, 420, 20)),
    receipt=Receipt(
        rows=38,
        held_out_rows=2,
        answers=38,
        tokens=5000,
        counted_tokens=1200,
        max_length=256,
        max_length_reason="set by the job",
        truncated=NumberedCount(2, (7, 9), 1),
        duplicates=NumberedCount(1, (3,)),
    ),
)


def place(row: int) -> RowPlace | None:
    """Return where a row is, None beyond the ends."""
    return RowPlace(row, row in HELD_OUT) if 1 <= row <= COUNT else None


def row(number: int, *tokens: Token, **fields: Any) -> dict[str, Any]:
    """Return a row as it travels."""
    shown = tokens or (Token(1, f"<user>row {number}\n", False), Token(2, "an", True), Token(3, "swer", True))
    return RowPreview(
        row=number,
        format="chatml",
        is_held_out=number in HELD_OUT,
        examples=fields.pop("examples", (Example(shown),)),
        previous=place(number - 1),
        next=place(number + 1),
        **fields,
    ).to_wire()


def rows(question: Any) -> Answer:
    """Answer as a backend with forty rows does."""
    if "search" in question:
        return Answer(found(**question["search"]))
    if "row" not in question:
        return Answer({"summary": SUMMARY.to_wire()})
    number = question["row"] or 1
    if number > COUNT:
        return Answer(
            {"status": 422, "source": "dataset", "error": f"has no row {number}: its rows are 1 to 40", "rows": []}
        )
    around = [row(other) for other in range(number - 2, number + 3) if other != number and place(other)]
    return Answer({"preview": row(number), "around": around})


def found(text: str, offset: int, limit: int, isHeldOut: bool | None = None) -> dict[str, Any]:  # noqa: N803
    """Answer a search: all rows have the text."""
    numbers = sorted(HELD_OUT) if isHeldOut else range(1, COUNT + 1)
    hits = [
        {"row": number, "isHeldOut": number in HELD_OUT, "before": "…so ", "match": text, "after": MARKUP}
        for number in numbers
    ]
    return {"hits": hits[offset : offset + limit], "total": len(hits)}


@pytest.fixture(autouse=True)
def _rows(studio: ScriptedStudio) -> None:
    """A trainer whose rows can be shown."""
    studio.answers["GET /api/credentials"] = Answer(
        {**ABOUT, "features": [*ABOUT["features"], "previews", "row-search"]}
    )
    studio.answers[DRAFT] = Answer({"draft": {"id": "d1", "name": "triage", "model": "smollm2-135m"}})
    studio.answers[PREVIEWS] = ByQuestion(rows)


def questions(studio: ScriptedStudio, kind: str) -> list[Any]:
    """Return what was asked of one kind."""
    return [body for body in studio.asked(PREVIEWS) if kind in body]


def address(page: Page) -> str:
    """Return the page's address behind the #."""
    return str(page.run("return location.hash"))


def test_the_rows_of_a_trainer_are_shown(page: Page, studio: ScriptedStudio) -> None:
    """From Home: the first row with what counts, the lengths of all, and what was lost."""
    page.open()
    page.click("a", "See its rows")
    page.titled("Rows of triage")
    page.the("h2", "Row 1")
    assert page.texts(".row-panel .job-facts b") == ["chatml", "training", "1", "3", "2"]
    assert page.the(".example").text == "<user>row 1\nanswer"
    assert page.texts(".example mark.counted") == ["answer"]
    underlined = "return getComputedStyle(document.querySelector('mark.counted')).textDecorationLine"
    assert page.run(underlined) == "underline"
    page.the(".summary", "Longest rows: row 7 (400), row 9 (390)")
    assert page.texts(".summary .job-facts b") == ["120 tokens", "190 tokens", "380 tokens", "400 tokens"]
    page.the(".receipt li", "Warning: 2 rows cut to max_length (row 7; held-out row 9)")
    eventually(lambda: page.run("return document.querySelector('.histogram')?.data?.[0].y.length") == 16, "the chart")
    label = str(page.the(".histogram").get_attribute("aria-label"))
    assert label.startswith(
        "Chart of the lengths of 300 examples, from 100 to under 420 tokens. Most, 40, have 120 to 139"
    )
    assert page.run("return document.querySelector('.histogram').layout.shapes[0].x0") == 256
    assert studio.asked(PREVIEWS)[0] == {"draft": "d1", "row": 0, "around": 10}
    assert page.accessibility() == []


def test_rows_are_walked_through(page: Page, studio: ScriptedStudio) -> None:
    """By buttons, keys and numbers; each has an address, and those around it are there at once."""
    page.open("#/data?row=2")
    page.the("h2", "Row 2")
    page.the(".summary", "Longest rows")
    page.click("button", "Next")
    page.the("h2", "Row 3")
    page.press("j")
    page.the("h2", "Row 4, held out")
    page.the(".row-panel .job-facts", "evaluation: held out")
    eventually(lambda: address(page) == "#/data?row=4&held=1", "the address has the row")
    page.press(Keys.ARROW_LEFT)
    page.press("k")
    page.press("k")
    page.the("h2", "Row 1")
    assert page.button("Previous").get_attribute("disabled")
    number = page.the("#row-number")
    number.clear()
    number.send_keys("39j", Keys.BACKSPACE, Keys.ENTER)
    page.the("h2", "Row 39")
    page.click("button", "Next")
    page.the("h2", "Row 40")
    assert page.button("Next").get_attribute("disabled")
    asked = [question["row"] for question in questions(studio, "row")]
    assert set(asked) <= {2, 5, 6, 39, 36}
    page.browser.refresh()
    page.the("h2", "Row 40")


def test_a_row_that_is_not_there_is_told_of(page: Page) -> None:
    """And the row before stays; what is no number is not asked for."""
    page.open("#/data?row=99")
    page.the(".row-panel .problem", "dataset: has no row 99: its rows are 1 to 40")
    page.the("h2", "Row 1")
    number = page.the("#row-number")
    number.clear()
    number.send_keys("3", Keys.ENTER)
    page.the("h2", "Row 3")
    page.gone(".row-panel .problem")
    number.clear()
    number.send_keys("x", Keys.ENTER)
    page.the(".row-panel .problem", 'Type the number of a row, such as 17: "x" is none.')
    page.the("h2", "Row 3")


def test_rows_are_searched(page: Page, studio: ScriptedStudio) -> None:
    """In pages; a hit leads to its row, and the search is a part of the address."""
    page.open("#/data")
    page.the(".summary", "Longest rows")
    page.the("#row-search").send_keys("refund", Keys.ENTER)
    page.the("[role=status]", "1 to 20 of 40 rows found.")
    assert page.texts(".hit-list li")[0] == f"Row 1\n…so refund{MARKUP}"
    page.click("button", "More rows")
    page.the("[role=status]", "21 to 40 of 40 rows found.")
    page.gone("button.button-small:not([hidden])[disabled]")
    page.click(".hit-list a", "Row 30")
    page.the("h2", "Row 30")
    eventually(lambda: address(page) == "#/data?row=30&q=refund", "the address has both")
    page.click(".switch-label", "Held-out rows only")
    page.the("[role=status]", "2 held-out rows found.")
    assert questions(studio, "search")[-1]["search"] == {"text": "refund", "isHeldOut": True, "offset": 0, "limit": 20}
    assert page.accessibility() == []
    page.browser.refresh()
    page.the("[role=status]", "2 held-out rows found.")
    assert len(studio.asked(DRAFT)) == 2


def test_what_a_row_says_is_text(page: Page, studio: ScriptedStudio) -> None:
    """Markup, directions, signs that nobody sees, emoji of several tokens; with a border for each token, on demand."""
    texts = (MARKUP, "\u202egnihton\x1b\x00", "שלום", "", "👩‍🚀", "x" * 3000)
    tokens = tuple(Token(number, text, number % 2 == 1) for number, text in enumerate(texts))
    answer = {"preview": row(5, *tokens, left_out=("tools",), max_length=8, max_length_reason=MARKUP, cut_tokens=3)}
    studio.answers[PREVIEWS] = ByQuestion(lambda asked: Answer(answer) if "row" in asked else rows(asked))
    for width, scheme in ((1200, "light"), (360, "dark")):
        page.look(width, 800, scheme)
        page.open("#/data")
        page.the("h2", "Row 5")
        page.the(".summary", "Longest rows")
        text = page.run("return document.querySelector('.example').textContent")
        assert text == f"{MARKUP}⟨U+202E⟩gnihton␛␀שלום👩‍🚀{'x' * 3000}"
        assert page.all(".example img, .example b") == []
        page.the(".row-panel li", f"Warning: too long for max_length 8 ({MARKUP}): 3 tokens left out")
        page.the(".row-panel li", "Warning: left out by the chat template: tools")
        assert page.overflow() == 0
        page.click(".switch-label", "Token borders")
        assert len(page.run("return [...document.querySelectorAll('.token')]")) == len(texts)
        assert page.accessibility() == []


def test_a_dropped_row_and_one_of_many_examples(page: Page, studio: ScriptedStudio) -> None:
    """Each says what the model gets."""
    answers = {
        1: row(1, examples=(), cut_tokens=5, max_length=8),
        2: row(2, examples=(Example((Token(1, "a", False),)),) * 2),
    }
    studio.answers[PREVIEWS] = ByQuestion(
        lambda asked: Answer({"preview": answers.get(asked["row"] or 1, row(3))}) if "row" in asked else rows(asked)
    )
    page.open("#/data")
    page.the(".row-panel", "This row is dropped: the model sees nothing of it.")
    page.the(".summary", "Longest rows")
    page.press("j")
    page.the("h3", "Example 2 of 2: 1 token, 0 counted")
    page.the(".row-panel li", "Warning: the loss counts no token of this row")
    assert page.accessibility() == []


def test_the_rows_of_a_job_are_shown(page: Page, studio: ScriptedStudio) -> None:
    """From its page, whose receipt leads to the rows that it numbers."""
    job = studio.job("job_1", name="triage")
    page.open("#/jobs/job_1")
    page.the("a", "See its rows")
    job.event("training.started", metadata={"receipt": SUMMARY.receipt.to_wire()})
    page.click(".receipt a", "9")
    page.titled("Rows of triage")
    page.the("h2", "Row 9, held out")
    page.the(".view-head", "as smollm2-135m sees them")
    assert studio.asked(PREVIEWS)[0] == {"job": "job_1", "row": 9, "isHeldOut": True, "around": 10}
    view = page.the(".data")
    page.click(".receipt a", "3")
    page.the("h2", "Row 3")
    assert view.is_displayed()  # the same view, not loaded again
    page.click("a", "The job")
    page.titled("triage")


@pytest.mark.parametrize(
    ("call", "answer", "says"),
    [
        (DRAFT, Answer({"error": "index.py:2: ZeroDivisionError"}, 400), "index.py:2: ZeroDivisionError"),
        (PREVIEWS, Answer({"error": "run `arkor models pull m`"}, 409), "run `arkor models pull m`"),
        (
            PREVIEWS,
            Answer({"error": "It does not support showing rows.", "feature": "previews"}, 501),
            "does not support",
        ),
        (
            PREVIEWS,
            Answer({"status": 422, "error": "bad", "source": "dataset", "rows": [{"row": 3, "reason": "no text"}]}),
            "dataset: bad\nrow 3: no text",
        ),
    ],
    ids=["entry", "model", "backend", "rows"],
)
def test_what_goes_wrong_is_said(page: Page, studio: ScriptedStudio, call: str, answer: Answer, says: str) -> None:
    """Once, in place of the rows, until somebody tries again."""
    page.meets_refusals = True
    good, studio.answers[call] = studio.answers[call], answer
    page.open("#/data?row=1")
    page.the(".problem", says)
    assert len(page.all(".problem")) == 1
    assert page.accessibility() == []
    studio.answers[call] = good
    page.click("button", "Try again")
    page.the("h2", "Row 1")
    page.gone(".main > div > .plain")


def test_a_backend_that_is_busy_is_asked_again(page: Page, studio: ScriptedStudio) -> None:
    """It makes few previews at a time."""
    page.meets_refusals = True
    studio.answers[PREVIEWS] = Answer({"error": "All 2 previews of this backend are taken."}, 503)
    page.open("#/data")
    page.asked(PREVIEWS, 3)
    studio.answers[PREVIEWS] = ByQuestion(rows)
    page.the("h2", "Row 1")


def test_an_older_backend_shows_what_it_can(page: Page, studio: ScriptedStudio) -> None:
    """A row and the summary, without neighbours, chart and search."""
    page.meets_refusals = True
    old = {name: value for name, value in row(1).items() if name not in ("previous", "next")}
    summary = {name: value for name, value in SUMMARY.to_wire().items() if name != "histogram"}

    def answer(asked: Any) -> Answer:
        if "search" in asked:
            return Answer({"error": "It does not support searching rows.", "feature": "row-search"}, 501)
        return Answer({"preview": old} if "row" in asked else {"summary": summary})

    studio.answers[PREVIEWS] = ByQuestion(answer)
    page.open("#/data?q=a")
    page.the("h2", "Row 1")
    page.the(".problem", "It does not support searching rows.")
    page.the(".summary", "Longest rows")
    assert page.button("Next").get_attribute("disabled")
    page.gone(".histogram")


def test_who_leaves_asks_for_nothing_any_more(page: Page, studio: ScriptedStudio) -> None:
    """Another view opens at once, and the request is broken off."""
    gate = threading.Event()
    studio.answers[PREVIEWS] = Answer({"preview": row(1)}, gate=gate)
    page.open("#/data")
    page.asked(PREVIEWS)
    page.the("[role=status]", "Reading the rows …")
    page.click("nav a", "Jobs")
    page.titled("Jobs")
    gate.set()
    page.click("nav a", "Home")
    page.titled("Home")
    assert len(studio.asked(PREVIEWS)) == 1
