"""``arkor dev``."""

from __future__ import annotations

from pathlib import Path

import click

from arkor.cli.browser import open_page
from arkor.cli.options import local_option


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the page; 0 picks a free one.  [default: 4000, or the next free port]",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@local_option
def dev(*, port: int | None, opens: bool, local: bool) -> int:
    """Open Studio, a web page to train, watch and chat.

    Studio works on this folder's project and is reachable from this machine only. Ctrl-C stops it.

    \b
    Example: arkor dev --local --open
    """
    from arkor.studio.launch import serve

    def ready(url: str) -> None:
        click.echo(f"Studio: {url}")
        if opens:
            open_page(url)

    return serve(Path.cwd(), port=port, local=local, ready=ready, say=click.echo)
