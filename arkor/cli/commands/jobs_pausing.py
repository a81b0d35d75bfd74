"""``arkor jobs pause``, ``arkor jobs unpause`` and ``arkor jobs resume``."""

from __future__ import annotations

import click

from arkor.cli.display.output import job_as_json, json_line
from arkor.cli.exits import Interrupted
from arkor.cli.options import backend_of, how_to_go_on, local_option, project_of, with_same_backend
from arkor.protocol.jobs import JobStatus
from arkor.text import one_line

_job_argument = click.argument("job_id", metavar="ID")


@click.command()
@_job_argument
@local_option
def pause(job_id: str, *, local: bool) -> None:
    """Pause a job, so that its machine is free.

    A running job saves a checkpoint first. 'arkor jobs unpause' lets it go on from there.

    ID: a job id, or a unique prefix of one.

    \b
    Example: arkor jobs pause job_x4k2 --local
    """
    client, scope = project_of(local)
    job = client.pause_job(scope, client.find_job(scope, job_id).id)
    known = one_line(job.id)
    if job.status == JobStatus.PAUSED:
        click.echo(f"Job {known} is paused.")
    else:
        click.echo(f"Asked the backend to pause job {known}: it saves a checkpoint first.")
    click.echo(f"  unpause it: {with_same_backend(f'arkor jobs unpause {known}')}", err=True)


@click.command()
@_job_argument
@local_option
def unpause(job_id: str, *, local: bool) -> None:
    """Let a paused job go on.

    ID: a job id, or a unique prefix of one.

    \b
    Example: arkor jobs unpause job_x4k2 --local
    """
    client, scope = project_of(local)
    job = client.unpause_job(scope, client.find_job(scope, job_id).id)
    click.echo(one_line(f"Job {job.id} goes on: it is {job.status}."))


@click.command()
@_job_argument
@click.option("--json", "as_json", is_flag=True, help="Print the new job as JSON, in the backend's form.")
@local_option
def resume(job_id: str, *, as_json: bool, local: bool) -> None:
    """Resume a failed or cancelled job as a new job.

    The new job has the same settings and goes on from the last checkpoint of the other one, which stays as it is.
    Prints the new job's id.

    ID: a job id, or a unique prefix of one.

    \b
    Example: arkor jobs resume job_x4k2 --local
    """
    from arkor.trainer.trainer import Trainer

    client, scope = project_of(local)
    ended = client.find_job(scope, job_id)
    try:
        trainer = Trainer.attach(ended.id, client=client, backend=backend_of(local)).resume()
    except KeyboardInterrupt as exc:
        known, listing = one_line(ended.id), with_same_backend("arkor jobs")
        raise Interrupted(f"Interrupted; job {known} may have been resumed: '{listing}' lists all jobs.") from exc
    job = trainer.start()
    click.echo(json_line(job_as_json(job)) if as_json else one_line(job.id))
    began = f"from step {job.resumed_from.step} of" if job.resumed_from is not None else "from"
    click.echo(one_line(f"Job {job.id} goes on {began} job {ended.id}."), err=True)
    click.echo(how_to_go_on(trainer, job), err=True)
