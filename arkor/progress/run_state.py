"""The state of a run, brought up to date event by event: what it is doing, how far it is, how long it will take."""

from __future__ import annotations

import contextlib
from collections import deque
from datetime import datetime

from arkor.protocol import wire
from arkor.protocol.events import (
    LAST_EVENT_TYPES,
    CheckpointSavedEvent,
    Event,
    SampleMadeEvent,
    TrainingInterruptedEvent,
    TrainingLogEvent,
    TrainingPausedEvent,
    TrainingPreparingEvent,
    TrainingStartedEvent,
    TrainingUnpausedEvent,
)
from arkor.protocol.jobs import TrainingJob
from arkor.text import one_line

WAITING = "queued or starting"
TRAINING = "training"
PAUSED = "paused"
_PREPARING = {"reading": "reading the rows", "tokenizing": "tokenizing the rows"}
PACE_LOGS = 20  # the pace is that of so many of the last log events


class RunState:
    """What is known of a run.

    Args:
        job: the job, whose settings may say how many steps there are.

    Attributes:
        state: what it is doing, in a word or two.
        step: optimizer steps done.
        loss: the last training loss, nats; None before there is one.
        eval_loss: the last loss on held-out rows, nats; None before there is one.
        preparing: how far the preparing of the rows is, while it goes on; otherwise None.

    Thread-safety: one thread at a time.
    """

    def __init__(self, job: TrainingJob) -> None:
        self.state = WAITING
        self.step = 0
        self.loss: float | None = None
        self.eval_loss: float | None = None
        self.preparing: TrainingPreparingEvent | None = None
        # How many steps a dry run has is the backend's business.
        self._total = None if job.config.get("dryRun") else wire.whole_number(job.config.get("maxSteps"))
        self._marks: deque[tuple[int, datetime]] = deque(maxlen=PACE_LOGS)

    @property
    def total(self) -> int | None:
        """How many steps there will be, or None where that is not known."""
        return self._total if self._total is not None and self._total >= max(1, self.step) else None

    @property
    def share(self) -> float | None:
        """How much of the preparing, or of the training, is done: 0 to 1, or None where that is not known."""
        if self.preparing is not None:
            done, total = self.preparing.done, self.preparing.total
            return min(done, total) / total if total else None
        if self.state == WAITING and not self.step:
            return None
        return self.step / self.total if self.total else None

    def take(self, event: Event) -> None:
        """Take in what an event says."""
        if isinstance(event, TrainingPreparingEvent):
            self._take_preparing(event)
            return
        if self.preparing is not None:  # a job that is resumed does not say that it has started
            self.preparing = None
            self.state = TRAINING
            self._marks.clear()
        match event:
            case TrainingLogEvent():
                self.state = TRAINING
                self._take_log(event)
            case TrainingStartedEvent():
                self.state = TRAINING
                self._total = wire.whole_number(event.metadata.get("maxSteps")) or self._total
                self._marks.clear()  # a job that was interrupted begins again here
            case CheckpointSavedEvent() | SampleMadeEvent():
                self.state = TRAINING
                self.step = max(self.step, event.step)
            case TrainingInterruptedEvent() | TrainingUnpausedEvent():
                self.state = WAITING
                self._marks.clear()
            case TrainingPausedEvent():
                self.state = PAUSED
                self._marks.clear()
            case _ if event.type in LAST_EVENT_TYPES:
                self.state = event.type.partition(".")[2]

    def place(self) -> str:
        """Return the step, of how many where that is known."""
        return f"{self.step}/{self.total}" if self.total else str(self.step)

    def pace(self) -> float:
        """Return the steps a second by the backend's clock, since events may come late; 0 where that is not known."""
        if len(self._marks) < 2:
            return 0.0
        (first, began), (last, at) = self._marks[0], self._marks[-1]
        with contextlib.suppress(OverflowError, ZeroDivisionError):
            return max(0.0, (last - first) / (at - began).total_seconds())
        return 0.0

    def left(self) -> str:
        """Return how long the preparing, or the training, will still take at this pace; empty if that is not known."""
        if self.preparing is not None:
            done, total = self.preparing.done, self.preparing.total or None
        else:
            done, total = self.step, self.total if self.state == TRAINING else None
        pace = self.pace()
        if not pace or not total or done > total:
            return ""
        with contextlib.suppress(OverflowError):
            minutes, seconds = divmod(round((total - done) / pace), 60)
            hours, minutes = divmod(minutes, 60)
            return f"{hours}:{minutes:02}:{seconds:02} left"
        return ""

    def _take_preparing(self, event: TrainingPreparingEvent) -> None:
        if self.preparing is None or event.phase != self.preparing.phase:
            self._marks.clear()
        self.preparing = event
        self.state = _PREPARING.get(event.phase) or one_line(event.phase) or "preparing"
        self._mark(event.done, event.timestamp)

    def _take_log(self, event: TrainingLogEvent) -> None:
        self.step = event.step
        self.loss = self.loss if event.loss is None else event.loss
        self.eval_loss = self.eval_loss if event.eval_loss is None else event.eval_loss
        self._mark(event.step, event.timestamp)

    def _mark(self, done: int, timestamp: str) -> None:
        at = wire.moment(timestamp)
        if at is not None and (not self._marks or done > self._marks[-1][0]):
            self._marks.append((done, at))
