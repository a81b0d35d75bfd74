"""What a queued job waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from arkor.cli.display import queue_watch
from arkor.cli.display.queue_watch import waits_for, watching_the_queue
from arkor.cli.display.run_progress import Figures
from arkor.errors import ConnectionFailed
from arkor.progress.run_state import WAITING
from arkor.protocol.jobs import TrainingJob


def queued(said: Any = None) -> TrainingJob:
    """Return a queued job as a backend describes it."""
    return TrainingJob(id="job_1", config={"maxSteps": 60}, extra={} if said is None else {"waitsFor": said})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, ""),
        ("x", ""),
        ({"jobId": "job_2"}, "job_2"),
        ({"jobId": "job_abcdefghij", "step": 0, "maxSteps": 60}, "job_abcdef"),
        ({"jobId": "a\x1b[2J", "step": 24, "maxSteps": 60}, "a [2J (40%)"),
        ({"jobId": "job_2", "step": 99, "maxSteps": 60}, "job_2 (100%)"),
    ],
)
def test_the_running_job_is_named_with_its_share(said: Any, words: str) -> None:
    """As far as the backend says it; no terminal obeys it."""
    assert waits_for(queued(said)) == words


def test_a_job_that_waits_has_no_bar() -> None:
    """Its label names the other one."""
    figures = Figures(queued(), "")
    assert (figures.label, figures.share) == (WAITING, None)
    figures.waits_for = "job_2 (40%)"
    assert figures.label == "waiting for job_2 (40%)"


def test_the_backend_is_asked_while_the_job_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that fails is asked again; nothing is asked any more after the block."""
    monkeypatch.setattr(queue_watch, "PERIOD_S", 0.001)
    told, heard = [], threading.Event()
    answers: Iterator[Exception | TrainingJob] = iter([ConnectionFailed("away"), queued({"jobId": "job_2"})])

    def ask() -> TrainingJob:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell(text: str) -> None:
        told.append(text)
        heard.set()

    with watching_the_queue(ask, tell, lambda: not heard.is_set()):
        assert heard.wait(10)
    assert told == ["job_2"]
    assert "queue" not in {thread.name for thread in threading.enumerate()}
