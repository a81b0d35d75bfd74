"""``arkor start``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from arkor.cli.commands.build import warn_if_stale
from arkor.cli.display.output import Showing, showing
from arkor.cli.exits import COMPLETED
from arkor.cli.options import (
    backend_of,
    duration,
    events_option,
    how_to_go_on,
    local_option,
    result_code,
    telling_how_to_go_on,
)
from arkor.protocol.jobs import TrainingJob
from arkor.system.job_pipe import ParentPipe
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.trainer.trainer import Trainer

LONGEST_NAME = 80
_TOO_EARLY = (
    "The entry starts its job while it is imported, too early for --local, --dry-run and --if-running. "
    "Put the call that starts it under if __name__ == '__main__'."
)


@click.command()
@click.argument("entry", required=False, type=click.Path(path_type=Path))
@local_option
@click.option("--dry-run", is_flag=True, help="Train a few steps on a few rows, to test the whole path.")
@click.option("--detach", is_flag=True, help="Submit the job, print its id, and exit.")
@events_option
@click.option(
    "--timeout", metavar="TIME", callback=duration, help="Maximum wait, such as 2h, 15m or 90s. The job keeps running."
)
@click.option(
    "--if-running",
    type=click.Choice(["skip", "attach", "fail"]),
    help="If a job of the same name is queued or running: exit 0, follow that job, or exit 1. "
    "By default a second job is started.",
)
@click.option(
    "--on-interrupt",
    type=click.Choice(["detach", "cancel"]),
    default="detach",
    show_default=True,
    help="Ctrl-C, SIGTERM and SIGHUP leave the job running, or cancel it. A job started elsewhere is never cancelled.",
)
def start(
    entry: Path | None,
    *,
    local: bool,
    dry_run: bool,
    detach: bool,
    as_json: bool,
    timeout: float | None,
    if_running: str | None,
    on_interrupt: str,
) -> int:
    """Run the project's trainer.

    Submits a job and follows it to its end. Ctrl-C stops following; the job keeps running unless you pass
    --on-interrupt cancel.

    ENTRY: the source file to build and run. Without it, runs src/arkor/index.py and rebuilds it after an edit; an
    artifact of 'arkor build' or 'arkor start ENTRY' runs as it is.

    \b
    Example: arkor start --local
    """
    from arkor.entry.runner import in_project, load_trainer
    from arkor.errors import EntryError

    parent = ParentPipe()
    with showing(as_json=as_json) as shown, contextlib.ExitStack() as project:
        artifact, content = _artifact(entry)
        elsewhere = project.enter_context(in_project(artifact))
        trainer = load_trainer(artifact, content)
        cancel = on_interrupt == "cancel"
        with telling_how_to_go_on(trainer, cancel=cancel, elsewhere=elsewhere):
            if trainer.was_sent and (local or dry_run or if_running):
                raise EntryError(_TOO_EARLY)
            if local or dry_run:
                trainer.configure(backend=backend_of(local), dry_run=dry_run or None)
            chosen, job = _started(trainer, unless_running=if_running is not None)
        if chosen is not trainer:
            _tell_of(job, if_running)
            if if_running == "skip":
                return COMPLETED
            cancel = False  # whoever started it may be waiting for it
        if job.is_dry_run:
            click.echo("Dry run: a few steps on a few rows, to test the whole path.", err=True)
        parent.tell(job.id)
        if detach:
            return _left(chosen, job, shown, elsewhere)
        return followed(chosen, job, shown, cancel=cancel, timeout=timeout, elsewhere=elsewhere)


def followed(
    trainer: Trainer,
    job: TrainingJob,
    shown: Showing,
    *,
    cancel: bool = False,
    timeout: float | None = None,
    elsewhere: Path | None = None,
) -> int:
    """Follow a trainer's job to its end, and return the exit code.

    Args:
        trainer: the trainer.
        job: its job.
        shown: how the job is shown.
        cancel: stop the job on Ctrl-C, SIGTERM or SIGHUP.
        timeout: longest wait in seconds; None for no limit.
        elsewhere: the job's project, if the command was started in another folder.
    """
    from arkor.entry.runner import follow

    with telling_how_to_go_on(trainer, cancel=cancel, elsewhere=elsewhere), shown.following(job):
        result = follow(trainer, job, say=shown.say, timeout=timeout, on_event=shown.show)
    return result_code(result)


def _started(trainer: Trainer, *, unless_running: bool) -> tuple[Trainer, TrainingJob]:
    """Start the job; return the trainer to follow and its job, which are others if such a job runs and that counts."""
    from arkor.cli.display.phase_bars import PhaseBars
    from arkor.entry.runner import start_unless_running

    with PhaseBars() as bars:
        if unless_running:
            return start_unless_running(trainer, on_progress=bars.update)
        return trainer, trainer.start(on_progress=bars.update)


def _tell_of(job: TrainingJob, if_running: str | None) -> None:
    """Say that another job runs, and what that means.

    Raises:
        ClickException: it means that this one failed to start.
    """
    fact = one_line(f"Job {job.id} of the same name ({one_line(job.name, LONGEST_NAME)}) is {job.status}")
    if if_running == "fail":
        raise click.ClickException(f"{fact}; nothing was started.")
    click.echo(f"{fact}: {'following it' if if_running == 'attach' else 'nothing was started'}.", err=True)


def _left(trainer: Trainer, job: TrainingJob, shown: Showing, elsewhere: Path | None) -> int:
    """Print the job, and how to go on with it."""
    shown.print_job(job)
    click.echo(how_to_go_on(trainer, job, elsewhere), err=True)
    return COMPLETED


def _artifact(entry: Path | None) -> tuple[Path, bytes | None]:
    """Return the artifact to run, and its content if that is known: another command may build at the same moment."""
    from arkor.entry.bundle import bundle, up_to_date

    if entry is None:
        built = up_to_date()
        if built.changes:
            click.echo(f"Rebuilt: {_described(built.changes)}", err=True)
        elif built.is_pinned:
            warn_if_stale(built.artifact)
    elif entry.suffix == ".pyz" and entry.is_file():
        return entry.absolute(), None
    else:
        built = bundle(entry)
    return built.artifact, built.content


def _described(changes: Mapping[PurePosixPath, str]) -> str:
    """Return in words which sources changed."""
    (name, how), *others = changes.items()
    return one_line(f"{name} and {len(others)} more changed" if others else f"{name} {how}")
