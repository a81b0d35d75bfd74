"""``arkor cancel``."""

from __future__ import annotations

import click

from arkor.cli.options import local_option, project_of
from arkor.text import one_line


@click.command()
@click.argument("job_id", metavar="ID")
@local_option
def cancel(job_id: str, *, local: bool) -> None:
    """Stop a job.

    ID: a job id, or a unique prefix of one.

    \b
    Example: arkor cancel job_x4k2 --local
    """
    client, scope = project_of(local)
    job = client.find_job(scope, job_id)
    client.cancel_job(scope, job.id)
    click.echo(one_line(f"Asked the backend to stop job {job.id}."))
