"""``arkor logs``."""

from __future__ import annotations

import sys
import textwrap

import click

from arkor.cli.chosen_job import named_or_newest, newest_job_argument
from arkor.cli.display.closed_pipes import is_closed
from arkor.cli.display.job_table import local_time
from arkor.cli.display.output import json_line
from arkor.cli.display.run_progress import Figures
from arkor.cli.display.screen import is_terminal
from arkor.cli.display.style import columns_of, quiet
from arkor.cli.options import local_option, project_of, with_same_backend
from arkor.protocol.events import (
    Event,
    TrainingCancelledEvent,
    TrainingCompletedEvent,
    TrainingFailedEvent,
    parse_event,
)
from arkor.text import one_line

LONGEST_ERROR = 2000
NARROWEST = 20  # columns of a line


@click.command()
@newest_job_argument
@click.option("-f", "--follow", is_flag=True, help="Keep printing new events until the job ends.")
@click.option("--since", metavar="EVENT", help="Start after the event with this id (see --ids).")
@click.option("--ids", "with_ids", is_flag=True, help="Start each line with the event's id.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a JSON object on one line, with its id.")
@local_option
def logs(job_id: str | None, *, follow: bool, since: str | None, with_ids: bool, as_json: bool, local: bool) -> None:
    """Print a job's events.

    Prints the stored events with their times, oldest first. With --follow, Ctrl-C stops following; the job keeps
    running. The exit code does not depend on the job's status; use arkor attach for that.

    ID: a job id, or a unique prefix of one. By default the newest job.

    \b
    Example: arkor logs job_x4k2 --follow --local
    """
    client, scope = project_of(local)
    job = named_or_newest(client, scope, job_id)
    found, figures = since is not None, Figures(job, with_same_backend(f"arkor jobs unpause {one_line(job.id)}"))
    times = _Times()
    for event_id, body in client.job_events(scope, job.id, after=since, follow=follow):
        found = True
        if as_json:
            click.echo(json_line(body if event_id is None else {**body, "id": event_id}))
        elif (event := parse_event(body, event_id)) and (line := _line(figures, event)):
            times.show(event, line, with_id=with_ids)
        if is_closed(sys.stdout):  # as of arkor logs -f | head -1
            return
    if not found:
        click.echo(one_line(f"Job {job.id} ({job.status}) has no events."), err=True)


class _Times:
    """Prints the lines of events with their times; on a terminal the date has a line of its own, once a day."""

    def __init__(self) -> None:
        self._is_for_people = is_terminal(sys.stdout)
        self._date = ""

    def show(self, event: Event, line: str, *, with_id: bool) -> None:
        """Print what an event says; the lines behind its first one are indented."""
        date, _, time = local_time(event.timestamp, "%Y-%m-%d %H:%M:%S").partition(" ")
        if self._is_for_people and date != self._date:
            click.echo(quiet(date))
            self._date = date
        shown = time if self._is_for_people else f"{date} {time}".strip()
        begin = f"{one_line(event.id or '-'):>4}  " if with_id else ""
        begin += f"{shown}  " if shown else ""
        lines = line.splitlines()
        if self._is_for_people:
            room = max(NARROWEST, columns_of(sys.stdout) - 1 - len(begin))
            lines = [part for text in lines for part in textwrap.wrap(text, room)]
        first, *rest = lines
        click.echo(quiet(begin) + first)
        for text in rest:
            click.echo(" " * len(begin) + text)


def _line(figures: Figures, event: Event) -> str:
    """Return an event as ``arkor attach`` prints it, and the job's last event, which attach prints as its last line."""
    figures.take(event)
    match event:
        case TrainingCompletedEvent():
            return "Training completed"
        case TrainingFailedEvent():
            return f"Training failed: {one_line(event.error, LONGEST_ERROR)}"
        case TrainingCancelledEvent():
            return "Training cancelled"
    return figures.line(event)
