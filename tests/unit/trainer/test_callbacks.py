"""Callbacks: how they are given, and which one an event calls with what."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.errors import ConfigError
from arkor.protocol.events import (
    CheckpointSavedEvent,
    Event,
    SampleMadeEvent,
    TrainingCancelledEvent,
    TrainingCompletedEvent,
    TrainingFailedEvent,
    TrainingLogEvent,
    TrainingStartedEvent,
)
from arkor.protocol.jobs import AdapterRef, Artifact, TrainingJob
from arkor.protocol.metrics import METRIC_NAMES
from arkor.trainer.callbacks import (
    Callbacks,
    CheckpointContext,
    CompletedContext,
    FailedContext,
    LogContext,
    SampleContext,
    StartedContext,
    callback_names,
)

JOB = TrainingJob(id="job_1", error="boom")
# A value for each metric, all different: one that is left out, or mixed up with another, is noticed.
LOGGED: dict[str, Any] = {"step": 3, **{name: 1.5 + number for number, name in enumerate(METRIC_NAMES)}}
SAMPLED: dict[str, Any] = {
    "step": 3,
    "sample": 1,
    "row": 7,
    "prompt": "Q",
    "expected": "B",
    "answer": "A",
    "exact": False,
    "truncated": True,
}
ADAPTER, OTHER = Artifact(name="adapter"), Artifact(name="other")
CASES: list[tuple[Event, str, Any]] = [
    (TrainingStartedEvent("job_1", metadata={"rows": 3}), "on_started", StartedContext(JOB, {"rows": 3})),
    (
        TrainingLogEvent("job_1", "", **LOGGED),
        "on_log",
        LogContext(**LOGGED, job=JOB),
    ),
    (
        CheckpointSavedEvent("job_1", "", 3, (OTHER,)),
        "on_checkpoint",
        CheckpointContext(3, AdapterRef("checkpoint", "job_1", 3), (OTHER,), JOB),
    ),
    (
        SampleMadeEvent("job_1", "", **SAMPLED),
        "on_sample",
        SampleContext(**SAMPLED, job=JOB),
    ),
    (
        TrainingCompletedEvent("job_1", "", {"loss": 1}, (OTHER,)),
        "on_completed",
        CompletedContext(JOB, (ADAPTER,), {"loss": 1}),
    ),
    (TrainingFailedEvent("job_1", "", "boom"), "on_failed", FailedContext(JOB, "boom")),
]


def test_there_are_six() -> None:
    """One for each event that users act on."""
    assert callback_names() == ["on_started", "on_log", "on_checkpoint", "on_sample", "on_completed", "on_failed"]


@pytest.mark.parametrize(("event", "name", "context"), CASES)
def test_an_event_calls_its_callback_and_no_other(event: Event, name: str, context: Any) -> None:
    """With one context: the event's figures and the job as it is then."""
    functions = {each: lambda _: None for each in callback_names()}
    assert Callbacks(**functions).call_for(event, JOB, (ADAPTER,)) == (functions[name], context)


@pytest.mark.parametrize("event", [*(event for event, _, _ in CASES), TrainingCancelledEvent("job_1")])
def test_an_event_without_a_callback_calls_nothing(event: Event) -> None:
    """All are optional; a cancellation has none."""
    assert Callbacks().call_for(event, JOB, ()) is None


def test_a_cancelled_job_calls_no_callback() -> None:
    """Not even on_failed."""
    callbacks = Callbacks(**dict.fromkeys(callback_names(), print))
    assert callbacks.call_for(TrainingCancelledEvent("job_1"), JOB, ()) is None


def test_callbacks_may_be_a_mapping() -> None:
    """With Python's names or the contract's."""
    assert Callbacks.parse({"on_log": print}) == Callbacks.parse({"onLog": print}) == Callbacks(on_log=print)
    assert Callbacks.parse(None) == Callbacks()
    callbacks = Callbacks(on_log=print)
    assert Callbacks.parse(callbacks) is callbacks


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"on_logs": print}, "there is no on_logs; there are on_started, on_log, on_checkpoint"),
        ({"on_log": "print"}, "on_log must be callable, not 'print'"),
        (print, "must be Callbacks or a mapping"),
        ([print], "must be Callbacks or a mapping"),
    ],
)
def test_what_cannot_be_called_is_refused_at_once(value: Any, says: str) -> None:
    """Not in the middle of a training."""
    with pytest.raises(ConfigError, match=says) as raised:
        Callbacks.parse(value)
    assert raised.value.field == "callbacks"
