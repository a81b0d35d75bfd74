"""The job that a command is for: the one that you name, or the one that you most likely mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from arkor.cli.options import with_same_backend
from arkor.protocol.jobs import JobStatus, Scope, TrainingJob
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.client.client import CloudApiClient

LONGEST_NAME = 80

newest_job_argument = click.argument("job_id", metavar="[ID]", required=False)


def named_or_newest(client: CloudApiClient, scope: Scope, job_id: str | None) -> TrainingJob:
    """Return the job of an id or a unique prefix; without one the newest job, which a line on stderr names.

    Raises:
        NotFound: there is no job of this id.
        ConfigError: several ids begin so.
        UsageError: no id was given, and the project has no job.
    """
    if job_id is not None:
        return client.find_job(scope, job_id)
    job = next(client.iter_jobs(scope, page=1), None)
    if job is None:
        raise click.UsageError(f"This project has no job yet: start one with '{with_same_backend('arkor start')}'.")
    _say(job, "the newest")
    return job


def named_or_last_completed(client: CloudApiClient, scope: Scope, job_id: str | None) -> TrainingJob:
    """Return the job of an id or a unique prefix; without one the job that completed last, which a line names.

    Raises:
        NotFound: there is no job of this id.
        ConfigError: several ids begin so.
        UsageError: no id was given, and no job has completed.
    """
    if job_id is not None:
        return client.find_job(scope, job_id)
    job = last_completed(client, scope)
    _say(job, "the last that completed")
    return job


def last_completed(client: CloudApiClient, scope: Scope) -> TrainingJob:
    """Return the job that completed last; dry runs do not count.

    Raises:
        UsageError: there is none.
    """
    done = [job for job in client.list_jobs(scope) if job.status == JobStatus.COMPLETED]
    trained = [job for job in done if not job.is_dry_run]
    if not trained:
        fact = "Only dry runs have completed" if done else "No job has completed yet"
        raise click.UsageError(f"{fact} in this project; '{with_same_backend('arkor jobs')}' lists its jobs.")
    return max(trained, key=lambda job: job.completed_at or job.created_at)


def _say(job: TrainingJob, which: str) -> None:
    name = f" ({one_line(job.name, LONGEST_NAME)})" if job.name else ""
    click.echo(f"Job {one_line(job.id)}{name}, {which}:", err=True)
