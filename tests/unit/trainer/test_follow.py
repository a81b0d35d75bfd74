"""What a job's record learns from its events about pauses and interruptions."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.client.position import StreamPosition
from arkor.protocol.events import parse_event
from arkor.protocol.jobs import TrainingJob
from arkor.trainer.follow import JobRecord
from tests.support.events import checkpoint, failed, log, preparing, sample_made, started

PAUSED = {"type": "training.paused", "reason": "it was paused by a person", "step": 2}
UNPAUSED = {"type": "training.unpaused"}
INTERRUPTED = {"type": "training.interrupted", "reason": "Memory ran out", "step": 2}


def never(*_: Any) -> Any:
    """Stand for what no record asks for by itself."""
    raise AssertionError


def record(**fields: Any) -> JobRecord:
    """Return the record of a job."""
    job = TrainingJob(id="job_1", **fields)
    calls = dict.fromkeys(
        ("download", "ask", "metrics", "samples", "receipt", "record", "evaluate", "export", "reproduce"), never
    )
    return JobRecord(job, StreamPosition(), **calls)


def learnt(known: JobRecord, *bodies: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Let a record learn events; return the status and the reason of a pause after each."""
    states = []
    for body in bodies:
        event = parse_event(body)
        assert event is not None
        known.learn(event)
        states.append((known.job.status, known.job.pause_reason))
    return states


def test_a_pause_ends_in_the_queue_and_then_in_training() -> None:
    """The reason is known as long as the pause lasts; a resumed attempt does not start a second time."""
    states = learnt(record(), started(), log(1), PAUSED, UNPAUSED, log(3))
    reason = "it was paused by a person"
    assert states == [("running", None), ("running", None), ("paused", reason), ("queued", None), ("running", None)]


@pytest.mark.parametrize(
    "body",
    [log(3), checkpoint(3), sample_made(3), preparing("tokenizing", 1, 2), started()],
    ids=lambda body: body["type"],
)
@pytest.mark.parametrize("before", [PAUSED, INTERRUPTED], ids=lambda body: body["type"])
def test_whatever_a_worker_tells_means_that_the_job_runs(before: dict[str, Any], body: dict[str, Any]) -> None:
    """Whichever comes first after a pause, or after an attempt that was lost."""
    assert learnt(record(), before, body)[-1] == ("running", None)


def test_a_lost_attempt_is_queued_again() -> None:
    """Until the next one runs."""
    assert learnt(record(status="running"), INTERRUPTED) == [("queued", None)]


def test_a_paused_job_may_end() -> None:
    """Cancelled, or given up: it is not paused any more."""
    full = {"type": "training.paused", "reason": "the disk is full: 3 MiB are free"}
    assert learnt(record(), full, failed("The disk stayed full"))[-1] == ("failed", None)
    assert learnt(record(), PAUSED, {"type": "training.cancelled"})[-1] == ("cancelled", None)


def test_a_log_event_changes_nothing_of_a_job_that_runs_or_has_ended() -> None:
    """Nearly all events are of the log: each costs a look at the status."""
    for status in ("running", "completed", "odd"):
        known = record(status=status)
        before = known.job
        assert learnt(known, log(1)) == [(status, None)]
        assert known.job is before
