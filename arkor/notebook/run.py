"""All that is shown of a run, in bounded memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import attrs

from arkor.drawing.chart import MOST_POINTS, Curve, loss_curves
from arkor.drawing.thinning import extremes
from arkor.progress.run_state import RunState
from arkor.protocol import wire
from arkor.protocol.events import (
    CheckpointSavedEvent,
    Event,
    SampleMadeEvent,
    TrainingLogEvent,
    TrainingStartedEvent,
)
from arkor.protocol.jobs import TrainingJob
from arkor.protocol.samples import Sample

MOST_PROMPTS = 6
MOST_MARKS = 1000
LONGEST_TEXT = 300  # characters of a sample's text that are kept to be shown


@attrs.frozen
class Fetching:
    """How far the work before the job is.

    Attributes:
        title: what it is, for people.
        done: how much of it is done.
        total: of how much; 0 if that is not known.
    """

    title: str
    done: int
    total: int


class Values:
    """A loss by step, ascending: some hundreds of points at most, and its lowest value.

    An event that is taken in a second time changes nothing.
    """

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self.best: tuple[int, float] | None = None

    def add(self, step: int, value: float) -> None:
        """Take in a value; one of an earlier step, or that is not finite, is left out."""
        if not math.isfinite(value) or (self.points and step <= self.points[-1][0]):
            return
        self.points.append((step, value))
        if self.best is None or value < self.best[1]:
            self.best = (step, value)
        if len(self.points) > 2 * MOST_POINTS:
            values = [value for _, value in self.points]
            kept = {0, *extremes(range(len(values)), values, MOST_POINTS), len(values) - 1}
            self.points = [self.points[index] for index in sorted(kept)]


class Run:
    """A run as it is shown.

    Attributes:
        name: the job's name.
        model: the model it starts from, as its settings name it.
        job: the job in its last known state; None before it was submitted.
        state: what its events say; None before it was submitted.
        fetching: how far the work before the job is; None once there is a job.
        losses: the training loss.
        held_out: the loss on held-out rows.
        checkpoints: the steps of the last checkpoints, ascending.
        samples: by the number of the prompt, the last two answers to it, the older one first.
        prompts: how many prompts were answered; ``samples`` has the first of them.
        device: what the job computes on; empty if that is not known.
        memory: used and total bytes of the device; None if the backend does not say.
        lock: held by a thread that changes or shows the run.
    """

    def __init__(self, name: str, model: str) -> None:
        self.lock = threading.Lock()
        self.name = name
        self.model = model
        self.job: TrainingJob | None = None
        self.state: RunState | None = None
        self.fetching: Fetching | None = None
        self.losses = Values()
        self.held_out = Values()
        self.checkpoints: list[int] = []
        self.samples: dict[int, list[Sample]] = {}
        self.prompts: set[int] = set()
        self.device = ""
        self.memory: tuple[int, int] | None = None

    def take(self, event: Event, job: TrainingJob) -> None:
        """Take in what an event says; taking it in twice changes nothing.

        Args:
            event: the event.
            job: the job after it.
        """
        self.know(job)
        if self.state is None:
            self.state = RunState(job)
        self.state.take(event)
        match event:
            case TrainingLogEvent():
                self._take_log(event)
            case TrainingStartedEvent():
                self.device = wire.text(event.metadata.get("device"))
            case CheckpointSavedEvent():
                if not self.checkpoints or event.step > self.checkpoints[-1]:
                    self.checkpoints = [*self.checkpoints[-MOST_MARKS:], event.step]
            case SampleMadeEvent():
                self._take_sample(event)

    def know(self, job: TrainingJob) -> None:
        """Take in the state of the job, which was submitted."""
        self.fetching = None
        self.job = job
        self.name = job.name or self.name
        self.model = wire.text(job.config.get("model")) or self.model

    def curves(self) -> Sequence[Curve]:
        """Return the curves of the losses, the best loss on held-out rows marked."""
        return loss_curves(self.losses.points, self.held_out.points, self.held_out.best)

    def _take_log(self, event: TrainingLogEvent) -> None:
        if event.loss is not None:
            self.losses.add(event.step, event.loss)
        if event.eval_loss is not None:
            self.held_out.add(event.step, event.eval_loss)
        memory = wire.mapping(event.body.get("deviceMemory"))
        used, total = (wire.whole_number(memory.get(name)) for name in ("used", "total"))
        if used is not None and total:
            self.memory = (used, total)

    def _take_sample(self, made: Sample) -> None:
        self.prompts.add(made.sample)
        if made.sample not in self.samples and len(self.samples) >= MOST_PROMPTS:
            return
        earlier = [one for one in self.samples.get(made.sample, ()) if one.step < made.step]
        self.samples[made.sample] = [*earlier[-1:], _short(made)]


def _short(made: Sample) -> Sample:
    """Return a sample with as much of its texts as is shown; of messages, the last one."""
    return Sample(
        step=made.step,
        sample=made.sample,
        prompt=_cut(made.question),
        expected=None if made.expected is None else _cut(made.expected),
        answer=_cut(made.answer),
        exact=made.exact,
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
