"""What ``arkor start`` and ``arkor train`` share: start a trainer's job, and follow it or leave it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from arkor.cli.display.opening import COMPARED, Pace
from arkor.cli.display.output import Showing
from arkor.cli.evaluating import AnswerBar, telling_how_to_wait
from arkor.cli.options import command_for, duration, events_option, how_to_go_on, telling_how_to_go_on
from arkor.protocol.events import Event, TrainingLogEvent
from arkor.protocol.jobs import JobStatus, TrainingJob
from arkor.text import one_line, printable

if TYPE_CHECKING:
    from arkor.client.result import TrainingResult
    from arkor.http.abort import Deadline
    from arkor.trainer.trainer import Trainer

F = TypeVar("F", bound=Callable[..., Any])

LONGEST_NAME = 80

_OPTIONS = (
    click.option("--dry-run", is_flag=True, help="Train a few steps on a few rows, to test the whole path."),
    click.option("--detach", is_flag=True, help="Submit the job, print its id, and exit."),
    events_option,
    click.option(
        "--timeout",
        metavar="TIME",
        callback=duration,
        help="Maximum wait, such as 2h, 15m or 90s. The job keeps running.",
    ),
    click.option(
        "--if-running",
        type=click.Choice(["skip", "attach", "fail"]),
        help="If a job of the same name is queued, running or paused: exit 0, follow that job, or exit 1. "
        "By default a second job is started.",
    ),
    click.option(
        "--on-interrupt",
        type=click.Choice(["detach", "cancel"]),
        default="detach",
        show_default=True,
        help="Ctrl-C, SIGTERM and SIGHUP leave the job running, or cancel it. "
        "A job started elsewhere is never cancelled.",
    ),
)


def run_options(command: F) -> F:
    """Add the options that say how a job is run and shown."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def run_job(
    trainer: Trainer,
    shown: Showing,
    *,
    detach: bool,
    timeout: float | None,
    if_running: str | None,
    on_interrupt: str,
    elsewhere: Path | None = None,
    on_start: Callable[[str], object] = lambda _: None,
    on_event: Callable[[Event], object] = lambda _: None,
    hints: Sequence[str] = (),
) -> TrainingResult | None:
    """Start a trainer's job and follow it to its end; return how it ended, or None if it was left or not started.

    Args:
        trainer: the trainer.
        shown: how the job is shown.
        detach: as the option.
        timeout: longest wait in seconds; None for no limit.
        if_running: as the option.
        on_interrupt: as the option.
        elsewhere: the job's project, if the command was started in another folder.
        on_start: called with the job's id, before it is followed.
        on_event: called with each event, after it is shown.
        hints: what a terminal shows beneath the result of a job that completed.
    """
    cancel = on_interrupt == "cancel"
    with telling_how_to_go_on(trainer, cancel=cancel, elsewhere=elsewhere):
        chosen, job = _started(trainer, unless_running=if_running is not None)
    if chosen is not trainer:
        _tell_of(job, if_running)
        if if_running == "skip":
            return None
        cancel = False  # whoever started it may be waiting for it
    if job.is_dry_run:
        click.echo("Dry run: a few steps on a few rows, to test the whole path.", err=True)
    on_start(job.id)
    if detach:
        shown.print_job(job)
        click.echo(how_to_go_on(chosen, job, elsewhere), err=True)
        return None
    return followed(
        chosen, job, shown, cancel=cancel, timeout=timeout, elsewhere=elsewhere, on_event=on_event, hints=hints
    )


def followed(
    trainer: Trainer,
    job: TrainingJob,
    shown: Showing,
    *,
    cancel: bool = False,
    timeout: float | None = None,
    elsewhere: Path | None = None,
    on_event: Callable[[Event], object] = lambda _: None,
    hints: Sequence[str] = (),
) -> TrainingResult:
    """Follow a trainer's job to its end, and return how it ended; of one that did not complete, say why.

    Args:
        trainer: the trainer.
        job: its job.
        shown: how the job is shown.
        cancel: stop the job on Ctrl-C, SIGTERM or SIGHUP.
        timeout: longest wait in seconds; None for no limit.
        elsewhere: the job's project, if the command was started in another folder.
        on_event: called with each event, after it is shown.
        hints: as for ``run_job``.
    """
    from arkor.entry.runner import follow
    from arkor.http.abort import Deadline

    last_step = 0

    def show(event: Event) -> None:
        nonlocal last_step
        if isinstance(event, TrainingLogEvent):
            last_step = event.step
        shown.show(event)
        on_event(event)

    unpause = command_for("jobs unpause", trainer, job, elsewhere)
    deadline = Deadline(timeout)
    ending = {"ending": lambda result: _ending(trainer, result, shown)} if shown.is_for_people else {}
    with contextlib.ExitStack() as following:
        following.enter_context(telling_how_to_go_on(trainer, cancel=cancel, elsewhere=elsewhere))
        pace = _pace(trainer, job) if shown.is_for_people else None
        following.enter_context(shown.following(job, unpause, lambda: _asked(trainer, job), pace))
        result = follow(trainer, job, say=shown.say, timeout=timeout, on_event=show, **ending)
    if result.status == JobStatus.COMPLETED and result.job.config.get("evaluation") is not None:
        _show_verdict(result, shown, command_for("report", trainer, result.job, elsewhere), deadline)
    if shown.is_for_people and result.status == JobStatus.COMPLETED and not result.job.is_dry_run:
        for line in (*hints, *next_commands(trainer, result.job, elsewhere)):
            shown.say(line)
    if result.job.error and result.status != JobStatus.COMPLETED:
        click.echo(printable(f"Error: {result.job.error}"), err=True)
    if _may_be_resumed(trainer, result.job, last_step):
        resume = command_for("jobs resume", trainer, result.job, elsewhere)
        click.echo(f"To go on from its last checkpoint, if it saved one: {resume}", err=True)
    return result


def next_commands(trainer: Trainer, job: TrainingJob, elsewhere: Path | None = None) -> list[str]:
    """Return the commands that use what a job has trained, beneath a line that says so."""
    return ["Next:", *(f"  {command_for(name, trainer, job, elsewhere)}" for name in ("chat", "download"))]


def _asked(trainer: Trainer, job: TrainingJob) -> TrainingJob:
    """Ask the backend for a trainer's job: events do not tell what it waits for, nor when its worker began."""
    from arkor.trainer.trainer import connection_of

    client, scope = connection_of(trainer)
    return client.get_job(scope, job.id)


def _ending(trainer: Trainer, result: TrainingResult, shown: Showing) -> list[str]:
    """Return what people read at the end of a run, with the times of the backend, if it is still there."""
    from arkor.errors import ArkorError

    job = result.job
    with contextlib.suppress(ArkorError):  # how the job ended is known
        job = _asked(trainer, job)
    return shown.ending(result, job)


def _pace(trainer: Trainer, job: TrainingJob) -> Pace | None:
    """Return the pace of an earlier job like this one; None if there is none, or finding out takes more than a page."""
    from arkor.errors import ArkorError
    from arkor.trainer.trainer import connection_of

    with contextlib.suppress(ArkorError):  # an estimate is not worth an error
        client, scope = connection_of(trainer)
        if "pages" in client.features and not (job.is_dry_run or job.is_terminal):
            return Pace.of_earlier(job, client.list_jobs(scope, limit=COMPARED))
    return None


def _show_verdict(result: TrainingResult, shown: Showing, command: str, deadline: Deadline) -> None:
    """Wait for the report that the job's settings ask for, and say its verdict in a line.

    Args:
        result: of the job, which has completed.
        shown: how the job is shown.
        command: prints the whole report.
        deadline: of the whole command.

    Raises:
        WaitTimeout: the deadline passed.
        Interrupted: Ctrl-C.
    """
    from arkor.errors import EvaluationFailed

    try:
        with telling_how_to_wait(command), AnswerBar() as bar:
            report = result.report(timeout=deadline.remaining(), on_progress=bar.update)
    except EvaluationFailed as exc:  # the job itself is completed
        click.echo(printable(f"Warning: {exc}"), err=True)
        return
    shown.say(one_line(f"Evaluation: {report.verdict} ({command} shows all of it)"))
    if report.check is not None and not report.check.is_same:
        click.echo(printable(f"Warning: {report.check}"), err=True)


def _started(trainer: Trainer, *, unless_running: bool) -> tuple[Trainer, TrainingJob]:
    """Start the job; return the trainer to follow and its job, which are others if such a job runs and that counts."""
    from arkor.cli.display.phase_bars import PhaseBars
    from arkor.entry.runner import start_unless_running

    with PhaseBars() as bars:
        if unless_running:
            return start_unless_running(trainer, on_progress=bars.update)
        return trainer, trainer.start(on_progress=bars.update)


def _may_be_resumed(trainer: Trainer, job: TrainingJob, last_step: int) -> bool:
    """Say whether a job that ended may have a checkpoint to go on from, and its backend resumes jobs.

    Args:
        trainer: the trainer.
        job: its job, which has ended.
        last_step: the last optimizer step that was logged, 0 or more.
    """
    from arkor.errors import ArkorError
    from arkor.trainer.trainer import is_resuming_backend

    if job.status == JobStatus.COMPLETED or (last_step <= 0 and job.resumed_from is None):
        return False
    with contextlib.suppress(ArkorError):  # a hint is not worth an error
        return is_resuming_backend(trainer)
    return False


def _tell_of(job: TrainingJob, if_running: str | None) -> None:
    """Say that another job runs, and what that means.

    Raises:
        ClickException: it means that this one failed to start.
    """
    fact = one_line(f"Job {job.id} of the same name ({one_line(job.name, LONGEST_NAME)}) is {job.status}")
    if if_running == "fail":
        raise click.ClickException(f"{fact}; nothing was started.")
    click.echo(f"{fact}: {'following it' if if_running == 'attach' else 'nothing was started'}.", err=True)
