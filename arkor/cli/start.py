"""``arkor start``."""

from __future__ import annotations

from pathlib import Path

import click

from arkor.cli.options import backend_of, local_option


@click.command()
@click.argument("entry", required=False, type=click.Path(path_type=Path))
@local_option
@click.option("--dry-run", is_flag=True, help="Run the whole path on a few rows for a few steps.")
def start(entry: Path | None, local: bool, dry_run: bool) -> int:
    """Run the project's trainer and wait for its end.

    With ENTRY, builds it first. Without, runs .arkor/build/index.pyz as it is, or builds src/arkor/index.py where there
    is no artifact yet. Run 'arkor build' after editing. Ctrl-C ends the wait, not the job.

    \b
    Example: arkor start --local
    """
    from arkor.cli.options import result_code, telling_how_to_go_on
    from arkor.cli.progress import PhaseBars
    from arkor.runner import load_trainer, run

    trainer = load_trainer(_artifact(entry))
    if local or dry_run:
        trainer.configure(backend=backend_of(local), dry_run=dry_run or None)
    with telling_how_to_go_on(trainer, local=local or trainer.backend == "local"):
        with PhaseBars() as bars:
            trainer.start(on_progress=bars.update)
        return result_code(run(trainer, say=click.echo))


def _artifact(entry: Path | None) -> Path:
    """Return the artifact to run: built from the entry, taken as it is, or built from the default entry."""
    from arkor.bundle import ARTIFACT, build

    if entry is not None:
        return entry if entry.suffix == ".pyz" and entry.is_file() else build(entry)
    existing = Path.cwd() / ARTIFACT
    return existing if existing.is_file() else build()
