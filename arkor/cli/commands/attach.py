"""``arkor attach``."""

from __future__ import annotations

import click

from arkor.cli.chosen_job import named_or_newest, newest_job_argument
from arkor.cli.display.loss_trend import LossTrend
from arkor.cli.display.output import showing
from arkor.cli.exits import COMPLETED
from arkor.cli.job_run import followed
from arkor.cli.options import (
    backend_of,
    events_option,
    local_option,
    project_of,
    result_code,
    telling_how_to_go_on,
)


@click.command()
@newest_job_argument
@events_option
@local_option
def attach(job_id: str | None, *, as_json: bool, local: bool) -> int:
    """Follow a job to its end.

    Prints all events from the first. Ctrl-C stops following; the job keeps running.

    ID: a job id, or a unique prefix of one. By default the newest job.

    \b
    Example: arkor attach job_x4k2 --local
    """
    from arkor.trainer.trainer import Trainer

    client, scope = project_of(local)
    trainer = Trainer.attach(named_or_newest(client, scope, job_id).id, client=client, backend=backend_of(local))
    with showing(as_json=as_json) as shown:
        with telling_how_to_go_on(trainer):
            job = trainer.start()
        trend = LossTrend()
        ended = followed(trainer, job, shown, on_event=trend.take)
        code = result_code(ended)
        if code == COMPLETED and not ended.job.is_dry_run and not shown.is_for_people:
            for line in trend.lines():
                shown.say(line)
    return code
