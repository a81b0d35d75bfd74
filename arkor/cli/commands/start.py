"""``arkor start``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import click

from arkor.cli.commands.build import warn_if_stale
from arkor.cli.display.output import showing
from arkor.cli.job_run import run_job, run_options
from arkor.cli.options import backend_of, local_option, result_code, telling_how_to_go_on
from arkor.system.job_pipe import ParentPipe
from arkor.text import one_line

_TOO_EARLY = (
    "The entry starts its job while it is imported, too early for --local, --dry-run and --if-running. "
    "Put the call that starts it under if __name__ == '__main__'."
)


@click.command()
@click.argument("entry", required=False, type=click.Path(path_type=Path))
@local_option
@run_options
def start(
    entry: Path | None,
    *,
    local: bool,
    dry_run: bool,
    as_json: bool,
    if_running: str | None,
    on_interrupt: str,
    **options: Any,
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
        with telling_how_to_go_on(trainer, cancel=on_interrupt == "cancel", elsewhere=elsewhere):
            if trainer.was_sent and (local or dry_run or if_running):
                raise EntryError(_TOO_EARLY)
            if local or dry_run:
                trainer.configure(backend=backend_of(local), dry_run=dry_run or None)
        ended = run_job(
            trainer,
            shown,
            if_running=if_running,
            on_interrupt=on_interrupt,
            elsewhere=elsewhere,
            on_start=parent.tell,
            **options,
        )
    return result_code(ended)


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
