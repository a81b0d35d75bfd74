"""What is told of the preparing of rows."""

from __future__ import annotations

from typing import Any

from arkor.backend.training_worker.preparing import PreparingReport


class Sent:
    """Stands in for a reporter, and for its clock.

    Attributes:
        events: what was sent: the phase, and how much of it was done.
        now: the time in seconds.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.now = 0.0

    def send(self, kind: str, **fields: Any) -> None:
        assert kind == "training.preparing"
        self.events.append((fields["phase"], fields["done"]))


def test_many_rows_are_told_of_every_five_percent() -> None:
    """Each phase begins with an event, also where its total is not known; that is its only one then."""
    sent = Sent()
    report = PreparingReport(sent, lambda: sent.now)  # type: ignore[arg-type]
    for done in range(1000):
        report("tokenizing", done, 1000)
        sent.now += 0.1
    assert sent.events == [("tokenizing", done) for done in range(0, 1000, 50)]
    sent.events.clear()
    for done in range(1000):
        report("reading", done, 0)
        sent.now += 10
    assert sent.events == [("reading", 0)]


def test_few_rows_are_told_of_once() -> None:
    """A phase of less than a second has one event."""
    sent = Sent()
    report = PreparingReport(sent, lambda: sent.now)  # type: ignore[arg-type]
    for done in range(40):
        report("tokenizing", done, 40)
        sent.now += 0.01
    assert sent.events == [("tokenizing", 0)]
