"""The backend that a command about identities is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from arkor.cli.exits import Interrupted, Refused
from arkor.cli.options import is_interactive
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.auth.credentials import Credentials


@attrs.frozen
class ChosenBackend:
    """The backend in use, and the identity that is stored for it.

    Attributes:
        address: its base URL, or ``local``.
        is_local: whether it is this user's own.
        host: names the identity's file.
        flag: what to add to a command that is to use the same backend.
    """

    address: str
    is_local: bool
    host: str | None
    flag: str

    @classmethod
    def by(cls, local: bool) -> ChosenBackend:
        """Return the one that ``--local``, the environment or the login names."""
        from arkor.auth.credentials import default_cloud_api_url
        from arkor.auth.identity import host_for

        address = "local" if local else default_cloud_api_url()
        is_local = address == "local"
        return cls(address, is_local, host_for(address, local=is_local), " --local" if local else "")

    @property
    def name(self) -> str:
        """What to call it."""
        return "the backend on this machine" if self.is_local else self.address

    @property
    def file(self) -> Path:
        """Where its identity is kept."""
        from arkor.auth.credentials import credentials_path

        return credentials_path(self.host)

    def stored(self) -> Credentials | None:
        """Return its identity, where there is one."""
        from arkor.auth.credentials import read_credentials

        return read_credentials(self.file)

    def find(self) -> str:
        """Return its base URL; this user's own is started where it does not run."""
        from arkor.client.local_backend import find_or_start

        return find_or_start() if self.is_local else self.address


def confirm(loss: str, *, force: bool) -> None:
    """Ask whether something that cannot be undone is to be done."""
    if force:
        return
    if not is_interactive():
        raise Refused(f"{loss} Nothing was changed. To go ahead, add --force.")
    if not click.confirm(f"{loss}\nGo on?"):
        raise Interrupted("Nothing was changed.")


def logged_in_how(credentials: Credentials) -> str:
    """Say how somebody is logged in: with an account, or anonymously."""
    anonymous_id = getattr(credentials, "anonymous_id", None)
    return "with an account" if anonymous_id is None else f"anonymously, as {one_line(anonymous_id)}"


def mention_token_in_environment() -> None:
    """Say that ARKOR_TOKEN wins over what a command does to stored identities."""
    from arkor.auth.identity import token_in_environment

    if token_in_environment() is not None:
        click.echo("Note: ARKOR_TOKEN is set. It takes precedence over stored identities and is not changed.", err=True)
