"""``arkor build``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("entry", required=False, type=click.Path(path_type=Path))
def build(entry: Path | None) -> None:
    """Bundle the training entry into one file.

    The file is .arkor/build/index.pyz. It contains ENTRY and the modules that ENTRY imports relatively. Absolute
    imports are resolved when the file runs. 'arkor start' then runs this file as it is, also after an edit.

    ENTRY: the source file, by default src/arkor/index.py.

    \b
    Example: arkor build src/arkor/experiment.py
    """
    from arkor.entry.bundle import build as build_artifact

    artifact = build_artifact(entry)
    click.echo(f"Built {artifact.relative_to(Path.cwd())}")


def warn_if_stale(artifact: Path) -> None:
    """Warn if a source file changed after it was bundled into the artifact that is about to run."""
    from arkor.entry.bundle import changed_source

    changed = changed_source(artifact)
    if changed is not None:
        shown = changed.relative_to(Path.cwd()) if changed.is_relative_to(Path.cwd()) else changed
        file = artifact.relative_to(Path.cwd())
        click.echo(
            f"Warning: running {file}, which is older than {shown}. To run your edit: 'arkor build'. "
            f"To let 'arkor start' rebuild by itself: delete {file}.",
            err=True,
        )
