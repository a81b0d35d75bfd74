"""``arkor attach`` and ``arkor cancel``: jobs that another command started."""

from __future__ import annotations

import click

from arkor.cli.options import backend_of, local_option
from arkor.events import CheckpointSavedEvent, Event, TrainingLogEvent, TrainingStartedEvent


@click.command()
@click.argument("job_id", metavar="ID")
@local_option
def attach(job_id: str, local: bool) -> int:
    """Follow a job from its first event to its end.

    ID is the job's id. Ctrl-C ends following, not the job.

    \b
    Example: arkor attach job_x4k2… --local
    """
    from arkor.cli.options import result_code, telling_how_to_go_on
    from arkor.trainer import Trainer

    trainer = Trainer.attach(job_id, backend=backend_of(local))
    with telling_how_to_go_on(trainer, local=local):
        for event in trainer.events():
            line = _line(event)
            if line:
                click.echo(line)
        result = trainer.wait()
    click.echo(f"Job {result.job.id} finished with status={result.status}")
    return result_code(result)


@click.command()
@click.argument("job_id", metavar="ID")
@local_option
def cancel(job_id: str, local: bool) -> None:
    """Stop a job.

    ID is the job's id.

    \b
    Example: arkor cancel job_x4k2… --local
    """
    from arkor.trainer import Trainer

    Trainer.attach(job_id, backend=backend_of(local)).cancel()
    click.echo(f"Asked the backend to stop job {job_id}.")


def _line(event: Event) -> str:
    match event:
        case TrainingStartedEvent():
            return "Training started"
        case TrainingLogEvent():
            figures = {"loss": event.loss, "eval loss": event.eval_loss}
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None)
            return f"step {event.step}  {shown}"
        case CheckpointSavedEvent():
            return f"step {event.step}  checkpoint saved"
    return ""
