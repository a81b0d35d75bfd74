"""``arkor evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from arkor.cli.chosen_job import named_or_last_completed
from arkor.cli.evaluating import AnswerBar, report_command, report_options, show_report, telling_how_to_wait
from arkor.cli.options import local_option, project_of

if TYPE_CHECKING:
    from arkor.client.evaluate_options import EvaluateOptions


@click.command()
@click.argument("job_id", metavar="[JOB]", required=False)
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number of rows to ask."
)
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    help="Scorer: exact, labels, json, numbers, overlap or calls; repeatable. By default those that fit the rows.",
)
@click.option("--step", "steps", type=click.IntRange(1), multiple=True, help="Checkpoint to ask too; repeatable.")
@click.option(
    "--against", metavar="JOB", default="base", help="Compare with the adapter of this job, not with the base model."
)
@click.option("--max-tokens", type=click.IntRange(1, 4096), help="Maximum length of an answer, in tokens.")
@click.option("--retention/--no-retention", default=True, help="Ask 40 general questions too (the default), or do not.")
@report_options
@local_option
def evaluate(
    job_id: str | None,
    file: Path | None,
    *,
    limit: int,
    scorers: tuple[str, ...],
    steps: tuple[int, ...],
    against: str,
    max_tokens: int | None,
    retention: bool,
    output: Path | None,
    as_json: bool,
    timeout: float | None,
    local: bool,
) -> None:
    """Find out whether a job's adapter is better than its base model.

    Both answer the rows that the job held out, or those of FILE. The report says which scores rose or fell, and
    whether that is more than chance. The backend keeps it with the job. Ctrl-C stops waiting; the evaluation goes on.

    \b
    JOB: a job id, or a unique prefix of one. By default the job that
    completed last; dry runs do not count.

    \b
    Example: arkor evaluate --local
    Example: arkor evaluate job_x4k2 test.jsonl --limit 200 -o report.html
    """
    from arkor.client.evaluating import Evaluator

    if file is None and job_id is not None and Path(job_id).is_file():
        file, job_id = Path(job_id), None
    client, scope = project_of(local)
    job = named_or_last_completed(client, scope, job_id)
    options: EvaluateOptions = {
        "limit": limit,
        "scorers": list(scorers) or None,
        "checkpoints": steps,
        "against": against if against == "base" else client.find_job(scope, against).id,
        "max_tokens": max_tokens,
        "retention": retention,
        "timeout": timeout,
    }
    if file is not None:
        options["rows"] = file
    with telling_how_to_wait(report_command(job)), AnswerBar() as bar:
        options["on_progress"] = bar.update
        report = Evaluator(client=client, scope=scope, folder=Path.cwd()).evaluate(job.id, options)
    show_report(report, as_json=as_json, output=output)
