"""The memory of what jobs have told: read once, then only what is new, and never more than it may hold."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from arkor.errors import ConnectionFailed
from arkor.protocol.metrics import COLUMNS, WIRE_COLUMNS
from arkor.serving.refusal import Refusal
from arkor.studio import history
from arkor.studio.history import Histories, csv_lines
from tests.support.events import PLAN, TIMESTAMP, completed, log, started

Event = tuple[str | None, dict[str, Any]]


class Source:
    """A backend's side of a job: its events so far, and what was asked for."""

    def __init__(self, events: Sequence[Mapping[str, Any]], *, ids: bool = True) -> None:
        self.events = list(events)
        self.asked: list[str | None] = []
        self.ids = ids
        self.breaks_after: int | None = None

    def after(self, event_id: str | None) -> Iterator[Event]:
        """Yield the events behind an id."""
        self.asked.append(event_id)
        for number, event in enumerate(self.events, 1):
            if number == self.breaks_after:
                raise ConnectionFailed("cut")
            if number > int(event_id or 0):
                yield str(number) if self.ids else None, {"jobId": "job_1", "timestamp": TIMESTAMP, **event}


def told(histories: Histories, source: Source, key: str = "job", points: int = 2000) -> Any:
    """Return what the page is told."""
    return json.loads(histories.report(key, points, source.after))


def test_a_job_is_told_whole_and_then_what_is_new() -> None:
    """A job that has ended is not asked for again."""
    histories, source = Histories(), Source(list(PLAN[:3]))
    first = told(histories, source)
    assert [point["loss"] for point in first["points"]] == [2.5, 1.5]
    assert (first["total"], first["lastEventId"], first["ended"]) == (2, "3", False)
    assert first["lines"][0] == {"id": "1", "jobId": "job_1", "timestamp": TIMESTAMP, **PLAN[0]}
    source.events = list(PLAN)
    assert told(histories, source)["total"] == 3
    last = told(histories, source)
    assert (len(last["lines"]), last["lastEventId"], last["ended"]) == (6, "6", True)
    assert source.asked == [None, "3"]


def test_figures_tell_the_same_as_their_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in pages, of which each has its last events; what breaks goes on behind the last page."""
    monkeypatch.setattr(history, "LINES", 3)
    events = [log(1, 2.5, learningRate=1e-4), log(2, evalLoss=1), started(), log(3, float("nan")), log(4), completed()]
    source = Source(events)
    breaks = [True]

    def pages(after: str | None) -> Iterator[tuple[list[list[Any]], list[Event]]]:
        stored = list(source.after(after))
        for page in (stored[:3], stored[3:]):
            logged = [body for _, body in page if body["type"] == "training.log"]
            yield [[body.get(name) for body in logged] for name in WIRE_COLUMNS], page
            if breaks:
                breaks.clear()
                raise ConnectionFailed("cut")

    histories = Histories()
    with pytest.raises(ConnectionFailed):
        histories.report_figures("job", 2000, pages, list)
    by_figures = json.loads(histories.report_figures("job", 2000, pages, list))
    assert source.asked == [None, "3"]
    assert by_figures == told(Histories(), source)
    assert (by_figures["total"], by_figures["ended"]) == (4, True)


def test_a_reading_that_breaks_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken in stays, and nothing is counted twice."""
    monkeypatch.setattr(history, "BATCH", 10)
    histories, source = Histories(), Source([log(step, 1.0) for step in range(100)])
    source.breaks_after = 56
    with pytest.raises(ConnectionFailed):
        told(histories, source)
    source.breaks_after = None
    assert told(histories, source)["total"] == 100
    assert source.asked == [None, "50"]


def test_who_waits_for_another_page_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one of them keeps a thread; a backend that stalls would take them all."""
    monkeypatch.setattr(history, "TURN_S", 0.01)
    histories, source = Histories(), Source(PLAN)
    reading, gate = threading.Event(), threading.Event()

    def stalled(event_id: str | None) -> Iterator[Event]:
        reading.set()
        gate.wait()
        return source.after(event_id)

    first = threading.Thread(target=histories.report, args=("job", 2000, stalled))
    first.start()
    try:
        assert reading.wait(5)
        with pytest.raises(Refusal, match="still being read for another page") as raised:
            told(histories, source)
    finally:
        gate.set()
        first.join()
    assert raised.value.status == 503
    assert told(histories, source)["ended"] is True


def test_events_without_ids_are_read_anew() -> None:
    """Nobody can ask for what comes after them."""
    histories, source = Histories(), Source(list(PLAN[:3]), ids=False)
    for _ in range(2):
        assert told(histories, source)["total"] == 2
    assert source.asked == [None, None]


def test_the_last_500_events_are_kept_as_they_came() -> None:
    """But for the token of a data set, and for figures that JSON does not have."""
    source = {"datasetSource": {"type": "blob", "url": "u", "token": "SECRET"}}
    events = [log(step, 1.0) for step in range(600)] + [started(config=source), log(600, float("nan"))]
    lines = told(Histories(), Source(events))["lines"]
    assert len(lines) == 500
    assert [line["id"] for line in lines] == [str(number) for number in range(103, 603)]
    assert lines[-2]["metadata"] == {"config": {"datasetSource": {"type": "blob", "url": "u"}}}
    assert lines[-1]["loss"] is None


def test_the_start_is_kept_of_a_long_job() -> None:
    """It is not among the last events, but says what became of the rows."""
    events = [started(receipt={"rows": 3}), *(log(step, 1.0) for step in range(600))]
    report = told(Histories(), Source(events))
    assert report["lines"][0]["type"] == "training.log"
    assert (report["started"]["id"], report["started"]["metadata"]["receipt"]) == ("1", {"rows": 3})
    assert told(Histories(), Source(events[1:]))["started"] is None
    source, asked, histories = Source(events), list[str](), Histories()

    def figures(_: str | None) -> Iterator[Any]:
        yield [[step] for step in range(len(WIRE_COLUMNS))], list(source.after("101"))

    def first() -> Iterator[Event]:
        asked.append("the first event")
        return source.after(None)

    for _ in range(2):
        assert json.loads(histories.report_figures("job", 10, figures, first))["started"] == report["started"]
    assert asked == ["the first event"]


def test_memory_is_bounded_by_points_jobs_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long curve is thinned, huge events are cut, and the jobs looked at longest ago are forgotten."""
    monkeypatch.setattr(history, "LARGEST_CURVE", 1000)
    monkeypatch.setattr(history, "MOST_POINTS", 1500)
    monkeypatch.setattr(history, "MOST_JOBS", 3)
    histories = Histories()
    long = Source([log(step, 5.0 if step == 777 else 1.0) for step in range(5000)])
    report = told(histories, long, "long", 500)
    assert (report["total"], max(point["loss"] for point in report["points"])) == (5000, 5.0)
    assert histories.progress("long") == {"step": 4999, "loss": 1.0}
    texts = {"shouting": "e" * 10**5, "talking": "e" * 20_000}
    for key, text in texts.items():
        talk = Source([{"type": "training.failed", "error": text, "list": [1] * 10} for _ in range(100)])
        assert len(json.dumps(told(histories, talk, key))) < history.MOST_LINE_CHARS + 10_000
    for number in range(3):
        told(histories, Source(list(PLAN)), f"small-{number}")
    assert histories.progress("long") == {}
    assert histories.progress("small-0") == {"step": 3, "loss": 0.5}


def test_the_csv_has_every_log_event_exactly() -> None:
    """A header, then a line each, whatever the numbers; texts that a spreadsheet would run are left out."""
    events = [started(), log(1, 2.5, learningRate=1e-4, epoch=0.1, samplesPerSecond=3), log(2, evalLoss=1 / 3)]
    events += [{**log(3, float("nan")), "timestamp": "=cmd()"}, {"type": "training.log", "step": "x", "loss": "=1+1"}]
    text = "".join(csv_lines(Source([*events, completed()]).after(None)))
    assert text.endswith("\r\n")
    told = [
        {name: value for name, value in row.items() if value} for row in csv.DictReader(io.StringIO(text, newline=""))
    ]
    assert tuple(text.splitlines()[0].split(",")) == COLUMNS
    assert told == [
        {
            "step": "1",
            "loss": "2.5",
            "learning_rate": "0.0001",
            "epoch": "0.1",
            "samples_per_second": "3.0",
            "timestamp": TIMESTAMP,
        },
        {"step": "2", "eval_loss": repr(1 / 3), "timestamp": TIMESTAMP},
        {"step": "3", "loss": "nan"},
        {"step": "0", "timestamp": TIMESTAMP},
    ]


def test_a_long_csv_comes_in_pieces() -> None:
    """Not all of it is in memory at once."""
    pieces = list(csv_lines(Source([log(step, 1.0) for step in range(10_000)]).after(None)))
    assert len(pieces) > 3
    assert "".join(pieces).count("\r\n") == 10_001
