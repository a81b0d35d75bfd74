"""``arkor build``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("entry", required=False, type=click.Path(path_type=Path))
def build(entry: Path | None) -> None:
    """Bundle the training entry into .arkor/build/index.pyz.

    ENTRY is the source to bundle, by default src/arkor/index.py. What it imports relatively goes in; everything else
    is imported when it runs. 'arkor start' then runs the bundle as it is, also after an edit.

    \b
    Example: arkor build src/arkor/experiment.py
    """
    from arkor.entry.bundle import build as build_artifact

    artifact = build_artifact(entry)
    click.echo(f"Built {artifact.relative_to(Path.cwd())}")


def warn_if_stale(artifact: Path) -> None:
    """Say so where a source has changed since it went into an artifact that is about to run."""
    from arkor.entry.bundle import changed_source

    changed = changed_source(artifact)
    if changed is not None:
        shown = changed.relative_to(Path.cwd()) if changed.is_relative_to(Path.cwd()) else changed
        hint = f"{artifact.relative_to(Path.cwd())} is older than {shown}; run 'arkor build' to use what you edited."
        click.echo(f"Warning: {hint}", err=True)
