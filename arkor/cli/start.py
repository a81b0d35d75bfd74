"""``arkor start``."""

from __future__ import annotations

from pathlib import Path

import click

from arkor.cli.exits import COMPLETED
from arkor.cli.options import backend_of, duration, how_to_go_on, local_option, result_code, telling_how_to_go_on


@click.command()
@click.argument("entry", required=False, type=click.Path(path_type=Path))
@local_option
@click.option("--dry-run", is_flag=True, help="Run the whole path on a few rows for a few steps.")
@click.option("--detach", is_flag=True, help="Submit the job, print its id, and leave.")
@click.option("--timeout", metavar="TIME", callback=duration, help="Longest wait, as 2h, 15m or 90s; the job goes on.")
@click.option(
    "--on-interrupt",
    type=click.Choice(["detach", "cancel"]),
    default="detach",
    show_default=True,
    help="What Ctrl-C does to the job.",
)
def start(
    entry: Path | None, *, local: bool, dry_run: bool, detach: bool, timeout: float | None, on_interrupt: str
) -> int:
    """Run the project's trainer and wait for its end.

    With ENTRY, builds it first. Without, runs .arkor/build/index.pyz as it is, or builds src/arkor/index.py where there
    is no artifact yet. Run 'arkor build' after editing. Ctrl-C ends the wait; the job goes on, unless --on-interrupt
    says otherwise.

    \b
    Example: arkor start --local
    """
    from arkor.cli.progress import PhaseBars
    from arkor.runner import load_trainer, run

    trainer = load_trainer(_artifact(entry))
    if local or dry_run:
        trainer.configure(backend=backend_of(local), dry_run=dry_run or None)
    is_local = local or trainer.backend == "local"
    with telling_how_to_go_on(trainer, local=is_local, cancel=on_interrupt == "cancel"):
        with PhaseBars() as bars:
            job = trainer.start(on_progress=bars.update)
        if detach:
            click.echo(job.id)
            click.echo(how_to_go_on(job, local=is_local), err=True)
            return COMPLETED
        return result_code(run(trainer, say=click.echo, timeout=timeout))


def _artifact(entry: Path | None) -> Path:
    """Return the artifact to run: built from the entry, taken as it is, or built from the default entry."""
    from arkor.bundle import ARTIFACT, build

    if entry is not None:
        return entry if entry.suffix == ".pyz" and entry.is_file() else build(entry)
    existing = Path.cwd() / ARTIFACT
    return existing if existing.is_file() else build()
