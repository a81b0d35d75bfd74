"""``arkor logs``."""

from __future__ import annotations

import sys

import click

from arkor.cli.display.closed_pipes import is_closed
from arkor.cli.display.output import json_line
from arkor.cli.display.run_progress import Figures
from arkor.cli.options import local_option, project_of
from arkor.protocol.events import (
    Event,
    TrainingCancelledEvent,
    TrainingCompletedEvent,
    TrainingFailedEvent,
    parse_event,
)
from arkor.text import one_line

LONGEST_ERROR = 2000


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until the job has ended.")
@click.option("--since", metavar="EVENT", help="Begin behind the event of this id, see --ids.")
@click.option("--ids", "with_ids", is_flag=True, help="Begin each line with the event's id.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object, with its id.")
@local_option
def logs(job_id: str, *, follow: bool, since: str | None, with_ids: bool, as_json: bool, local: bool) -> None:
    """Show what a job has told so far, the oldest first.

    ID is the job's id, or so much of its beginning that it is the only one. With --follow, Ctrl-C ends following, not
    the job. The exit code does not tell how the job ended: that is what arkor attach is for.

    \b
    Example: arkor logs job_x4k2 --follow --local
    """
    client, scope = project_of(local)
    job = client.find_job(scope, job_id)
    told, figures = since is not None, Figures(job)
    for event_id, body in client.job_events(scope, job.id, after=since, follow=follow):
        told = True
        if as_json:
            click.echo(json_line(body if event_id is None else {**body, "id": event_id}))
        elif (event := parse_event(body, event_id)) and (line := _line(figures, event)):
            click.echo(f"{one_line(event_id or '-'):>4}  {line}" if with_ids else line)
        if is_closed(sys.stdout):  # as of arkor logs -f | head -1
            return
    if not told:
        click.echo(one_line(f"Job {job.id} is {job.status} and has told nothing yet."), err=True)


def _line(figures: Figures, event: Event) -> str:
    """Return an event as ``arkor attach`` shows it, and the end of a job, of which attach makes its last line."""
    figures.take(event)
    match event:
        case TrainingCompletedEvent():
            return "Training completed"
        case TrainingFailedEvent():
            return f"Training failed: {one_line(event.error, LONGEST_ERROR)}"
        case TrainingCancelledEvent():
            return "Training cancelled"
    return figures.line(event)
