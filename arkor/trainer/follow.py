"""Following a job: its events in order, and what they say about it, until it ends.

Protocol: docs/protocol.md, "The event stream" and "Reader rules".
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator

import attrs
from requests import Response

from arkor.client.client import CloudApiClient
from arkor.client.position import Offer, StreamPosition
from arkor.client.reconnect import until_answered
from arkor.client.result import Download, Evaluate, Export, FetchSamples, Reproduce, TrainingResult
from arkor.client.stream import EventStream, ReconnectPolicy
from arkor.errors import StreamError
from arkor.http.abort import AbortScope, Deadline
from arkor.protocol.events import (
    STATUS_OF_LAST_EVENT,
    CheckpointSavedEvent,
    Event,
    SampleMadeEvent,
    TrainingCancelledEvent,
    TrainingCompletedEvent,
    TrainingFailedEvent,
    TrainingInterruptedEvent,
    TrainingLogEvent,
    TrainingPausedEvent,
    TrainingPreparingEvent,
    TrainingStartedEvent,
    TrainingUnpausedEvent,
    parse_event,
)
from arkor.protocol.job_metrics import Metrics
from arkor.protocol.jobs import Artifact, JobStatus, Scope, TrainingJob
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from arkor.trainer.callbacks import Ask
from arkor.trainer.run_log import RunLog

VERDICT_TRIES = 5
VERDICT_PAUSE_S = 1.0
_WAITS = frozenset({JobStatus.QUEUED.value, JobStatus.PAUSED.value})


class JobRecord:
    """What is known of a job, brought up to date event by event.

    Args:
        job: the job as it was submitted or found.
        position: where its event stream is to be followed on.
        download: fetches an artifact for the result: (job id, artifact, folder, on_progress) to the folder it made.
        ask: asks a model for the result, see ``Starter.ask``.
        metrics: fetches the history of a job's figures for the result.
        samples: fetches a job's samples for the result.
        receipt: fetches what became of a job's rows for the result.
        record: fetches what made a job's adapters for the result.

    Attributes:
        job: the job in its last known state.
        artifacts: what it has left so far.
        position: the events that were delivered.

    Thread-safety: changed by one thread at a time; its attributes may be read from any.
    """

    def __init__(
        self,
        job: TrainingJob,
        position: StreamPosition,
        *,
        download: Download,
        ask: Ask,
        metrics: Callable[[str], Metrics],
        samples: FetchSamples,
        receipt: Callable[[str], Receipt | None],
        record: Callable[[str], TrainingRecord | None],
        evaluate: Evaluate,
        export: Export,
        reproduce: Reproduce,
    ) -> None:
        self.job = job
        self.artifacts: tuple[Artifact, ...] = ()
        self.position = position
        self._ending: tuple[Offer, TrainingResult] | None = None
        self._download = download
        self._ask = ask
        self._metrics = metrics
        self._samples = samples
        self._receipt = receipt
        self._record = record
        self._evaluate = evaluate
        self._export = export
        self._reproduce = reproduce

    @property
    def result(self) -> TrainingResult | None:
        """How the job ended; None until the event that says so was delivered."""
        if self._ending is None or self._ending[0] is not self.position.delivered:
            return None
        return self._ending[1]

    def learn(self, event: Event) -> None:
        """Take in what an event that is offered says; learning it twice changes nothing."""
        match event:
            case TrainingLogEvent() | SampleMadeEvent():  # nearly all are
                if self.job.status in _WAITS:  # a resumed attempt does not say that it has started
                    self._move(JobStatus.RUNNING)
            case TrainingPreparingEvent():
                self._move(JobStatus.RUNNING)
            case TrainingStartedEvent():
                started_at = self.job.started_at or event.timestamp or None
                self.job = attrs.evolve(
                    self.job,
                    status=JobStatus.RUNNING.value,
                    pause_reason=None,
                    started_at=started_at,
                    prompt_form=event.prompt_form or self.job.prompt_form,
                )
            case TrainingInterruptedEvent() | TrainingUnpausedEvent():
                self._move(JobStatus.QUEUED)
            case TrainingPausedEvent():
                self._move(JobStatus.PAUSED, event.reason or None)
            case CheckpointSavedEvent():
                if self.job.status in _WAITS:
                    self._move(JobStatus.RUNNING)
                self.artifacts += tuple(item for item in event.artifacts if item not in self.artifacts)
            case TrainingCompletedEvent():
                self.artifacts = event.artifacts or self.artifacts
                self._end(event)
            case TrainingFailedEvent():
                self._end(event, event.error)
            case TrainingCancelledEvent():
                self._end(event)

    def _move(self, status: JobStatus, pause_reason: str | None = None) -> None:
        self.job = attrs.evolve(self.job, status=status.value, pause_reason=pause_reason)

    def _end(self, event: Event, error: str = "") -> None:
        self.job = attrs.evolve(
            self.job,
            status=STATUS_OF_LAST_EVENT[event.type].value,
            pause_reason=None,
            error=error or self.job.error,
            completed_at=self.job.completed_at or event.timestamp or None,
        )
        result = TrainingResult(
            self.job,
            self.artifacts,
            download=self._download,
            ask=self._ask,
            metrics=self._metrics,
            samples=self._samples,
            receipt=self._receipt,
            record=self._record,
            evaluate=self._evaluate,
            export=self._export,
            reproduce=self._reproduce,
        )
        self._ending = (self.position.offered, result)

    def end_event(self) -> Event:
        """Return the event that the job's end would have sent, for an end that was learnt by asking."""
        job = self.job
        at = job.completed_at or ""
        if job.status == JobStatus.COMPLETED:
            return TrainingCompletedEvent(job.id, at, {}, self.artifacts)
        if job.status == JobStatus.FAILED:
            return TrainingFailedEvent(job.id, at, job.error or "")
        return TrainingCancelledEvent(job.id, at)


class Follower:
    """Reads a job's events and keeps its record.

    Args:
        client: the backend.
        scope: the project the job belongs to.
        record: what is known of the job; brought up to date.
        policy: when to reconnect.
        abort_event: ends following at once when set, or None.
    """

    def __init__(
        self,
        client: CloudApiClient,
        scope: Scope,
        record: JobRecord,
        *,
        policy: ReconnectPolicy,
        abort_event: threading.Event | None,
    ) -> None:
        self._client = client
        self._scope = scope
        self._record = record
        self._policy = policy
        self._abort_event = abort_event

    def events(self, deadline: Deadline) -> Generator[Event, None, None]:
        """Yield the events after the last delivered one, up to the one that ends the job.

        Whoever is done with one sets the position's ``delivered`` to what it ``offered``. An end that no event told is
        asked for, and yielded as its event would have been.
        """
        record, position = self._record, self._record.position
        log = RunLog(record.job)
        stream = EventStream(
            record.job.id,
            self._open,
            policy=self._policy,
            abort_event=self._abort_event,
            deadline=deadline,
            position=position,
            is_over=lambda: self._get_job(deadline).is_terminal,
            check_alive=self._client.check_alive,
        )
        with contextlib.closing(iter(stream)) as bodies:
            for body in bodies:
                event = parse_event(body, position.offered[0])
                if event is None:  # of a newer backend
                    position.delivered = position.offered
                    continue
                record.learn(event)
                log.take(event)
                yield event
                if record.result is not None:
                    return
        self._ask_for_the_end(deadline)
        position.offer(None)
        event = record.end_event()
        record.learn(event)
        log.take(event)
        yield event

    def _open(self, last_event_id: str | None, timeout_s: tuple[float, float]) -> Response:
        job_id = self._record.job.id
        return self._client.open_events(self._scope, job_id, last_event_id=last_event_id, timeout_s=timeout_s)

    def _get_job(self, deadline: Deadline) -> TrainingJob:
        """Ask for the job; the abort event and the deadline end this at once, as they end reading."""
        with AbortScope(self._abort_event, deadline) as limits, limits.noticing_the_end(), limits.active():
            return self._client.get_job(self._scope, self._record.job.id)

    def _ask_for_the_end(self, deadline: Deadline) -> None:
        """Get the job until it says how it ended: its status may be written a little after its stream was closed."""
        with AbortScope(self._abort_event, deadline) as limits:
            for _ in range(VERDICT_TRIES):
                job = until_answered(
                    lambda: self._get_job(deadline),
                    policy=self._policy,
                    limits=limits,
                    check_alive=self._client.check_alive,
                )
                if job.is_terminal:
                    self._record.job = job
                    return
                limits.pause(VERDICT_PAUSE_S)
        raise StreamError(f"The backend closed the event stream of job {job.id}, which is still {job.status}.")
