"""Options and hints that several commands share."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arkor.cli.exits import COMPLETED, NOT_COMPLETED, Interrupted
from arkor.client.result import TrainingResult
from arkor.protocol.jobs import JobStatus, Scope, TrainingJob
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.client.client import CloudApiClient
    from arkor.trainer.trainer import Trainer

DEFAULT_MODEL = "smollm2-135m"  # needs neither an account nor a GPU

local_option = click.option(
    "--local", is_flag=True, help="Use the backend on this machine; it is started if necessary."
)
events_option = click.option(
    "--json", "as_json", is_flag=True, help="Print each event as a JSON object on one line. Messages go to stderr."
)


def _new_names(_context: click.Context, _parameter: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str] | None:
    from arkor.data.columns import check_columns
    from arkor.errors import ConfigError

    columns: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.rpartition("=")
        if not equals or not old or old in columns:
            raise click.BadParameter(f"{pair!r} is not OLD=NEW, once for each column.")
        columns[old] = new
    try:
        return check_columns("--column", columns)
    except ConfigError as exc:
        raise click.BadParameter(exc.args[1]) from exc


columns_option = click.option(
    "--column",
    "columns",
    metavar="OLD=NEW",
    multiple=True,
    callback=_new_names,
    help="Rename a column, as columns= of LocalDataset does: question=prompt. May be repeated.",
)


def duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of a time span: ``30d``, ``2h``, ``1h30m``, ``90s`` or ``90``; above 0."""
    if value is None:
        return None
    text = value.strip().lower()
    text = f"{text}s" if text.isdecimal() else text  # but nobody can say what the 30 of 2h30 is
    match = re.fullmatch(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", text)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0, 0)
    total = (days * 24 + hours) * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise click.BadParameter(f"{value!r} is not a time span such as 2h, 15m or 90s.")
    return float(total)


def is_interactive() -> bool:
    """Say whether somebody reads what is printed, and can answer."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def backend_of(local: bool) -> str | None:
    """Return the backend that ``--local`` stands for; None for the default one."""
    return "local" if local else None


def named_folder(name: str) -> Path | None:
    """Return the folder that an argument names as a path, such as ``./model``; None if it names none."""
    from arkor.errors import ConfigError
    from arkor.system.files import expand_home

    if not name.startswith((".", "/", "~")):
        return None
    with contextlib.suppress(ConfigError):  # no such user: "~5 eggs" is a question
        folder = expand_home(name)
        return folder.absolute() if folder.is_dir() else None
    return None


def project_of(local: bool) -> tuple[CloudApiClient, Scope]:
    """Return the backend and the project of this folder, which is never created here."""
    from arkor.client.client import CloudApiClient
    from arkor.client.project import ensure_project

    client = CloudApiClient.connect(backend_of(local))
    return client, ensure_project(client, Path.cwd(), create=False)


def with_same_backend(command: str) -> str:
    """Return a command with ``--local``, if the command that runs now has it."""
    context = click.get_current_context(silent=True)
    return f"{command} --local" if context is not None and context.params.get("local") else command


def result_code(result: TrainingResult | None) -> int:
    """Return the exit code of a run that ended; of one that was left, too."""
    return COMPLETED if result is None or result.status == JobStatus.COMPLETED else NOT_COMPLETED


def how_to_go_on(trainer: Trainer, job: TrainingJob, elsewhere: Path | None = None) -> str:
    """Return the commands that follow and stop a trainer's job, which goes on by itself, or stays paused.

    Args:
        trainer: the trainer.
        job: its job.
        elsewhere: the job's project, if the command was started in another folder.
    """
    is_paused = job.status == JobStatus.PAUSED
    verbs = {"follow it": "attach", **({"unpause it": "jobs unpause"} if is_paused else {}), "stop it": "cancel"}
    width = max(map(len, verbs)) + 1
    lines = [f"  {f'{verb}:':{width}} {command_for(name, trainer, job, elsewhere)}" for verb, name in verbs.items()]
    return "\n".join([f"Job {one_line(job.id)} {'stays paused' if is_paused else 'keeps running'}.", *lines])


def command_for(name: str, trainer: Trainer, job: TrainingJob, elsewhere: Path | None = None) -> str:
    """Return a command for a job as a shell takes it, in its project and at the backend that the trainer asks for.

    Args:
        name: of the command.
        trainer: the trainer.
        job: its job.
        elsewhere: the job's project, if the command was started in another folder.
    """
    command, backend = f"arkor {name} {one_line(job.id)}", trainer.backend
    if backend is not None:
        address = f"ARKOR_CLOUD_API_URL={shlex.quote(backend)}"
        command = f"{command} --local" if backend == "local" else f"{address} {command}"
    return command if elsewhere is None else f"cd {shlex.quote(str(elsewhere))} && {command}"


@contextlib.contextmanager
def telling_how_to_go_on(trainer: Trainer, *, cancel: bool = False, elsewhere: Path | None = None) -> Iterator[None]:
    """Say that the job goes on, and how to reach it, when the wait for it is broken off.

    Args:
        trainer: the trainer.
        cancel: stop the job on Ctrl-C, SIGTERM or SIGHUP.
        elsewhere: the job's project, if the command was started in another folder.
    """
    try:
        yield
    except KeyboardInterrupt as exc:
        job = trainer.job
        if job is not None and cancel:
            raise Interrupted(f"\nInterrupted. {_cancelled(trainer, job, elsewhere)}") from exc
        if job is None:
            known = "the job may have been submitted" if trainer.was_sent else "no job was submitted"
            raise Interrupted(f"Interrupted; {known}.") from exc
        raise Interrupted(f"\nInterrupted. {how_to_go_on(trainer, job, elsewhere)}") from exc
    except (Exception, SystemExit):  # a callback may end the program
        if trainer.job is not None and not trainer.job.is_terminal:
            click.echo(how_to_go_on(trainer, trainer.job, elsewhere), err=True)
        raise


def _cancelled(trainer: Trainer, job: TrainingJob, elsewhere: Path | None) -> str:
    """Stop a job; return that it was asked for, or why it could not be."""
    from arkor.errors import ArkorError

    try:
        trainer.cancel()
    except (ArkorError, KeyboardInterrupt) as exc:
        why = str(exc) or "interrupted once more."
        return f"Job {job.id} was not stopped: {why}\n  stop it:   {command_for('cancel', trainer, job, elsewhere)}"
    return f"Asked the backend to stop job {job.id}."
