"""How far a job is, as its events tell: a line for each event, and what stands beside a progress bar."""

from __future__ import annotations

from arkor.progress.run_state import WAITING, RunState
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

_LONGEST_SAMPLE = 200  # characters of its line


class Figures(RunState):
    """A run, in lines for a terminal.

    Args:
        job: the job, whose settings may say how many steps there are.
        unpause: the command that unpauses it.

    Attributes:
        waits_for: while it is queued, the running job that it waits for, and how far that is; empty if nobody says.

    Thread-safety: one thread at a time.
    """

    def __init__(self, job: TrainingJob, unpause: str) -> None:
        super().__init__(job)
        self.waits_for = ""
        self._unpause = unpause

    @property
    def label(self) -> str:
        """What stands before a bar: what it is doing, or waits for."""
        return f"waiting for {self.waits_for}" if self.state == WAITING and self.waits_for else self.state

    def line(self, event: Event) -> str:
        """Return the line that tells of an event that was taken in; empty where there is none to be shown."""
        match event:
            case TrainingLogEvent():
                line = "  ".join([f"step {self.place()}", *_losses(event.loss, event.eval_loss)])
            case TrainingPreparingEvent():
                share = [f"{self.share:.0%}"] if self.share else []  # a phase that begins has its name alone
                line = "  ".join([self.state, *share, *self.parts()])
            case TrainingStartedEvent():
                line = "\n".join(["Training started", *_rows(event)])
            case CheckpointSavedEvent():
                line = f"step {self.place()}  checkpoint saved"
            case SampleMadeEvent():
                line = one_line(f"sample {event.sample + 1} at step {event.step}: {event.answer}", _LONGEST_SAMPLE)
            case TrainingCompletedEvent():
                line = "\n".join(event.notes())
            case _:
                line = self.notice(event)
        return line

    def notice(self, event: Event) -> str:
        """Return the line of an event that people read even beside a bar; empty for other events."""
        match event:
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
        left = self.left()
        if self.preparing is not None:
            return [left] if left else []
        pace = self.pace()
        rate = f"{pace:.3g} steps/s" if pace else ""
        parts = (self.place(), *_losses(self.loss, None), left, *_losses(None, self.eval_loss), rate)
        return [part for part in parts if part]

    def _paused(self, event: TrainingPausedEvent) -> str:
        paused = "Paused" if event.step is None else f"Paused at step {event.step}"
        if event.ends_by_itself:
            return one_line(f"{paused}: {event.reason}; it goes on by itself when there is room")
        return f"{paused}. Unpause it with: {self._unpause}"


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
