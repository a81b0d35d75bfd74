"""``arkor whoami``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from arkor.cli.backend import ChosenBackend
from arkor.cli.options import local_option
from arkor.errors import AuthenticationError, CredentialsError, ProjectStateError
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.auth.identity import Identity


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@local_option
def whoami(*, as_json: bool, local: bool) -> None:
    """Show your identity and the project of this folder.

    Asks the backend. Exits with 3 if it does not answer or you are not logged in.

    \b
    Example: arkor whoami --json
    """
    from arkor.auth.identity import stored_identity

    backend = ChosenBackend.by(local)
    identity = stored_identity(backend.address, local=backend.is_local)
    if identity is None:
        other = "" if backend.is_local else "\nFor the backend on this machine, add --local."
        raise CredentialsError(
            f"You are not logged in to {backend.name}. Log in with: arkor login{backend.flag}{other}"
        )
    base_url = backend.find()
    report = _report(backend, base_url, identity, _ask_who(backend, base_url, identity))
    if as_json:
        click.echo(json.dumps(report))
        return
    for title, text in _lines(report):
        click.echo(f"{title + ':':15}{text}")


def _ask_who(backend: ChosenBackend, base_url: str, identity: Identity) -> dict[str, Any]:
    from arkor.client.client import CloudApiClient

    client = CloudApiClient(base_url, identity=identity)
    try:
        return client.me()
    except AuthenticationError as exc:
        if "arkor login" in str(exc):
            raise
        source, way = str(backend.file), f"Log in again with: arkor login --oauth{backend.flag}"
        if identity.credentials is None:
            source, way = "ARKOR_TOKEN", "Set another token, or unset the variable."
        elif identity.credentials.mode == "anon":
            way = f"Get a new one with: arkor login --anonymous --force{backend.flag}"
        raise CredentialsError(f"{base_url} does not accept the token of {source} ({exc}). {way}") from exc
    finally:
        client.close()


def _report(backend: ChosenBackend, base_url: str, identity: Identity, me: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the user, as ``--json`` prints it."""
    from arkor.client.project import read_state

    state = None
    try:
        state = read_state(host=backend.host)
    except ProjectStateError as exc:
        click.echo(f"Warning: {exc}", err=True)
    credentials = identity.credentials
    return {
        "backend": base_url,
        "mode": "token" if credentials is None else credentials.mode,
        "source": "ARKOR_TOKEN" if credentials is None else str(backend.file),
        "anonymousId": getattr(credentials, "anonymous_id", None),
        "user": me.get("user"),
        "orgs": me.get("orgs"),
        "project": state
        and {"orgSlug": state.org_slug, "projectSlug": state.project_slug, "projectId": state.project_id},
    }


def _lines(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a report for people: titles and texts."""
    user = report["user"] if isinstance(report["user"], Mapping) else {}
    name = next((one_line(str(user[key])) for key in ("email", "name", "id") if user.get(key)), "unknown")
    who = {"token": f"{name}, by the token in ARKOR_TOKEN", "oauth": f"{name}, with an account"}.get(
        report["mode"], f"{report['anonymousId']}, anonymously"
    )
    orgs = report["orgs"] if isinstance(report["orgs"], list) else []
    slugs = [one_line(str(org.get("slug"))) for org in orgs if isinstance(org, Mapping)]
    project = report["project"]
    lines = [
        ("Backend", report["backend"]),
        ("Logged in as", who),
        ("Organisations", ", ".join(slugs) or "none"),
        ("Project", f"{project['projectSlug']} of {project['orgSlug']}" if project else "none in this folder yet"),
    ]
    return [(title, one_line(text)) for title, text in lines]
