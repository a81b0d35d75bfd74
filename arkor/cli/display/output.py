"""How a command shows a job that it follows: a bar, a line for each event, or a JSON object for each event."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from arkor.cli.display.closed_pipes import outliving_copy
from arkor.cli.display.ending import Ending
from arkor.cli.display.opening import Pace, opening
from arkor.cli.display.queue_watch import watching_the_queue
from arkor.cli.display.run_progress import Figures
from arkor.cli.display.screen import Screen, is_terminal
from arkor.client.result import TrainingResult
from arkor.progress.run_state import WAITING
from arkor.protocol import wire
from arkor.protocol.events import Event, TrainingStartedEvent
from arkor.protocol.jobs import TERMINAL_STATUSES, TrainingJob
from arkor.protocol.secrets import without_tokens
from arkor.text import one_line


class Showing:
    """What a command prints of a job, and where.

    Args:
        screen: where a bar is shown, or None.
        print_json: prints an object on stdout, where that is all that goes there; else None.

    Attributes:
        is_for_people: whether it is a terminal, which gets a bar, and blocks at the beginning and the end of a run.

    Thread-safety: one thread at a time; others may print.
    """

    def __init__(self, screen: Screen | None, print_json: Callable[[Mapping[str, Any]], object] | None) -> None:
        self._screen = screen
        self._print_json = print_json
        self.is_for_people = screen is not None and is_terminal(sys.stdout)
        self._figures: Figures | None = None
        self._lock = threading.Lock()  # over the figures, which the watch of the queue changes, too
        self._job: TrainingJob | None = None  # that is followed, until its opening was shown
        self._pace: Pace | None = None
        self._ending = Ending()

    def say(self, text: str) -> None:
        """Print a message: on stdout, but on stderr where stdout is for JSON."""
        click.echo(text, err=self._print_json is not None)

    def print_job(self, job: TrainingJob) -> None:
        """Print a job that is left alone: its id, or all of it as JSON."""
        if self._print_json is not None:
            self._print_json(job_as_json(job))
        else:
            click.echo(one_line(job.id))

    @contextlib.contextmanager
    def following(
        self, job: TrainingJob, unpause: str, ask: Callable[[], TrainingJob], pace: Pace | None = None
    ) -> Iterator[None]:
        """Show how far a job is, until the end of following it.

        Args:
            job: the job.
            unpause: the command that unpauses it.
            ask: asks the backend for the job.
            pace: of an earlier job like it, if one is known.
        """
        self._figures = figures = Figures(job, unpause)
        self._job, self._pace = job, pace
        if self._screen is None:
            yield
            return
        self._screen.show(figures)
        try:
            with watching_the_queue(ask, self._show_queue, lambda: figures.state == WAITING):
                yield
        finally:
            self._screen.end()

    def show(self, event: Event) -> None:
        """Show an event of the job that is followed."""
        assert self._figures is not None
        if self._print_json is not None:
            position = {} if event.id is None else {"id": event.id}
            self._print_json({**event.to_wire(), **position})
            return
        with self._lock:
            for line in self._told(self._figures, event):
                click.echo(line)
            if self._screen is not None:
                self._screen.show(self._figures)
                if self._figures.state in TERMINAL_STATUSES:
                    self._screen.end(keep=not self.is_for_people)  # the ending says more

    def ending(self, result: TrainingResult, job: TrainingJob) -> list[str]:
        """Return the lines that a run ends with, for people.

        Args:
            result: of the run.
            job: the job as the backend describes it.
        """
        return self._ending.lines(result, job)

    def _told(self, figures: Figures, event: Event) -> Iterator[str]:
        """Take in an event, and yield what is printed of it."""
        samples = self._ending.samples.take(event)
        if samples and self.is_for_people:
            yield samples
        figures.take(event)
        self._ending.take(event)
        if self.is_for_people and isinstance(event, TrainingStartedEvent) and self._job is not None:
            yield from opening(self._job, event, self._pace)
            self._job = None  # an interrupted job may begin again
        line = figures.notice(event) if self.is_for_people else figures.line(event)
        if line:
            yield line

    def _show_queue(self, waits_for: str) -> None:
        with self._lock:
            if self._figures is not None and self._screen is not None and self._figures.waits_for != waits_for:
                self._figures.waits_for = waits_for
                self._screen.show(self._figures)


@contextlib.contextmanager
def showing(*, as_json: bool) -> Iterator[Showing]:
    """Take over stdout and stderr for a command that follows a job.

    With JSON all that is not JSON goes to stderr, what child processes print included. Without, a terminal gets a bar.

    Args:
        as_json: whether stdout is for JSON.
    """
    if as_json:
        with _stdout_for_json() as print_json:
            yield Showing(None, print_json)
    elif is_terminal(sys.stderr):
        screen = Screen()
        with screen.shared():
            yield Showing(screen, None)
    else:
        yield Showing(None, None)


@contextlib.contextmanager
def _stdout_for_json() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    if sys.stdout is None:  # it was closed before Python began
        raise click.UsageError("--json prints on stdout, which is closed.")
    sys.stdout.flush()
    with outliving_copy(1) as out:

        def print_json(body: Mapping[str, Any]) -> None:
            out.write(f"{json_line(body)}\n")
            out.flush()

        if sys.stderr is not None:
            os.dup2(2, 1)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield print_json
        finally:
            os.dup2(out.fileno(), 1)


def json_line(body: Mapping[str, Any]) -> str:
    """Return an object as one line; a figure that is not finite is null, since JSON has no other word for it."""
    try:
        return json.dumps(body, allow_nan=False)
    except ValueError:
        return json.dumps(wire.finite(body))


def json_lines(body: Any) -> str:
    """Return a value in many lines; a figure that is not finite is null here, too."""
    return json.dumps(wire.finite(body), indent=2)


def job_as_json(job: TrainingJob) -> dict[str, Any]:
    """Return a job as JSON, without the token that its data set is fetched with."""
    body: dict[str, Any] = without_tokens({"config": {}, **job.to_wire()}, instead="…")
    return body
