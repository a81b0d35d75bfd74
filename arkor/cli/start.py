"""``arkor start``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    from arkor.runner import load_trainer, run

    trainer = load_trainer(_artifact(entry))
    if local or dry_run:
        trainer.configure(backend=backend_of(local), dry_run=dry_run or None)
    with telling_how_to_go_on(trainer, local=local or trainer.backend == "local"):
        return result_code(run(trainer, on_model_progress=_show_model, say=click.echo))


def _artifact(entry: Path | None) -> Path:
    """Return the artifact to run: built from the entry, taken as it is, or built from the default entry."""
    from arkor.bundle import ARTIFACT, build

    if entry is not None:
        return entry if entry.suffix == ".pyz" and entry.is_file() else build(entry)
    existing = Path.cwd() / ARTIFACT
    return existing if existing.is_file() else build()


def _show_model(model: str, progress: Mapping[str, Any]) -> None:
    """Show how far the backend is with fetching a model: one line that is rewritten on a terminal."""
    done, total = progress.get("done"), progress.get("total")
    share = f" {100 * done / total:.0f} %" if isinstance(done, (int, float)) and total else ""
    line = f"Fetching model {model}: {progress.get('phase', 'starting')}{share}"
    if click.get_text_stream("stderr").isatty():
        click.echo(f"\r\x1b[K{line}", err=True, nl=False)
