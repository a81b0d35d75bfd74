"""What a script with logging at INFO is told of a run."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from arkor.protocol.events import parse_event
from arkor.protocol.jobs import TrainingJob
from arkor.trainer.run_log import RunLog
from tests.support.events import checkpoint, completed, failed, log, preparing, started


def said(caplog: pytest.LogCaptureFixture, *told: dict[str, Any], **job: Any) -> list[str]:
    """Return what is logged of a job and its events."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "arkor"):
        run_log = RunLog(TrainingJob(id="job_1", **job))
        for body in told:
            event = parse_event(body)
            assert event is not None
            run_log.take(event)
    assert all(record.name.startswith("arkor.") for record in caplog.records)
    return [record.getMessage().removeprefix("Job job_1: ") for record in caplog.records]


def test_each_phase_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """And each tenth of the steps, with its losses."""
    steps = [log(step, 1.0) for step in range(1, 41)]
    told = [preparing("reading", 1, 9), preparing("reading", 9, 9), started(maxSteps=40), *steps]
    assert said(caplog, *told, log(40, evalLoss=0.5), checkpoint(40), completed()) == [
        "waiting in the queue",
        "preparing: reading",
        "training, 40 steps",
        *(f"training, {part}0 %: step {4 * part} of 40, loss 1.0000" for part in range(1, 11)),
        "checkpoint saved at step 40",
        "completed",
    ]


def test_an_interruption_and_the_end_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """In one line each, whatever the backend says; without a total there are no tenths."""
    broken = {"type": "training.interrupted", "reason": "its worker\nended"}
    paused, unpaused = {"type": "training.paused", "reason": "by a user"}, {"type": "training.unpaused"}
    told = [log(1, 2.5), broken, paused, unpaused, failed("a\x1b[2J")]
    assert said(caplog, *told, status="running") == [
        "interrupted: its worker ended: the job goes on by itself.",
        "paused: by a user",
        "waiting in the queue",
        "failed: a [2J",
    ]
    assert said(caplog, {"type": "training.cancelled"}, status="running") == ["cancelled"]


def test_a_plain_script_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its logging is at WARNING, unless it says otherwise."""
    caplog.set_level(logging.WARNING, "arkor")
    RunLog(TrainingJob(id="job_1"))
    assert caplog.records == []
