"""``python -m arkor.backend.backups backup|restore``: what ``arkor server`` runs."""

from __future__ import annotations

from pathlib import Path

import click

from arkor.backend.backups.making import make_backup
from arkor.backend.backups.manifest import Manifest
from arkor.backend.backups.restoring import restore_backup
from arkor.backend.settings import Settings
from arkor.backend.storage.choose import is_folder
from arkor.errors import ArkorError

_FOLDER = click.Path(path_type=Path, file_okay=False, resolve_path=True)


class _Refused(click.ClickException):
    exit_code = 2


@click.group()
def main() -> None:
    """Back up a data folder, or restore one."""


@main.command()
@click.option("--data", type=_FOLDER, required=True)
@click.option("--storage")
@click.argument("target", type=_FOLDER)
def backup(data: Path, storage: str | None, target: Path) -> None:
    """Make a backup."""
    if storage is not None and not is_folder(storage):
        raise _Refused("The files are in S3: back up the bucket with the tools of S3. docs/scale.md shows how.")
    settings = Settings(data=data) if storage is None else Settings(data=data, storage=storage)
    try:
        made = make_backup(settings, target)
    except (ArkorError, OSError) as exc:
        raise _Refused(f"No backup was made: {exc}") from exc
    click.echo(f"Backed up {data} to {target}: {_words(made)}.")
    for path in made.missing:
        click.echo(f"Not there any more: {path}", err=True)


@main.command()
@click.option("--data", type=_FOLDER, required=True)
@click.argument("source", type=_FOLDER)
def restore(data: Path, source: Path) -> None:
    """Restore a backup."""
    try:
        found = restore_backup(source, data)
    except (ArkorError, OSError) as exc:
        raise _Refused(f"Nothing was restored: {exc}") from exc
    click.echo(f"Restored {data} as it was on {found.made_at}: {_words(found)}.")


def _words(manifest: Manifest) -> str:
    """Return what a backup has, in words."""
    count = {
        "data set": sum(path.startswith("datasets/") for path in manifest.files),
        "artifact": sum("/artifacts/" in path for path in manifest.files),
        "other file": 0,
    }
    count["other file"] = len(manifest.files) - 1 - sum(count.values())
    megabytes = sum(content.size or 0 for content in manifest.files.values()) / 1e6
    parts = [f"{number} {name}{'' if number == 1 else 's'}" for name, number in count.items()]
    return f"the database, {', '.join(parts)}; {megabytes:.1f} MB"


if __name__ == "__main__":
    main()
