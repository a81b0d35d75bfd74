"""``arkor server``: backups of the data of ``arkor serve``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from arkor.cli.suggestions import SuggestingGroup

_data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder.  [default: ~/.arkor/server]"
)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(cls=SuggestingGroup)
def server() -> None:
    """Back up the data of a server, and restore them.

    \b
    Example: arkor server backup backups/monday
    """


@server.command()
@click.argument("target", type=_FOLDER)
@_data_option
@click.option(
    "--storage",
    metavar="FOLDER",
    help="The folder that the server was started with as --storage.  [default: the data folder]",
)
def backup(target: Path, data: Path | None, storage: str | None) -> None:
    """Back up the database and the files of a server, which may run meanwhile.

    TARGET is a new folder. The backup has data sets, artifacts, reports, and the checkpoints of jobs that have not
    completed. Each file is compared with its SHA-256.

    \b
    Example: arkor server backup backups/monday
    """
    named = [] if storage is None else ["--storage", storage]
    _run("backup", data, str(target), *named)


@server.command()
@click.argument("source", type=click.Path(path_type=Path, file_okay=False, exists=True))
@_data_option
def restore(source: Path, data: Path | None) -> None:
    """Restore a backup into a data folder that is empty, or is not there yet.

    Jobs that had not ended go on from their last checkpoint at the next start of the server.

    \b
    Example: arkor server restore backups/monday --data /srv/arkor
    """
    _run("restore", data, str(source))


def _run(verb: str, data: Path | None, *arguments: str) -> None:
    from arkor.client.local_backend import check_packages
    from arkor.system.files import arkor_home
    from arkor.system.processes import module_command

    check_packages()
    folder = data or arkor_home() / "server"
    command = module_command("arkor.backend.backups", verb, "--data", str(folder), *arguments)
    os.execv(command[0], command)
