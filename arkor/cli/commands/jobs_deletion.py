"""``arkor jobs delete`` and ``arkor jobs prune``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from arkor.cli.display.job_table import print_table
from arkor.cli.display.screen import is_terminal
from arkor.cli.exits import Interrupted, Refused
from arkor.cli.options import duration, is_interactive, local_option, project_of
from arkor.protocol import wire
from arkor.protocol.jobs import TERMINAL_STATUSES, Scope, TrainingJob
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.client.client import CloudApiClient


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@yes_option
@local_option
def delete(job_ids: tuple[str, ...], *, yes: bool, local: bool) -> None:
    """Delete jobs that have ended, with their adapters and checkpoints.

    Uploaded datasets that no other job uses are deleted too. A running job cannot be deleted: cancel it first.

    ID: a job id, or a unique prefix of one.

    \b
    Example: arkor jobs delete job_x4k2 job_9s --local
    """
    client, scope = project_of(local)
    client.require("delete-jobs", "deleting jobs")
    found = list({job.id: job for job in (client.find_job(scope, job_id) for job_id in job_ids)}.values())
    for job in found:
        if not job.is_terminal:
            flag = " --local" if local else ""
            what = f"Job {job.id} is {job.status}; nothing was deleted. Stop it first: arkor cancel {job.id}{flag}"
            raise Refused(one_line(what))
    _delete(client, scope, found, yes=yes)


@click.command()
@click.option(
    "--older-than",
    metavar="TIME",
    callback=duration,
    required=True,
    help="Minimum time since the job ended, such as 30d or 12h.",
)
@click.option("--status", type=click.Choice(sorted(TERMINAL_STATUSES)), help="Only jobs with this status.")
@yes_option
@local_option
def prune(*, older_than: float, status: str | None, yes: bool, local: bool) -> None:
    """Delete jobs that ended long ago.

    Deletes their adapters and checkpoints, too.

    \b
    Example: arkor jobs prune --older-than 30d --status failed --local
    """
    client, scope = project_of(local)
    client.require("delete-jobs", "deleting jobs")
    found = [job for job in client.list_jobs(scope) if _age_s(job) > older_than and status in {None, job.status}]
    if found:
        _delete(client, scope, found, yes=yes)
    else:
        click.echo("No jobs to delete.", err=True)


def _age_s(job: TrainingJob) -> float:
    """Return the seconds since a job ended; 0 for one that has not, or does not say when."""
    at = wire.moment(job.completed_at or job.created_at)
    if not job.is_terminal or at is None or at.tzinfo is None:
        return 0.0
    return (datetime.now(timezone.utc) - at).total_seconds()


def _delete(client: CloudApiClient, scope: Scope, found: Sequence[TrainingJob], *, yes: bool) -> None:
    what = f"{len(found)} jobs" if len(found) > 1 else "1 job"
    if not yes:
        print_table(found, for_people=is_terminal(sys.stdout))
        if not is_interactive():
            raise Refused(f"Nothing was deleted. To delete {what}, add --yes.")
        if not click.confirm(f"Delete {what} for good, with adapters and checkpoints?"):
            raise Interrupted("Nothing was deleted.")
    for job in found:
        client.delete_job(scope, job.id)
        click.echo(f"Deleted job {one_line(job.id)}.")
