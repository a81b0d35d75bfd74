"""``arkor jobs`` and ``arkor jobs show``: the jobs of a project."""

from __future__ import annotations

import heapq
import itertools
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from arkor.cli.chosen_job import named_or_newest, newest_job_argument
from arkor.cli.commands.jobs_deletion import delete, prune
from arkor.cli.commands.jobs_pausing import pause, resume, unpause
from arkor.cli.display.job_table import local_time, print_table, took
from arkor.cli.display.output import job_as_json, json_lines
from arkor.cli.display.screen import is_terminal
from arkor.cli.options import backend_of, local_option, project_of
from arkor.cli.suggestions import SuggestingGroup
from arkor.protocol.jobs import JobStatus
from arkor.protocol.sources import imported_words
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.protocol.evaluations import Evaluation
    from arkor.protocol.exports import Export
    from arkor.protocol.jobs import TrainingJob

LONGEST_FACT = 2000
SHOWN = 50


@click.group(cls=SuggestingGroup, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the jobs as JSON, in the backend's form.")
@click.option("--status", type=click.Choice([status.value for status in JobStatus]), help="Only jobs with this status.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the ids.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"Only the newest N.  [default: {SHOWN} on a terminal, otherwise all]",
)
@click.option("--all", "every", is_flag=True, help="All jobs.")
@click.option("--everywhere", is_flag=True, help="The jobs of all your projects, not only of this folder's.")
@local_option
@click.pass_context
def jobs(
    context: click.Context,
    *,
    as_json: bool,
    status: str | None,
    quiet: bool,
    limit: int | None,
    every: bool,
    everywhere: bool,
    local: bool,
) -> None:
    """List, show, pause, resume or delete the project's jobs.

    Without a command, lists the newest jobs, the newest first. A terminal gets the shortest unique prefix of each id,
    which every command takes; a pipe or a file gets whole ids.

    \b
    Example: arkor jobs --status running --local
    """
    command = context.invoked_subcommand
    if command is not None:
        if as_json or status or quiet or limit or every or everywhere or local:
            raise click.UsageError(f"Put options after the command: arkor jobs {command} …", context)
        return
    if limit and every:
        raise click.UsageError("Give --limit or --all, not both.", context)
    is_read = is_terminal(sys.stdout) and not (as_json or quiet)  # what a program reads is whole
    most = None if every else limit or (SHOWN if is_read else None)
    matching, projects = _matching(local, status, None if most is None else most + 1, everywhere=everywhere)
    found = list(itertools.islice(matching, most))
    if as_json:
        click.echo(json_lines([job_as_json(job) for job in found]))
    elif quiet:
        click.echo("".join(f"{one_line(job.id)}\n" for job in found), nl=False)
    elif not found:
        click.echo(f"No jobs with status {status}." if status else "No jobs yet.", err=True)
    else:
        print_table(found, for_people=is_read, projects=projects)
        if most is not None and next(matching, None) is not None:
            click.echo(f"These are the newest {most}. To list more: --limit N or --all", err=True)


def _matching(
    local: bool, status: str | None, most: int | None, *, everywhere: bool
) -> tuple[Iterator[TrainingJob], dict[str, str]]:
    """Return the jobs that are asked for, the newest first; and the names of their projects by id, if of several.

    Args:
        local: as the option.
        status: as the option.
        most: of how many jobs a page is enough; None for all.
        everywhere: as the option.
    """
    page = None if status else most
    if everywhere:
        from arkor.client.client import CloudApiClient
        from arkor.client.project import list_all_projects

        client = CloudApiClient.connect(backend_of(local))
        projects = list_all_projects(client)
        each = [client.iter_jobs(scope, page=page) for scope, _ in projects]
        names = {project.id: project.slug for _, project in projects}
    else:
        client, scope = project_of(local)
        each, names = [client.iter_jobs(scope, page=page)], {}
    found = heapq.merge(*each, key=lambda job: job.created_at, reverse=True) if everywhere else each[0]
    return (job for job in found if status in {None, job.status}), names


@jobs.command()
@newest_job_argument
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON, in the backend's form.")
@local_option
def show(job_id: str | None, *, as_json: bool, local: bool) -> None:
    """Show a job: its state, rows, settings and artifacts, and what made its adapters.

    ID: a job id, or a unique prefix of one. By default the newest job.

    \b
    Example: arkor jobs show job_x4k2 --local
    """
    client, scope = project_of(local)
    job = named_or_newest(client, scope, job_id)
    if as_json:
        click.echo(json_lines(job_as_json(job)))
        return
    began = job.resumed_from
    facts = {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "error": job.error,
        "pause reason": job.pause_reason,
        "imported from": imported_words(job.config),
        "resumed from": None if began is None else f"step {began.step} of job {began.job_id}",
        "created": local_time(job.created_at),
        "took": took(job),
        "form": "raw (plain text, without the chat template)" if job.is_raw else job.prompt_form,
    }
    _print_facts(facts)
    has_events = "stored-events" in client.features
    started, completed = client.job_milestones(scope, job.id) if has_events else (None, None)
    for note in completed.notes() if completed is not None else ():
        click.echo(note)
    for found in client.list_evaluations(scope, job.id):
        for text in _told(found):
            click.echo(one_line(text, LONGEST_FACT))
    for export in client.list_exports(scope, job.id):
        click.echo(one_line(_exported(export), LONGEST_FACT))
    if started is not None and started.receipt is not None:
        click.echo("rows")
        advised = (f"Advice: {text}" for text in started.advice)
        for line in (started.receipt.line(), *started.receipt.warnings(), *advised):
            click.echo(f"  {one_line(line, LONGEST_FACT)}")
    if started is not None and started.record is not None:
        click.echo("made from")
        _print_facts({f"  {name}": fact for name, fact in started.record.facts().items()})
    click.echo("settings")
    settings = sorted(job_as_json(job)["config"].items())
    _print_facts({f"  {name}": json.dumps(value, ensure_ascii=False) for name, value in settings})
    if "artifacts" in client.features:
        click.echo("artifacts")
        left = client.list_artifacts(scope, job.id)
        _print_facts({f"  {one_line(one.name)}": f"{(one.size_bytes or 0) / 2**20:.1f} MiB" for one in left})


for command in (pause, unpause, resume, delete, prune):
    jobs.add_command(command)


def _told(evaluation: Evaluation) -> Iterator[str]:
    """Yield what there is to say of an evaluation, a line each."""
    from arkor.evaluation.parts import ServedCheck

    if evaluation.verdict:
        yield f"Evaluation: {evaluation.verdict}"
    elif not evaluation.options.is_check_only:
        yield f"Evaluation: {evaluation.status}{f', {evaluation.error}' if evaluation.error else ''}"
    if evaluation.check:
        check = ServedCheck.from_wire(evaluation.check)
        yield str(check) if check.is_same else f"Warning: {check}"


def _exported(export: Export) -> str:
    """Return what there is to say of an export in a line."""
    what = f"Export to {export.options.to}: {export.status}"
    return f"{what}, {export.verdict or export.error}" if export.verdict or export.error else what


def _print_facts(facts: dict[str, str | None]) -> None:
    shown = {name: value for name, value in facts.items() if value}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name.ljust(width)}  {one_line(value, LONGEST_FACT)}")
