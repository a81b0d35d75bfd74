"""One class for each event of a job's stream.

Every event has ``type`` (its wire name), ``job_id``, ``timestamp`` (ISO 8601, UTC, empty where the backend gave none),
``id`` (None where the backend gave none) and ``body``, the JSON object that it came as. Values of a type the protocol
does not foresee count as absent, so that an odd event never ends a wait.

Protocol: docs/protocol.md, "The event stream".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from arkor.protocol import wire
from arkor.protocol.jobs import Artifact, JobStatus
from arkor.protocol.metrics import EVAL_METRICS, METRICS, LogMetrics
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from arkor.protocol.samples import Sample, sample_of

DISK_FULL = "the disk is full"
"""Begins the reason of a pause that ends by itself, as soon as the backend's disk has room."""


@attrs.frozen(slots=False)  # made for nearly every frame: without slots that takes two thirds of the time
class _Event:
    """What every event has; two are equal where they say the same, wherever they stood in a stream."""

    type: ClassVar[str]
    job_id: str
    timestamp: str = ""
    id: str | None = attrs.field(default=None, kw_only=True, eq=False)
    body: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, eq=False, repr=False)

    def to_wire(self) -> dict[str, Any]:
        """Return the event as the JSON object that travels, as it came where it came from a backend."""
        fields = {
            wire.wire_name(name): [item.to_wire() for item in value] if name == "artifacts" else value
            for name, value in vars(self).items()
            if name not in {"id", "body"} and value is not None
        }
        return {"type": self.type, **fields, **self.body}


@attrs.frozen(slots=False)
class TrainingPreparingEvent(_Event):
    """The rows are being prepared: ``done`` of ``total`` of a ``phase``, before the training starts.

    The phases are ``reading`` (in bytes, or in rows) and ``tokenizing`` (in rows); later backends may have others.
    ``total`` is 0 if it is not known.
    """

    type: ClassVar[str] = "training.preparing"
    phase: str = ""
    done: int = 0
    total: int = 0


@attrs.frozen(slots=False)
class TrainingStartedEvent(_Event):
    """Training began; ``metadata`` says on what."""

    type: ClassVar[str] = "training.started"
    metadata: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def prompt_form(self) -> str | None:
        """How the rows are trained, see ``TrainingJob.prompt_form``; None if the backend does not say."""
        return wire.optional_text(self.metadata.get("promptForm"))

    @property
    def receipt(self) -> Receipt | None:
        """What became of the rows; None if the backend does not say."""
        return Receipt.from_wire(self.metadata.get("receipt"))

    @property
    def advice(self) -> list[str]:
        """What the settings will hardly do, in sentences without full stops; empty if the backend says nothing."""
        found = self.metadata.get("advice")
        return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []

    @property
    def record(self) -> TrainingRecord | None:
        """What the training is made from; None if the backend does not say."""
        return TrainingRecord.from_wire(self.metadata.get("record"))


@attrs.frozen(slots=False)
class TrainingLogEvent(LogMetrics, _Event):
    """One line of the training log; ``arkor.protocol.metrics.LogMetrics`` has its metrics with their units."""

    type: ClassVar[str] = "training.log"


@attrs.frozen(slots=False)
class CheckpointSavedEvent(_Event):
    """An adapter of the run so far was saved at ``step``."""

    type: ClassVar[str] = "checkpoint.saved"
    step: int = 0
    artifacts: tuple[Artifact, ...] = ()


@attrs.frozen(slots=False)
class SampleMadeEvent(Sample, _Event):
    """The model answered a prompt at ``step``; ``arkor.protocol.samples.Sample`` has its other fields."""

    type: ClassVar[str] = "sample.made"


@attrs.frozen(slots=False)
class TrainingInterruptedEvent(_Event):
    """An attempt at the job was lost, and the job goes on from its last whole checkpoint; ``reason`` says how.

    ``step`` is the last step that was logged. ``batch_size`` and ``gradient_accumulation_steps`` are those that the
    job goes on with, if they changed because memory ran out: an optimizer step still takes as many rows.
    """

    type: ClassVar[str] = "training.interrupted"
    reason: str = ""
    step: int | None = None
    batch_size: int | None = None
    gradient_accumulation_steps: int | None = None

    def note(self) -> str:
        """Return it in a sentence."""
        smaller = ""
        if self.batch_size is not None and self.gradient_accumulation_steps is not None:
            batches = self.gradient_accumulation_steps
            smaller = f", with batch_size={self.batch_size} and gradient_accumulation_steps={batches}"
        return f"{self.reason}: the job goes on by itself{smaller}."


@attrs.frozen(slots=False)
class TrainingPausedEvent(_Event):
    """The job does not train until it is unpaused, by a person or by itself; ``reason`` says why."""

    type: ClassVar[str] = "training.paused"
    reason: str = ""
    step: int | None = None

    @property
    def ends_by_itself(self) -> bool:
        """Whether the job goes on by itself, as soon as the disk has room; otherwise a person unpauses it."""
        return self.reason.startswith(DISK_FULL)


@attrs.frozen(slots=False)
class TrainingUnpausedEvent(_Event):
    """A paused job is in the queue again."""

    type: ClassVar[str] = "training.unpaused"


@attrs.frozen(slots=False)
class TrainingCompletedEvent(_Event):
    """The job completed; ``metrics`` are its last figures."""

    type: ClassVar[str] = "training.completed"
    metrics: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    artifacts: tuple[Artifact, ...] = ()

    @property
    def best_step(self) -> int | None:
        """The step of the best evaluation, if the final adapter is that one's; None if it is that of the last step."""
        return wire.whole_number(self.metrics.get("bestStep"))

    @property
    def stopped_early(self) -> bool:
        """Whether the training ended before its last step, because no better evaluation came."""
        return self.metrics.get("endReason") == "early_stopping"

    def notes(self) -> list[str]:
        """Return in sentences which adapter is the final one, and why the training ended, where that is not usual."""
        figures = [
            f"{metric.label} {value:.4f}"
            for metric in EVAL_METRICS
            if isinstance(value := self.metrics.get(metric.best_wire_name), float)
        ]
        figure = f" ({', '.join(figures)})" if figures else ""
        best = [f"The adapter is that of step {self.best_step}, the best evaluation{figure}."]
        early = ["The training stopped early: no better evaluation came."]
        return [*(best if self.best_step is not None else []), *(early if self.stopped_early else [])]


@attrs.frozen(slots=False)
class TrainingFailedEvent(_Event):
    """The job failed; ``error`` says why, ``step`` how far it came."""

    type: ClassVar[str] = "training.failed"
    error: str = ""
    step: int | None = None


@attrs.frozen(slots=False)
class TrainingCancelledEvent(_Event):
    """The job was cancelled. Arkor Cloud sends no such event, the self-hosted backend does."""

    type: ClassVar[str] = "training.cancelled"
    step: int | None = None


Event = (
    TrainingPreparingEvent
    | TrainingStartedEvent
    | TrainingLogEvent
    | CheckpointSavedEvent
    | SampleMadeEvent
    | TrainingInterruptedEvent
    | TrainingPausedEvent
    | TrainingUnpausedEvent
    | TrainingCompletedEvent
    | TrainingFailedEvent
    | TrainingCancelledEvent
)


_METRICS = tuple((metric.name, metric.wire_name) for metric in METRICS)


def _preparing(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    done, total = (max(0, wire.whole_number(body.get(name)) or 0) for name in ("done", "total"))
    return TrainingPreparingEvent(job_id, at, wire.text(body.get("phase")), done, total, id=event_id, body=body)


def _started(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    return TrainingStartedEvent(job_id, at, wire.mapping(body.get("metadata")), id=event_id, body=body)


def _log(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    step = wire.whole_number(body.get("step")) or 0
    metrics = {name: wire.number(body.get(wire_name)) for name, wire_name in _METRICS}
    return TrainingLogEvent(job_id, at, step=step, **metrics, id=event_id, body=body)


def _checkpoint(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    step = wire.whole_number(body.get("step")) or 0
    artifacts = Artifact.list_from_wire(body.get("artifacts"))
    return CheckpointSavedEvent(job_id, at, step, artifacts, id=event_id, body=body)


def _sample(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    return SampleMadeEvent(job_id, at, **sample_of(body), id=event_id, body=body)


def _interrupted(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    numbers = (wire.whole_number(body.get(name)) for name in ("step", "batchSize", "gradientAccumulationSteps"))
    return TrainingInterruptedEvent(job_id, at, wire.text(body.get("reason")), *numbers, id=event_id, body=body)


def _paused(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    step = wire.whole_number(body.get("step"))
    return TrainingPausedEvent(job_id, at, wire.text(body.get("reason")), step, id=event_id, body=body)


def _unpaused(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    return TrainingUnpausedEvent(job_id, at, id=event_id, body=body)


def _completed(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    artifacts = Artifact.list_from_wire(body.get("artifacts"))
    return TrainingCompletedEvent(job_id, at, wire.mapping(body.get("metrics")), artifacts, id=event_id, body=body)


def _failed(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    step = wire.whole_number(body.get("step"))
    return TrainingFailedEvent(job_id, at, wire.text(body.get("error")), step, id=event_id, body=body)


def _cancelled(job_id: str, at: str, body: Mapping[str, Any], event_id: str | None) -> Event:
    return TrainingCancelledEvent(job_id, at, wire.whole_number(body.get("step")), id=event_id, body=body)


_READERS: dict[str, Callable[[str, str, Mapping[str, Any], str | None], Event]] = {
    "training.preparing": _preparing,
    "training.started": _started,
    "training.log": _log,
    "checkpoint.saved": _checkpoint,
    "sample.made": _sample,
    "training.interrupted": _interrupted,
    "training.paused": _paused,
    "training.unpaused": _unpaused,
    "training.completed": _completed,
    "training.failed": _failed,
    "training.cancelled": _cancelled,
}

EVENT_TYPES = frozenset(_READERS)
# Events of a self-hosted backend itself; its workers send the others.
BACKEND_EVENT_TYPES = frozenset(
    event.type for event in (TrainingInterruptedEvent, TrainingPausedEvent, TrainingUnpausedEvent)
)
# Each of these events ends its job, with this status.
STATUS_OF_LAST_EVENT = {
    TrainingCompletedEvent.type: JobStatus.COMPLETED,
    TrainingFailedEvent.type: JobStatus.FAILED,
    TrainingCancelledEvent.type: JobStatus.CANCELLED,
}
LAST_EVENT_TYPES = frozenset(STATUS_OF_LAST_EVENT)


def parse_event(body: Mapping[str, Any], event_id: str | None = None) -> Event | None:
    """Read one event.

    Args:
        body: the event's JSON object.
        event_id: its id in the stream, or None.

    Returns:
        The event, or None when its type is unknown to this version.
    """
    kind = body.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        return None
    return read(wire.text(body.get("jobId")), wire.text(body.get("timestamp")), body, event_id or None)
