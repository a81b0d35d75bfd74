"""The command line of ``python -m arkor.backend``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from arkor.backend.settings import Settings
from arkor.errors import LocalBackendError, StorageError
from arkor.protocol.engines import ENGINES, LLAMA_CPP_DTYPES, WORKER_ENGINES

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = click.FloatRange(min=0, min_open=True)
_DATABASE = "ARKOR_DATABASE"
_COUNT = click.IntRange(min=1)


class _CannotServe(click.ClickException):
    exit_code = 3  # as for any backend that cannot be had


def http_url(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Accept the address of a server, as the callback of an option.

    Raises:
        BadParameter: it is none, or it has a user's name or password, which would be shown.
    """
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        is_good = is_good and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # no port
        is_good = False
    if not is_good:
        raise click.BadParameter("give an address such as http://10.0.0.5:4747, without a name or password.")
    return value.rstrip("/")


def _patience(name: str, setting: str) -> Callable[[F], F]:
    return click.option(name, setting, type=_SECONDS, hidden=True)


@click.command()
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for everything it keeps."
)
@click.option(
    "--database",
    metavar="URL",
    envvar=_DATABASE,
    show_envvar=True,
    help="PostgreSQL database, postgresql+psycopg://…; without it, a SQLite file in the data folder.",
)
@click.option(
    "--storage",
    metavar="FOLDER|s3://BUCKET/PREFIX",
    help="Where data sets, checkpoints and artifacts are kept (default: the data folder).",
)
@click.option(
    "--retention",
    "retention_s",
    type=_SECONDS,
    metavar="SECONDS",
    help="Remove a job so long after its end, with its files (default: never).",
)
@click.option(
    "--model-root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Accept model folders below this folder; without it, no folder is accepted.",
)
@click.option(
    "--allow-private-urls", is_flag=True, help="Fetch rows from hosts that are not on the public internet too."
)
@click.option("--host", metavar="ADDRESS", help="IPv4 address to listen on (default 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 (the default) takes a free one.")
@click.option(
    "--advertise-url",
    metavar="URL",
    callback=http_url,
    help="Where workers on other machines reach this backend.",
)
@click.option("--server-file", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the address.")
@click.option("--idle-exit", "idle_exit_s", type=_SECONDS, metavar="SECONDS", help="End when unused for so long.")
@click.option(
    "--max-parallel",
    type=_COUNT,
    help="The most jobs that train at the same time (default one on each GPU, 1 without a GPU, 64 on Ray).",
)
@click.option(
    "--examples-bytes",
    type=click.IntRange(min=0),
    help="Size of the tokenized rows that are kept for later jobs (default 8 GiB).",
)
@click.option(
    "--disk-patience",
    "disk_patience_s",
    type=_SECONDS,
    metavar="SECONDS",
    help="How long a job that is paused because the disk is full waits for room until it fails (default 24 h).",
)
@click.option(
    "--check-served/--no-check-served",
    "checks_served",
    default=None,
    help="Check after a job with held-out rows that chats get the adapter that was trained (the default), or not.",
)
@click.option(
    "--chat-engine",
    type=click.Choice(ENGINES),
    envvar="ARKOR_CHAT_ENGINE",
    show_envvar=True,
    help="What computes the answers to chats; auto (the default) takes the one that is quicker here.",
)
@click.option(
    "--chat-dtype",
    type=click.Choice(LLAMA_CPP_DTYPES),
    envvar="ARKOR_CHAT_DTYPE",
    show_envvar=True,
    help="The number type in which llama.cpp computes (default bf16).",
)
@click.option(
    "--engine",
    type=click.Choice(WORKER_ENGINES),
    envvar="ARKOR_ENGINE",
    show_envvar=True,
    help="What runs the workers: processes of this machine (the default), or a Ray cluster.",
)
@click.option(
    "--ray-address",
    metavar="URL",
    envvar="ARKOR_RAY_ADDRESS",
    show_envvar=True,
    callback=http_url,
    help="Dashboard of the Ray cluster (default http://127.0.0.1:8265).",
)
@click.option(
    "--ray-cpus",
    type=click.FloatRange(0, min_open=True),
    help="CPUs of the cluster for each device of a job (default 1).",
)
@click.option("--ray-gpus", type=click.FloatRange(0), help="GPUs of the cluster for each device of a job (default 0).")
@click.option("--ray-python", metavar="COMMAND", help="Python on the cluster's nodes (default python).")
@click.option("--worker", "worker_module", hidden=True)
@click.option("--models", "models_module", hidden=True)
@click.option("--chat", "chat_module", hidden=True)
@click.option("--preview", "preview_module", hidden=True)
@click.option("--evaluation", "evaluation_module", hidden=True)
@click.option("--export", "export_module", hidden=True)
@click.option("--import", "import_module", hidden=True)
@click.option("--preview-cap", type=_COUNT, hidden=True)
@click.option("--chat-cap", type=_COUNT, hidden=True)
@click.option("--stream-cap", type=_COUNT, hidden=True)
@click.option("--max-attempts", type=_COUNT, hidden=True)
@click.option("--max-dataset-bytes", type=_COUNT, hidden=True)
@click.option("--disk-room", "disk_room_bytes", type=click.IntRange(min=0), hidden=True)
@_patience("--storage-patience", "storage_patience_s")
@_patience("--disk-retry", "disk_retry_s")
@_patience("--chat-idle", "chat_idle_s")
@_patience("--preview-limit", "preview_limit_s")
@_patience("--import-limit", "import_limit_s")
@_patience("--ping", "ping_s")
@_patience("--lease", "lease_s")
@_patience("--first-lease", "first_lease_s")
@_patience("--cancel-grace", "cancel_grace_s")
@_patience("--stop-grace", "stop_grace_s")
def main(**options: Any) -> None:
    """Serve arkor's own backend on this machine until it is told to stop."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.getLogger("waitress").setLevel(logging.ERROR)  # its warnings are of queues a few requests deep
    os.environ.pop(_DATABASE, None)  # it may have a password, which no child process needs
    settings = Settings(**{name: value for name, value in options.items() if value is not None})
    from arkor.backend.server import serve
    from arkor.backend.store.database import UNAVAILABLE, reason_of

    try:
        serve(settings)
    except (LocalBackendError, StorageError, OSError, *UNAVAILABLE) as exc:
        reason = reason_of(exc) if isinstance(exc, UNAVAILABLE) else exc
        raise _CannotServe(f"{reason} (data folder: {settings.data})") from exc
