"""The views: how often they show something, and that their faults stay theirs."""

from __future__ import annotations

import threading
from typing import Any

import attrs
import pytest

from arkor.notebook import view
from arkor.notebook.run import Fetching, Run
from arkor.notebook.view import CardView, LineView
from tests.support.eventually import eventually
from tests.unit.notebook.test_run import JOB, event


class Display:
    """IPython's ``display``, and the handle that it returns."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.is_broken = False

    def __call__(self, bundle: dict[str, str], **options: Any) -> Display:
        assert options == {"raw": True, "display_id": True}
        self.shown.append(bundle)
        return self

    def update(self, bundle: dict[str, str], **options: Any) -> None:
        """Take an update of the display."""
        if self.is_broken:
            raise OSError("the front end is gone")
        assert options == {"raw": True}
        self.shown.append(bundle)


def card_view(display: Display) -> CardView:
    """Return the view of a new run."""
    return CardView(Run("run", "m"), lambda: "foot", lambda: None, display)


def test_many_events_are_one_update_and_the_last_state_is_shown_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two updates is half a second; here it is longer than the test."""
    monkeypatch.setattr(view, "INTERVAL_S", 60.0)
    display = Display()
    shown = card_view(display)
    for step in range(1, 1001):
        shown.take(event("training.log", step=step, loss=1 / step), JOB)
    shown.close()
    assert len(display.shown) <= 3
    assert "step 1000/" not in display.shown[0]["text/plain"]
    assert "loss 0.0010" in display.shown[-1]["text/plain"]
    assert display.shown[-1].keys() == {"text/html", "text/plain"}


def test_a_change_before_a_silence_is_shown_without_another_event() -> None:
    """The thread of the card shows it, while the wait is blocked in a read."""
    display = Display()
    shown = card_view(display)
    shown.fetching(Fetching("m: downloading", 1, 2))
    eventually(lambda: "m: downloading  50%" in display.shown[-1]["text/plain"], "the card is updated")
    shown.close()


def test_a_front_end_that_fails_ends_the_updates_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """The view takes further events, and its thread is gone."""
    display = Display()
    shown = card_view(display)
    display.is_broken = True
    shown.take(event("training.log", step=1, loss=1.0), JOB)
    shown.take(event("training.log", step=2, loss=1.0), JOB)
    shown.close()
    assert "cannot be shown" in caplog.text
    assert "arkor-card" not in [thread.name for thread in threading.enumerate()]


def test_lines_have_each_phase_and_evaluation_and_few_of_the_log_events() -> None:
    """At most one a second of those that are alike."""
    said: list[str] = []
    shown = LineView(Run("run", "m"), said.append)
    for done in range(1, 4):
        shown.fetching(Fetching("m: downloading", done, 4))
    shown.started(attrs.evolve(JOB, status="queued"))
    shown.take(event("training.preparing", phase="reading", done=1, total=2), JOB)
    for step in range(1, 100):
        shown.take(event("training.log", step=step, loss=1.0), JOB)
    shown.take(event("training.log", step=99, evalLoss=0.5), JOB)
    shown.take(event("training.completed"), JOB)
    shown.close()
    assert said == [
        "m: downloading  25%",
        "queued",
        "reading the rows  50%",
        "training  1%  step 1/100  loss 1.0000",
        "training  99%  step 99/100  loss 1.0000  loss on held-out rows 0.5000",
        "completed  99%  step 99/100  loss 1.0000  loss on held-out rows 0.5000",
    ]
