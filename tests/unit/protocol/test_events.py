"""Events: one class each, and no odd value that ends a wait."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor.protocol.events import (
    EVENT_TYPES,
    LAST_EVENT_TYPES,
    STATUS_OF_LAST_EVENT,
    CheckpointSavedEvent,
    Event,
    TrainingCancelledEvent,
    TrainingCompletedEvent,
    TrainingFailedEvent,
    TrainingLogEvent,
    TrainingPausedEvent,
    TrainingPreparingEvent,
    TrainingStartedEvent,
    parse_event,
)
from arkor.protocol.jobs import TERMINAL_STATUSES, Artifact

HEAD = {"jobId": "job_1", "timestamp": "2026-01-01T00:00:00Z"}
AT = ("job_1", "2026-01-01T00:00:00Z")
FIELDS = ("jobId", "timestamp", "step", "loss", "evalLoss", "learningRate", "epoch", "samplesPerSecond", "metadata")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (
            {"type": "training.preparing", "phase": "reading", "done": 3, "total": 9},
            TrainingPreparingEvent(*AT, "reading", 3, 9),
        ),
        ({"type": "training.preparing", "phase": 7, "done": -1, "total": "9"}, TrainingPreparingEvent(*AT, "7", 0, 0)),
        ({"type": "training.started", "metadata": {"rows": 3}}, TrainingStartedEvent(*AT, {"rows": 3})),
        ({"type": "training.started"}, TrainingStartedEvent(*AT)),
        (
            {"type": "training.log", "step": 3, "loss": 1, "evalLoss": 2.5, "learningRate": 1e-4, "epoch": 0.5},
            TrainingLogEvent(*AT, step=3, loss=1.0, eval_loss=2.5, learning_rate=1e-4, epoch=0.5),
        ),
        (
            {"type": "training.log", "step": 3, "loss": None, "samplesPerSecond": 7.5},
            TrainingLogEvent(*AT, step=3, samples_per_second=7.5),
        ),
        (
            {"type": "checkpoint.saved", "step": 3, "artifacts": [{"name": "a"}]},
            CheckpointSavedEvent(*AT, 3, (Artifact(name="a"),)),
        ),
        (
            {"type": "training.completed", "metrics": {"loss": 1}, "artifacts": [{"name": "a"}]},
            TrainingCompletedEvent(*AT, {"loss": 1}, (Artifact(name="a"),)),
        ),
        ({"type": "training.failed", "error": "boom", "step": 3}, TrainingFailedEvent(*AT, "boom", 3)),
        ({"type": "training.failed"}, TrainingFailedEvent(*AT)),
        ({"type": "training.cancelled", "step": 3}, TrainingCancelledEvent(*AT, 3)),
    ],
)
def test_an_event_becomes_its_class(body: dict[str, Any], event: Event) -> None:
    """With every field of the protocol, and None for what is absent or null."""
    assert parse_event({**HEAD, **body}) == event
    assert event.type == body["type"]


@pytest.mark.parametrize("body", [{}, {"type": "training.new"}, {"type": None}, {"type": 3}, {"type": ["x"]}])
def test_an_unknown_type_is_no_event(body: dict[str, Any]) -> None:
    """A newer backend's events are passed over."""
    assert parse_event(body) is None


@given(st.sampled_from(sorted(EVENT_TYPES)), st.dictionaries(st.sampled_from([*FIELDS, "artifacts", "error"]), JSON))
def test_odd_values_never_raise(kind: str, body: dict[str, Any]) -> None:
    """Whatever the fields hold, the event is read as far as it goes."""
    event = parse_event({"type": kind, **body})
    assert event is not None
    assert event.type == kind
    assert isinstance(event.job_id, str)
    assert isinstance(event.timestamp, str)


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_a_number_too_large_for_a_float_does_not_raise(kind: str) -> None:
    """JSON may spell out as many digits as it likes."""
    body = json.loads(json.dumps({"type": kind, **dict.fromkeys(FIELDS, 10**400), "artifacts": [{"step": 10**400}]}))
    assert parse_event(body) is not None


@pytest.mark.parametrize(
    ("reason", "is_so"),
    [("the disk is full: 3 MiB are free for /data", True), ("it was paused by a person", False), ("", False)],
)
def test_a_pause_for_a_full_disk_ends_by_itself(reason: str, is_so: bool) -> None:
    """A person ends the others."""
    event = parse_event({**HEAD, "type": "training.paused", "reason": reason})
    assert isinstance(event, TrainingPausedEvent)
    assert event.ends_by_itself is is_so


def test_a_step_that_is_no_number_is_0() -> None:
    """The callback still gets a whole number."""
    event = parse_event({"type": "training.log", "step": "three", "loss": "nan"})
    assert isinstance(event, TrainingLogEvent)
    assert (event.step, event.loss) == (0, None)


def test_an_event_has_its_id_and_travels_on_as_it_came() -> None:
    """Fields of a newer backend, odd values and nulls included; two that say the same are equal."""
    body = {"type": "training.log", "jobId": "j", "timestamp": "t", "step": "x", "loss": None, "new": [1]}
    event = parse_event(body, "7")
    assert event is not None
    assert event.id == "7"
    assert event.to_wire() == body
    assert event == parse_event(body, "8") == TrainingLogEvent("j", "t")
    assert parse_event(body, "").id is None  # type: ignore[union-attr]


def test_an_event_that_no_backend_sent_travels_by_its_fields() -> None:
    """In the wire's names, without what is absent."""
    event = TrainingCompletedEvent("j", "t", {"loss": 1}, (Artifact(name="a", step=3),))
    assert event.to_wire() == {
        "type": "training.completed",
        "jobId": "j",
        "timestamp": "t",
        "metrics": {"loss": 1},
        "artifacts": [{"name": "a", "kind": "adapter", "step": 3}],
    }
    assert parse_event(event.to_wire()) == event


def test_each_final_status_has_the_one_event_that_ends_a_job_with_it() -> None:
    """No other event ends a job."""
    assert {status.value for status in STATUS_OF_LAST_EVENT.values()} == TERMINAL_STATUSES
    assert set(STATUS_OF_LAST_EVENT) == LAST_EVENT_TYPES < EVENT_TYPES
    assert len(STATUS_OF_LAST_EVENT) == len(TERMINAL_STATUSES)
