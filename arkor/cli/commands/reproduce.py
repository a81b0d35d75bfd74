"""``arkor reproduce``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from arkor.cli.chosen_job import named_or_last_completed
from arkor.cli.display.phase_bars import LABEL_WIDTH
from arkor.cli.exits import COMPLETED, NOT_COMPLETED, Interrupted
from arkor.cli.options import duration, local_option, project_of, with_same_backend
from arkor.text import one_line, printable

if TYPE_CHECKING:
    from arkor.client.reproduce_options import ReproduceOptions
    from arkor.protocol.jobs import TrainingJob


@click.command()
@click.argument("job_id", metavar="[JOB]", required=False)
@click.option("--with", "with_job", metavar="JOB", help="Compare with this job; do not start a new one.")
@click.option("--anyway", is_flag=True, help="Go on if a version, the machine, the model or the rows differ.")
@click.option(
    "--timeout", metavar="TIME", callback=duration, help="Maximum wait, such as 2h, 15m or 90s. The new job goes on."
)
@local_option
def reproduce(job_id: str | None, *, with_job: str | None, anyway: bool, timeout: float | None, local: bool) -> int:
    """Train a job once more, and compare the adapters byte by byte.

    The new job has the same settings. If something is not as it was, such as a version or the rows, it is cancelled
    before it trains, and the first difference is named. Exit code 1: that, or the bytes differ. Ctrl-C stops waiting;
    the new job goes on. Only jobs with full_determinism promise the same bytes.

    \b
    JOB: a job id, or a unique prefix of one. By default the job that
    completed last; dry runs do not count.

    \b
    Example: arkor reproduce --local
    Example: arkor reproduce job_x4k2 --with job_9p3a
    """
    from arkor.client.reproducing import Reproducer

    client, scope = project_of(local)
    job = named_or_last_completed(client, scope, job_id)
    other = None if with_job is None else client.find_job(scope, with_job).id
    shown = _Statuses()
    options: ReproduceOptions = {
        "with_job": other,
        "anyway": anyway,
        "timeout": timeout,
        "on_progress": shown.update,
    }
    try:
        found = Reproducer(client=client, scope=scope).reproduce(job.id, options)
    except KeyboardInterrupt as exc:
        raise Interrupted(f"\nInterrupted. {shown.how_to_go_on(job.id)}") from exc
    click.echo(printable(str(found)))
    return COMPLETED if found.is_same else NOT_COMPLETED


class _Statuses:
    """Says on stderr what becomes of the new job."""

    def __init__(self) -> None:
        self._job_id = self._status = ""

    def update(self, job: TrainingJob) -> None:
        """Show a job's status if it is another one than before."""
        self._job_id = job.id
        if job.status != self._status:
            self._status = job.status
            words = f"Job {one_line(job.id)} ({one_line(job.name)}): {one_line(job.status)}"
            click.echo(f"{'Reproduce':{LABEL_WIDTH}}{words}", file=sys.stderr)

    def how_to_go_on(self, job_id: str) -> str:
        """Return what to do after the wait was broken off."""
        if not self._job_id:
            return f"A new job may have been started: {with_same_backend('arkor jobs')} lists it."
        again = one_line(self._job_id)
        command = with_same_backend(f"arkor reproduce {one_line(job_id)} --with {again}")
        return f"Job {again} goes on.\n  compare it: {command}"
