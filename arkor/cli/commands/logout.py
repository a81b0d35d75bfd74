"""``arkor logout``."""

from __future__ import annotations

import click

from arkor.cli.backend import ChosenBackend, confirm, logged_in_how, mention_token_in_environment
from arkor.cli.options import local_option


@click.command()
@click.option("-f", "--force", is_flag=True, help="Remove an anonymous identity without asking.")
@local_option
def logout(*, force: bool, local: bool) -> None:
    """Log out, and remove the stored identity.

    With an account you can log in again. An anonymous identity is lost for good.

    \b
    Example: arkor logout
    """
    from arkor.auth.login import log_out

    mention_token_in_environment()
    backend = ChosenBackend.by(local)
    stored = backend.stored()
    if stored is None:
        click.echo(f"You are not logged in to {backend.name}; nothing was removed.")
        return
    if stored.mode == "anon":
        click.echo(f"You are logged in to {backend.name} {logged_in_how(stored)}.")
        confirm("This removes the anonymous identity for good: you lose access to its jobs and adapters.", force=force)
    log_out(backend.host)
    click.echo(f"Logged out of {backend.name}; {backend.file} was removed.")
