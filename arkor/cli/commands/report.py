"""``arkor report``."""

from __future__ import annotations

from pathlib import Path

import click

from arkor.cli.chosen_job import named_or_last_completed
from arkor.cli.evaluating import AnswerBar, report_command, report_options, show_report, telling_how_to_wait
from arkor.cli.options import local_option, project_of


@click.command()
@click.argument("job_id", metavar="[ID]", required=False)
@report_options
@local_option
def report(job_id: str | None, *, output: Path | None, as_json: bool, timeout: float | None, local: bool) -> None:
    """Print the newest report of a job.

    Waits for it, if its evaluation has not ended.

    ID: a job id, or a unique prefix of one. By default the job that completed last; dry runs do not count.

    \b
    Example: arkor report job_x4k2 -o report.html --local
    """
    from arkor.client.evaluating import Evaluator

    client, scope = project_of(local)
    job = named_or_last_completed(client, scope, job_id)
    with telling_how_to_wait(report_command(job)), AnswerBar() as bar:
        evaluator = Evaluator(client=client, scope=scope, folder=Path.cwd())
        found = evaluator.report(job.id, {"timeout": timeout, "on_progress": bar.update})
    show_report(found, as_json=as_json, output=output)
