"""The block that a run ends with on a terminal: how it went in a line, and the samples before and after."""

from __future__ import annotations

import sys

import click

from arkor.cli.display.job_table import took
from arkor.cli.display.loss_trend import LossTrend
from arkor.cli.display.samples import Samples
from arkor.cli.display.style import STATUS_COLOURS, columns_of, signs_for, strong, warning, width_of
from arkor.client.result import TrainingResult
from arkor.protocol.events import Event, TrainingCompletedEvent, TrainingLogEvent
from arkor.protocol.jobs import FINAL_NAME, JobStatus, TrainingJob
from arkor.text import one_line


class Ending:
    """Takes the events of a run, and says at its end how it went.

    Thread-safety: one thread at a time.
    """

    def __init__(self) -> None:
        self.samples = Samples()
        self._trend = LossTrend()
        self._step = 0
        self._loss: float | None = None
        self._held_out: dict[int, float] = {}
        self._completed: TrainingCompletedEvent | None = None

    def take(self, event: Event) -> None:
        """Take in what an event says; samples are taken in apart."""
        self._trend.take(event)
        match event:
            case TrainingLogEvent():
                self._step = event.step
                self._loss = self._loss if event.loss is None else event.loss
                if event.eval_loss is not None:
                    self._held_out[event.step] = event.eval_loss
            case TrainingCompletedEvent():
                self._completed = event

    def lines(self, result: TrainingResult, job: TrainingJob) -> list[str]:
        """Return the line on how the run ended, warnings, and the table of samples.

        Args:
            result: of the run.
            job: the job as the backend describes it, with the time of its start.
        """
        signs, status = signs_for(sys.stdout), result.status
        is_done = status == JobStatus.COMPLETED
        sign = signs.done if is_done else signs.failed
        colour = STATUS_COLOURS.get(status)
        head = click.style(f"{sign} {one_line(status)}", fg=colour, bold=True)
        time = took(job)
        facts = self._facts(result) if is_done else self._reached()
        first = _joined([f"{head}{f' in {time}' if time else ''}", *facts], f" {signs.dot} ")
        if not is_done:
            return first
        notes = self._completed.notes() if self._completed is not None else []
        warned = [] if result.job.is_dry_run else [warning(text) for text in self._trend.warnings()]
        return [*first, *notes, *warned, *self.samples.table()]

    def _reached(self) -> list[str]:
        return [f"at step {self._step:,}"] if self._step else []

    def _facts(self, result: TrainingResult) -> list[str]:
        """Return what became of the model: its losses, and the size of its adapter."""
        loss = [f"loss {strong(f'{self._loss:.3f}')}"] if self._loss is not None else []
        final = next((artifact for artifact in result.artifacts if artifact.name == FINAL_NAME), None)
        size = [f"adapter {final.size_bytes / 2**20:.1f} MiB"] if final is not None and final.size_bytes else []
        return [*loss, *self._of_held_out(), *size]

    def _of_held_out(self) -> list[str]:
        """Return the loss on held-out rows: that of the adapter, and the lowest one if it is another."""
        if not self._held_out:
            return []
        best = min(self._held_out, key=self._held_out.__getitem__)
        kept = self._completed.best_step if self._completed is not None else None
        step = kept if kept in self._held_out else [*self._held_out][-1]
        figure = f"held-out {strong(f'{self._held_out[step]:.3f}')}"
        if kept == step:
            return [f"{figure}, best at step {step:,}"]
        return [figure if best == step else f"{figure}, lowest {self._held_out[best]:.3f} at step {best:,}"]


def _joined(parts: list[str], separator: str) -> list[str]:
    """Return parts on one line, or on more where the terminal is narrow."""
    first, *rest = parts
    lines = [first]
    for part in rest:
        line = f"{lines[-1]}{separator}{part}"
        is_short = width_of(click.unstyle(line)) < columns_of(sys.stdout)
        lines[-1:] = [line] if is_short else [lines[-1], f"  {part}"]
    return lines
