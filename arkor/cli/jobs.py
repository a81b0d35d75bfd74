"""``arkor jobs``, ``attach``, ``cancel`` and ``download``: the jobs of a project, and what they left."""

from __future__ import annotations

import json
from pathlib import Path

import click

from arkor.api.notices import one_line
from arkor.cli.deleting import delete, prune
from arkor.cli.job_table import moment, print_table, took
from arkor.cli.options import backend_of, events_option, local_option, project_of
from arkor.cli.showing import job_as_json, json_lines, showing
from arkor.jobs import JobStatus

LONGEST_FACT = 2000


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the jobs as the backend describes them.")
@click.option(
    "--status", type=click.Choice([status.value for status in JobStatus]), help="Only those with this status."
)
@click.option("-q", "--quiet", is_flag=True, help="Print the ids alone.")
@local_option
@click.pass_context
def jobs(context: click.Context, *, as_json: bool, status: str | None, quiet: bool, local: bool) -> None:
    """List the project's jobs, the newest first.

    \b
    Example: arkor jobs --status running --local
    """
    command = context.invoked_subcommand
    if command is not None:
        if as_json or status or quiet or local:
            raise click.UsageError(f"Options go behind the command: arkor jobs {command} …", context)
        return
    client, scope = project_of(local)
    found = [job for job in client.list_jobs(scope) if status in {None, job.status}]
    found.sort(key=lambda job: job.created_at, reverse=True)
    if as_json:
        click.echo(json_lines([job_as_json(job) for job in found]))
    elif quiet:
        click.echo("".join(f"{one_line(job.id)}\n" for job in found), nl=False)
    elif not found:
        click.echo(f"No jobs with status {status}." if status else "No jobs yet.", err=True)
    else:
        print_table(found)


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the job as the backend describes it.")
@local_option
def show(job_id: str, *, as_json: bool, local: bool) -> None:
    """Show a job: its state, its settings and what it left.

    ID is the job's id, or so much of its beginning that it is the only one.

    \b
    Example: arkor jobs show job_x4k2 --local
    """
    client, scope = project_of(local)
    job = client.find_job(scope, job_id)
    if as_json:
        click.echo(json_lines(job_as_json(job)))
        return
    facts = {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "error": job.error,
        "created": moment(job.created_at),
        "took": took(job),
    }
    _print_facts(facts)
    click.echo("settings")
    settings = sorted(job_as_json(job)["config"].items())
    _print_facts({f"  {name}": json.dumps(value, ensure_ascii=False) for name, value in settings})
    if "artifacts" in client.features:
        click.echo("artifacts")
        left = client.list_artifacts(scope, job.id)
        _print_facts({f"  {one_line(one.name)}": f"{(one.size_bytes or 0) / 2**20:.1f} MiB" for one in left})


jobs.add_command(delete)
jobs.add_command(prune)


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


@click.command()
@click.argument("job_id", metavar="ID")
@events_option
@local_option
def attach(job_id: str, *, as_json: bool, local: bool) -> int:
    """Follow a job from its first event to its end.

    ID is the job's id, or so much of its beginning that it is the only one. Ctrl-C ends following, not the job.

    \b
    Example: arkor attach job_x4k2 --local
    """
    from arkor.cli.start import followed
    from arkor.trainer import Trainer

    client, scope = project_of(local)
    trainer = Trainer.attach(client.find_job(scope, job_id).id, client=client, backend=backend_of(local))
    with showing(as_json=as_json) as shown:
        return followed(trainer, shown)


@click.command()
@click.argument("job_id", metavar="ID")
@local_option
def cancel(job_id: str, *, local: bool) -> None:
    """Stop a job.

    ID is the job's id, or so much of its beginning that it is the only one.

    \b
    Example: arkor cancel job_x4k2 --local
    """
    client, scope = project_of(local)
    job = client.find_job(scope, job_id)
    client.cancel_job(scope, job.id)
    click.echo(one_line(f"Asked the backend to stop job {job.id}."))


def _print_facts(facts: dict[str, str | None]) -> None:
    shown = {name: value for name, value in facts.items() if value}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name.ljust(width)}  {one_line(value, LONGEST_FACT)}")
