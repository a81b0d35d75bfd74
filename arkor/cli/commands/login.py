"""``arkor login``."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import click

from arkor.cli.backend import ChosenBackend, confirm, logged_in_how, mention_token_in_environment
from arkor.cli.browser import open_page
from arkor.cli.exits import Interrupted, Refused
from arkor.cli.options import is_interactive, local_option
from arkor.errors import ArkorError

if TYPE_CHECKING:
    from arkor.auth.credentials import Credentials


_NOT_IN_CI = (
    "--oauth needs a person at a browser, but the variable CI is set. "
    "In CI, put a token into ARKOR_TOKEN, or use --anonymous."
)


@click.command()
@click.option("--oauth", is_flag=True, help="Log in with an account, in a browser.")
@click.option("--anonymous", is_flag=True, help="Log in without an account, on this machine only.")
@click.option("--no-browser", is_flag=True, help="Print the address of the login page instead of opening it.")
@click.option("-f", "--force", is_flag=True, help="Replace the stored identity without asking.")
@local_option
def login(*, oauth: bool, anonymous: bool, no_browser: bool, force: bool, local: bool) -> None:
    """Log in, with an account or anonymously.

    Without --oauth or --anonymous, asks you on a terminal; in a script, logs in anonymously unless you are logged in.

    \b
    Example: arkor login --oauth
    """
    if oauth and anonymous:
        raise click.UsageError("Use --oauth or --anonymous, not both.")
    if oauth and os.environ.get("CI", "").lower() not in {"", "0", "false"}:
        raise Refused(_NOT_IN_CI)
    mention_token_in_environment()
    backend = ChosenBackend.by(local)
    stored = backend.stored()
    if stored is not None:
        click.echo(f"You are logged in to {backend.name} {logged_in_how(stored)}.")
        if not (oauth or anonymous or is_interactive()):
            click.echo("Nothing was changed.")
            return
    base_url = backend.find()
    if oauth or (not anonymous and is_interactive() and _wants_account(base_url)):
        _log_in_with_account(backend, base_url, stored, open_browser=not no_browser, force=force)
    else:
        _log_in_anonymously(backend, base_url, stored, force=force)


def _wants_account(base_url: str) -> bool:
    from arkor.auth.oauth import request_oauth_config

    if request_oauth_config(base_url) is None:
        return False
    click.echo(f"How do you want to log in to {base_url}?")
    click.echo("  1  anonymously: no account needed; stored on this machine only")
    click.echo("  2  with an account, in a browser")
    return bool(click.prompt("Which", default="1", type=click.Choice(["1", "2"])) == "2")


def _log_in_anonymously(backend: ChosenBackend, base_url: str, stored: Credentials | None, *, force: bool) -> None:
    from arkor.auth.identity import ensure_credentials
    from arkor.auth.login import log_in_anonymously

    if stored is None:
        fresh = ensure_credentials(base_url, host=backend.host)
    elif stored.mode == "anon" and not force:
        click.echo("Nothing was changed.")
        return
    else:
        confirm(_loss(stored), force=force)
        fresh = log_in_anonymously(base_url, backend.host)
    click.echo(f"Logged in to {backend.name} {logged_in_how(fresh)}.")
    if _has_accounts(base_url):
        click.echo(
            f"This identity is stored on this machine only. Without {backend.file} you lose access to its jobs and "
            f"adapters: keep a copy of that file, or use an account: arkor login --oauth{backend.flag}",
            err=True,
        )


def _has_accounts(base_url: str) -> bool:
    """Say whether a backend has accounts, as far as it answers."""
    from arkor.auth.oauth import request_oauth_config

    with contextlib.suppress(ArkorError):  # not known, then
        return request_oauth_config(base_url) is not None
    return False


def _log_in_with_account(
    backend: ChosenBackend, base_url: str, stored: Credentials | None, *, open_browser: bool, force: bool
) -> None:
    from arkor.auth.login import log_in_with_account
    from arkor.auth.oauth import request_oauth_config

    config = request_oauth_config(base_url)
    if config is None:
        raise Refused(f"{base_url} has no accounts (OAuth). Log in with: arkor login --anonymous{backend.flag}")
    if stored is not None and stored.mode == "anon":
        confirm(_loss(stored), force=force)

    show = functools.partial(_announce, base_url, open_browser=open_browser)
    try:
        credentials = log_in_with_account(base_url, backend.host, config, show=show)
    except KeyboardInterrupt as exc:
        raise Interrupted("\nInterrupted; nothing was changed.") from exc
    click.echo(f"Logged in to {backend.name} {logged_in_how(credentials)}.")


def _announce(base_url: str, url: str, *, open_browser: bool) -> None:
    """Print the address of the login page, and open it."""
    from arkor.auth.login import LOGIN_TIMEOUT_S

    click.echo(f"Log in to {base_url} on this page:\n\n  {url}\n")
    if open_browser:
        open_page(url)
    else:
        port = urlsplit(parse_qs(urlsplit(url).query)["redirect_uri"][0]).port
        click.echo(f"For a browser on another machine, forward the port: ssh -L {port}:127.0.0.1:{port} …")
    click.echo(f"Waiting up to {LOGIN_TIMEOUT_S / 60:g} minutes. Ctrl-C cancels.")


def _loss(stored: Credentials) -> str:
    if stored.mode == "oauth":
        return "This replaces the login of your account with an anonymous identity."
    return "This replaces the anonymous identity for good: you lose access to its jobs and adapters."
