"""``arkor dev``."""

from __future__ import annotations

from pathlib import Path

import click

from arkor.cli.browser import open_page
from arkor.cli.options import local_option


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help="0 takes a free one [4000, or the first free one after it]."
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@local_option
def dev(*, port: int | None, opens: bool, local: bool) -> int:
    """Serve Studio, a page to train, watch and chat, until Ctrl-C.

    It is for this folder's project, and answers on this machine only.

    \b
    Example: arkor dev --local --open
    """
    from arkor.studio.launch import serve

    def ready(url: str) -> None:
        click.echo(f"Studio: {url}")
        if opens:
            open_page(url)

    return serve(Path.cwd(), port=port, local=local, ready=ready, say=click.echo)
