"""The phases of a run, for a script that sets logging up: at INFO, a line each, and one for each tenth of the steps."""

from __future__ import annotations

import logging

from arkor.protocol import wire
from arkor.protocol.events import (
    STATUS_OF_LAST_EVENT,
    CheckpointSavedEvent,
    Event,
    TrainingFailedEvent,
    TrainingInterruptedEvent,
    TrainingLogEvent,
    TrainingPausedEvent,
    TrainingPreparingEvent,
    TrainingStartedEvent,
    TrainingUnpausedEvent,
)
from arkor.protocol.jobs import JobStatus, TrainingJob
from arkor.text import one_line

logger = logging.getLogger(__name__)

PARTS = 10  # lines for the steps of a run


class RunLog:
    """Logs what the events of a job say, each thing once.

    Args:
        job: the job, as it was when its events began to be read.

    Thread-safety: one thread at a time.
    """

    def __init__(self, job: TrainingJob) -> None:
        self._id = one_line(job.id)
        self._total = None if job.is_dry_run else wire.whole_number(job.config.get("maxSteps"))
        self._phase = ""
        self._part = 0
        if job.status == JobStatus.QUEUED:
            self._say("waiting in the queue")

    def take(self, event: Event) -> None:
        """Log an event, if it begins a phase, ends the job, or completes a tenth of the steps."""
        match event:
            case TrainingLogEvent():
                self._take_log(event)
            case TrainingPreparingEvent():
                self._begin(f"preparing: {event.phase}")
            case TrainingStartedEvent():
                self._total = wire.whole_number(event.metadata.get("maxSteps")) or self._total
                self._begin(f"training, {self._total} steps" if self._total else "training")
            case CheckpointSavedEvent():
                self._say(f"checkpoint saved at step {event.step}")
            case TrainingInterruptedEvent():
                self._begin(f"interrupted: {event.note()}")
            case TrainingPausedEvent():
                self._begin(f"paused: {event.reason}")
            case TrainingUnpausedEvent():
                self._begin("waiting in the queue")
            case TrainingFailedEvent():
                self._say(f"failed: {event.error}")
            case _ if event.type in STATUS_OF_LAST_EVENT:
                self._say(STATUS_OF_LAST_EVENT[event.type].value)

    def _take_log(self, event: TrainingLogEvent) -> None:
        percent = min(event.step, self._total) * 100 // self._total if self._total else 0
        if percent * PARTS // 100 <= self._part:
            return
        self._part = percent * PARTS // 100
        losses = {"loss": event.loss, "held-out loss": event.eval_loss}
        figures = "".join(f", {name} {figure:.4f}" for name, figure in losses.items() if figure is not None)
        self._say(f"training, {percent} %: step {event.step} of {self._total}{figures}")

    def _begin(self, phase: str) -> None:
        if phase != self._phase:
            self._phase = phase
            self._say(phase)

    def _say(self, text: str) -> None:
        logger.info("Job %s: %s", self._id, one_line(text))
