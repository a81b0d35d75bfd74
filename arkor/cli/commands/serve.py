"""``arkor serve``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from arkor.cli.options import duration
from arkor.protocol.engines import ENGINES, LLAMA_CPP_DTYPES, WORKER_ENGINES

DEFAULT_PORT = 4747


@click.command()
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--host", metavar="ADDRESS", help="IPv4 address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--advertise-url",
    metavar="URL",
    help="Address at which workers on other machines reach this backend.  [default: host and port]",
)
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Data folder.  [default: ~/.arkor/server]"
)
@click.option(
    "--database",
    metavar="URL",
    envvar="ARKOR_DATABASE",
    show_envvar=True,
    help="PostgreSQL database that servers share (postgresql+psycopg://…).  [default: SQLite in the data folder]",
)
@click.option(
    "--storage",
    metavar="FOLDER|s3://BUCKET/PREFIX",
    help="Where data sets, checkpoints and artifacts are kept.  [default: the data folder]",
)
@click.option(
    "--retention",
    metavar="TIME",
    callback=duration,
    help="Remove a job so long after its end, with its files, such as 90d.  [default: never]",
)
@click.option(
    "--max-parallel",
    type=click.IntRange(1),
    help="Maximum number of jobs that run at the same time; a GPU has one.  "
    "[default: one on each GPU, 1 without a GPU, 64 on Ray]",
)
@click.option(
    "--model-root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Accept model folders below this folder; without it, no folder is accepted.",
)
@click.option(
    "--allow-private-urls",
    is_flag=True,
    help="Fetch rows (BlobDataset) also from hosts on a private network or this machine, and through a proxy.",
)
@click.option(
    "--examples-bytes",
    type=click.IntRange(0),
    help="Size of the tokenized rows that are kept for later jobs.  [default: 8 GiB]",
)
@click.option(
    "--disk-patience",
    metavar="TIME",
    callback=duration,
    help="How long a job that is paused because the disk is full waits for room until it fails, such as 2h or 3d.  "
    "[default: 24h]",
)
@click.option(
    "--check-served/--no-check-served",
    default=True,
    help="Check after a job with held-out rows that chats get the adapter that was trained.  [default: check]",
)
@click.option(
    "--chat-engine",
    type=click.Choice(ENGINES),
    help="What computes the answers to chats; auto takes the one that is quicker here.  [default: auto]",
)
@click.option(
    "--chat-dtype",
    type=click.Choice(LLAMA_CPP_DTYPES),
    help="The number type in which llama.cpp computes.  [default: bf16]",
)
@click.option(
    "--engine",
    type=click.Choice(WORKER_ENGINES),
    help="Where jobs run: in processes on this machine, or on a Ray cluster.  [default: process]",
)
@click.option("--ray-address", metavar="URL", help="Dashboard of the Ray cluster.  [default: http://127.0.0.1:8265]")
@click.option("--ray-cpus", type=float, help="CPUs of the Ray cluster for each device of a job.  [default: 1]")
@click.option("--ray-gpus", type=float, help="GPUs of the Ray cluster for each device of a job.  [default: 0]")
@click.option("--ray-python", metavar="COMMAND", help="Python on the nodes of the Ray cluster.  [default: python]")
def serve(
    *,
    port: int,
    host: str | None,
    advertise_url: str | None,
    data: Path | None,
    database: str | None,
    storage: str | None,
    retention: float | None,
    max_parallel: int | None,
    model_root: Path | None,
    allow_private_urls: bool,
    examples_bytes: int | None,
    disk_patience: float | None,
    check_served: bool,
    chat_engine: str | None,
    chat_dtype: str | None,
    **cluster: str | float | None,
) -> None:
    """Run a backend that other programs reach by its URL.

    Point scripts and commands to it with the variable ARKOR_CLOUD_API_URL. Ctrl-C stops the backend; jobs that were
    running resume at its next start.

    \b
    Example: arkor serve --port 4747
    """
    from arkor.client.local_backend import check_packages
    from arkor.system.files import arkor_home
    from arkor.system.processes import module_command

    check_packages()
    folder = data or arkor_home() / "server"
    passed_on = {
        "--data": folder,
        "--storage": storage,
        "--retention": retention,
        "--port": port,
        "--host": host,
        "--advertise-url": advertise_url,
        "--max-parallel": max_parallel,
        "--model-root": model_root and model_root.absolute(),
        "--examples-bytes": examples_bytes,
        "--disk-patience": disk_patience,
        "--chat-engine": chat_engine,
        "--chat-dtype": chat_dtype,
        **{f"--{name.replace('_', '-')}": value for name, value in cluster.items()},
    }
    options = [text for name, value in passed_on.items() if value is not None for text in (name, str(value))]
    options += ["--allow-private-urls"] if allow_private_urls else []
    options += [] if check_served else ["--no-check-served"]
    if database:  # it may have a password, and every user sees the arguments of a process
        os.environ["ARKOR_DATABASE"] = database
    command = module_command("arkor.backend", *options)
    if port:
        reached = advertise_url or f"http://{host or '127.0.0.1'}:{port}"
        click.echo(f"To use this backend, set ARKOR_CLOUD_API_URL={reached}. Ctrl-C stops it.")
    # In place of this process: signals reach the backend itself.
    os.execv(command[0], command)
