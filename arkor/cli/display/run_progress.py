"""How far a job is, as its events tell: a line for each event, and what stands beside a progress bar."""

from __future__ import annotations

import contextlib
from collections import deque
from datetime import datetime

from arkor.protocol import wire
from arkor.protocol.events import (
    CheckpointSavedEvent,
    Event,
    SampleMadeEvent,
    TrainingCompletedEvent,
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
_LONGEST_SAMPLE = 200  # characters of its line
PACE_LOGS = 20  # the pace is that of so many of the last log events


class Figures:
    """What is known of a run, brought up to date event by event.

    Args:
        job: the job, whose settings may say how many steps there are.
        unpause: the command that unpauses it.

    Attributes:
        state: what it is doing, in a word or two.
        step: optimizer steps done.

    Thread-safety: one thread at a time.
    """

    def __init__(self, job: TrainingJob, unpause: str) -> None:
        self.state = WAITING
        self.step = 0
        # How many steps a dry run has is the backend's business.
        self._total = None if job.config.get("dryRun") else wire.whole_number(job.config.get("maxSteps"))
        self._loss: float | None = None
        self._eval_loss: float | None = None
        self._marks: deque[tuple[int, datetime]] = deque(maxlen=PACE_LOGS)
        self._preparing: TrainingPreparingEvent | None = None
        self._unpause = unpause

    @property
    def total(self) -> int | None:
        """How many steps there will be, or None where that is not known."""
        return self._total if self._total is not None and self._total >= max(1, self.step) else None

    @property
    def share(self) -> float | None:
        """How much of the preparing, or of the training, is done: 0 to 1, or None where that is not known."""
        if self._preparing is not None:
            done, total = self._preparing.done, self._preparing.total
            return min(done, total) / total if total else None
        return self.step / self.total if self.total else None

    def take(self, event: Event) -> None:
        """Take in what an event says."""
        if isinstance(event, TrainingPreparingEvent):
            self._take_preparing(event)
            return
        if self._preparing is not None:  # a job that is resumed does not say that it has started
            self._preparing = None
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
                self.step = event.step
            case TrainingInterruptedEvent() | TrainingUnpausedEvent():
                self.state = WAITING
                self._marks.clear()
            case TrainingPausedEvent():
                self.state = PAUSED
                self._marks.clear()
            case _:
                self.state = event.type.partition(".")[2]

    def line(self, event: Event) -> str:
        """Return the line that tells of an event that was taken in; empty where there is none to be shown."""
        match event:
            case TrainingLogEvent():
                return "  ".join([f"step {self._place()}", *_losses(event.loss, event.eval_loss)])
            case TrainingPreparingEvent():
                share = [f"{self.share:.0%}"] if self.share else []  # a phase that begins has its name alone
                return "  ".join([self.state, *share, *self.parts()])
            case TrainingStartedEvent():
                return "\n".join(["Training started", *_rows(event)])
            case CheckpointSavedEvent():
                return f"step {self._place()}  checkpoint saved"
            case TrainingCompletedEvent():
                return "\n".join(event.notes())
        return self.notice(event)

    def notice(self, event: Event) -> str:
        """Return the line of an event that people read even beside a bar; empty for other events."""
        match event:
            case SampleMadeEvent():
                return one_line(f"sample {event.sample + 1} at step {event.step}: {event.answer}", _LONGEST_SAMPLE)
            case TrainingInterruptedEvent():
                return one_line(f"Warning: {event.note()}")
            case TrainingPausedEvent():
                return self._paused(event)
            case TrainingUnpausedEvent():
                return "Unpaused"
        return ""

    def parts(self) -> list[str]:
        """Return what stands beside a bar, the most important first."""
        if self.state == WAITING and not self.step:
            return []
        pace = self._pace()
        if self._preparing is not None:
            left = self._left(pace, self._preparing.done, self._preparing.total)
            return [left] if left else []
        left = self._left(pace, self.step, self.total) if self.state == TRAINING else ""
        rate = f"{pace:.3g} steps/s" if pace else ""
        parts = (self._place(), *_losses(self._loss, None), left, *_losses(None, self._eval_loss), rate)
        return [part for part in parts if part]

    def _paused(self, event: TrainingPausedEvent) -> str:
        paused = "Paused" if event.step is None else f"Paused at step {event.step}"
        if event.ends_by_itself:
            return one_line(f"{paused}: {event.reason}; it goes on by itself when there is room")
        return f"{paused}. Unpause it with: {self._unpause}"

    def _take_preparing(self, event: TrainingPreparingEvent) -> None:
        if self._preparing is None or event.phase != self._preparing.phase:
            self._marks.clear()
        self._preparing = event
        self.state = _PREPARING.get(event.phase) or one_line(event.phase) or "preparing"
        self._mark(event.done, event.timestamp)

    def _take_log(self, event: TrainingLogEvent) -> None:
        self.step = event.step
        self._loss = self._loss if event.loss is None else event.loss
        self._eval_loss = self._eval_loss if event.eval_loss is None else event.eval_loss
        self._mark(event.step, event.timestamp)

    def _mark(self, done: int, timestamp: str) -> None:
        at = wire.moment(timestamp)
        if at is not None and (not self._marks or done > self._marks[-1][0]):
            self._marks.append((done, at))

    def _place(self) -> str:
        return f"{self.step}/{self.total}" if self.total else str(self.step)

    def _pace(self) -> float:
        """Return the steps a second by the backend's clock, since events may come late; 0 where that is not known."""
        if len(self._marks) < 2:
            return 0.0
        (first, began), (last, at) = self._marks[0], self._marks[-1]
        with contextlib.suppress(OverflowError, ZeroDivisionError):
            return max(0.0, (last - first) / (at - began).total_seconds())
        return 0.0

    def _left(self, pace: float, done: int, total: int | None) -> str:
        """Return how long the rest will still take, at this pace."""
        if not pace or not total or done > total:
            return ""
        with contextlib.suppress(OverflowError):
            minutes, seconds = divmod(round((total - done) / pace), 60)
            hours, minutes = divmod(minutes, 60)
            return f"{hours}:{minutes:02}:{seconds:02} left"
        return ""


def _rows(event: TrainingStartedEvent) -> list[str]:
    """Return what the backend says of the rows: a line, one for each warning, and one if they are plain text."""
    receipt = event.receipt
    told = [receipt.line(), *(f"Warning: {warning}" for warning in receipt.warnings())] if receipt else []
    form = ["The model learns plain text, without its chat template"] if event.prompt_form == "raw" else []
    advised = [f"Advice: {text}" for text in event.advice]
    return [one_line(line) for line in (*told, *form, *advised)]


def _losses(loss: float | None, eval_loss: float | None) -> list[str]:
    figures = {"loss": loss, "eval loss": eval_loss}
    return [f"{name} {value:.4f}" for name, value in figures.items() if value is not None]
