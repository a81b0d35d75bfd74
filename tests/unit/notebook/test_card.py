"""The card as HTML and as text: what it says, what it escapes, how large it is, what is left where styles are not."""

from __future__ import annotations

import re

import attrs
import bleach
import pytest

from arkor.notebook.card import card, lines, marked
from arkor.notebook.run import Fetching, Run
from arkor.protocol.events import Event
from tests.unit.notebook.test_run import JOB, event, run_of, sample

FOOT = "job_1 · trainer.cancel() stops it"
ADDRESS = "http://127.0.0.1:4000/#/jobs/job_1"
MOST_BYTES = 60 * 1024
EVIL = '<script>alert(1)</script><img src=x onerror="alert(1)">'
# What GitHub lets through of HTML, of the elements and attributes that the card has: no style, no SVG.
LET_THROUGH = {"div", "p", "b", "small", "ins", "table", "tr", "th", "td", "a"}


def timed(step: int, **fields: float) -> Event:
    """Return a log event, one a second."""
    return event("training.log", step=step, timestamp=f"2026-01-01T00:{step // 60:02}:{step % 60:02}.000Z", **fields)


def full() -> Run:
    """Return a run with everything that a card shows."""
    return run_of(
        event("training.started", metadata={"device": "cpu", "maxSteps": 100}),
        *(timed(step, loss=2 / step) for step in range(1, 41)),
        *(event("training.log", step=step, evalLoss=abs(step - 20) / 10 + 0.5) for step in (10, 20, 30)),
        event("training.log", step=41, loss=0.05, deviceMemory={"used": 3 * 2**30, "total": 2**34}),
        event("checkpoint.saved", step=41),
        sample(10, "one flat white", expected="1 flat white", exact=False),
        sample(41, "1 flat white", expected="1 flat white", exact=True),
    )


def words(html: str) -> str:
    """Return what a person reads of HTML without its drawings."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", " ", html)))


def test_the_card_says_what_people_look_for() -> None:
    """Name, status, model, share, step, time left, losses, best, memory, answers, foot and Studio."""
    html = card(full(), FOOT, ADDRESS)
    for part in ("run", "training", "· m", "41%", "step 41/100", "0:00:59 left", "0.0500", "1.5000"):
        assert part in words(html), part
    for part in ("0.5000 at step 20", "last checkpoint step 41", "3.0 of 16.0 GiB (cpu)", "1 of 1 answer exact", FOOT):
        assert part in words(html), part
    assert f'<a href="{ADDRESS}">Studio</a>' in html
    assert "<ins>1 </ins>flat white ✓" in html
    assert html.count("<svg") == 2


def test_the_text_says_the_same_without_drawings() -> None:
    """For a terminal, a reader of the file, and where HTML is not shown."""
    first, second, answer, foot = lines(full(), FOOT).splitlines()
    assert first == "run  training  41%  step 41/100  0:00:59 left"
    assert second.startswith("loss 0.0500  loss on held-out rows 1.5000  best 0.5000 at step 20")
    assert answer == "  question  ->  1 flat white"
    assert foot == FOOT


def test_the_card_reads_where_styles_and_drawings_are_taken_out() -> None:
    """As GitHub shows a saved notebook: the figures and the answers are in plain paragraphs and tables."""
    html = re.sub(r"<svg.*?</svg>", "", card(full(), FOOT, ADDRESS))
    left = bleach.clean(
        html, tags=LET_THROUGH, attributes={"a": ["href"], "td": ["align"], "th": ["align"]}, strip=True
    )
    assert "style" not in left
    assert words(left) == words(html)
    assert "&lt;" not in left  # nothing was left as the text of an element that is not let through


def test_nothing_from_elsewhere_is_taken_for_html() -> None:
    """The job's name, its model, its error, a prompt, an answer, an expected answer, the device and the foot."""
    job = attrs.evolve(JOB, name=EVIL, config={"model": EVIL}, status="failed", error=EVIL)
    run = Run(EVIL, EVIL)
    for one in (
        event("training.started", metadata={"device": EVIL}),
        event("training.log", step=1, loss=1.0, deviceMemory={"used": 1, "total": 2}),
        sample(1, EVIL, prompt=EVIL, expected=EVIL),
        sample(2, f"{EVIL} {EVIL}", prompt=EVIL, expected=EVIL),
        event("training.failed", error=EVIL),
    ):
        run.take(one, job)
    html = card(run, EVIL, f"http://127.0.0.1/{EVIL}")
    assert not re.search(r"<(script|img)", html)
    assert "onerror=&quot;" in html
    assert "alert" in marked(EVIL, EVIL)


def test_characters_that_cannot_be_written_do_not_stop_it() -> None:
    """Half a character, as a tokenizer may leave it."""
    card(run_of(sample(1, "\ud800")), FOOT, None).encode()


def test_the_card_of_ten_thousand_log_events_grows_the_file_by_at_most_60_kib() -> None:
    """With checkpoints, evaluations and long answers to many prompts."""
    events = [event("training.log", step=step, loss=1 / step) for step in range(1, 10_001)]
    events += [event("training.log", step=step, evalLoss=1 / step) for step in range(1, 10_001, 10)]
    events += [event("checkpoint.saved", step=step) for step in range(1, 10_001, 10)]
    events += [
        sample(step, "&" * 5000, number=number, prompt="<" * 5000, expected=">" * 5000)
        for step in (1, 2)
        for number in range(100)
    ]
    run = run_of(*events)
    assert 20_000 < len(card(run, FOOT, ADDRESS).encode()) + len(lines(run, FOOT).encode()) <= MOST_BYTES


@pytest.mark.parametrize(
    ("before", "now", "html"),
    [
        ("a flat white", "a flat white", "a flat white"),
        ("a flat white", "two flat whites", "<ins>two </ins>flat <ins>whites</ins>"),
        ("", "a & b", "<ins>a &amp; b</ins>"),
        ("a b c", "a c", "a c"),
    ],
)
def test_the_words_that_are_new_are_underlined(before: str, now: str, html: str) -> None:
    """By an element that every place lets through."""
    assert marked(before, now) == html


def test_before_there_is_a_job_the_card_shows_the_work_before_it() -> None:
    """Such as fetching the model, with a bar if it is known how much it is."""
    run = Run("run", "m")
    assert "starting" in words(card(run, FOOT, None))
    run.fetching = Fetching("m: downloading", 1, 4)
    html = card(run, FOOT, None)
    assert "m: downloading" in html
    assert "25%" in html
    run.fetching = Fetching("m: downloading", 1, 0)
    assert "%" not in words(card(run, FOOT, None))
