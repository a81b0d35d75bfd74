"""``arkor download``."""

from __future__ import annotations

from pathlib import Path

import click

from arkor.cli.options import local_option, project_of
from arkor.text import one_line


@click.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("adapters"), show_default=True
)
@local_option
def download(job_id: str, *, output: Path, local: bool) -> None:
    """Fetch what a job left: its final adapter, and its checkpoints.

    ID is the job's id, or so much of its beginning that it is the only one. Each artifact becomes a folder of the
    output folder.

    \b
    Example: arkor download job_x4k2 -o adapters --local
    """
    client, scope = project_of(local)
    job = client.find_job(scope, job_id)
    artifacts = client.list_artifacts(scope, job.id)
    if not artifacts:
        click.echo(one_line(f"Job {job.id} is {job.status} and has left nothing yet."), err=True)
    for artifact in artifacts:
        click.echo(client.download_artifact(scope, job.id, artifact, output))
