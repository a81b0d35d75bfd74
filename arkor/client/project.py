"""Which project a folder's jobs belong to: ``.arkor/state.json`` and the rules around it.

Protocol: docs/protocol.md, "Project routing".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.auth.identity import LOCAL_HOST_KEY
from arkor.client.client import CloudApiClient, Project
from arkor.errors import Conflict, ProjectStateError
from arkor.protocol import wire
from arkor.protocol.checks import MAX_NAME_CHARS
from arkor.protocol.jobs import Scope
from arkor.system.files import write_atomically

MAX_SLUG_LENGTH = 40


@attrs.frozen
class ProjectState:
    """What ``.arkor/state.json`` holds.

    Attributes:
        org_slug: the organisation.
        project_slug: the project's name in URLs.
        project_id: the backend's id of the project.
        extra: keys this version does not know, kept when the file is rewritten.
    """

    org_slug: str
    project_slug: str
    project_id: str
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def scope(self) -> Scope:
        """What requests of this project carry."""
        return Scope(self.org_slug, self.project_slug)


def state_path(project_dir: str | Path | None = None, *, host: str | None = None) -> Path:
    """Return where a folder's routing is kept.

    Args:
        project_dir: the project's root; by default the working directory.
        host: the ``host_key`` of a backend that is not the one of the user's Arkor login; None for that one.
    """
    folder = Path(project_dir or Path.cwd()) / ".arkor"
    return folder / "hosts" / host / "state.json" if host else folder / "state.json"


def read_state(project_dir: str | Path | None = None, *, host: str | None = None) -> ProjectState | None:
    """Return a folder's routing, or None where there is none that can be used.

    Args:
        project_dir: the project's root; by default the working directory.
        host: see ``state_path``.

    Raises:
        ProjectStateError: the file is there but cannot be read.
    """
    file = state_path(project_dir, host=host)
    try:
        body = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as exc:
        raise ProjectStateError(f"{file} cannot be read: {exc.strerror}.") from exc
    fields = wire.known_fields(ProjectState, wire.mapping(body))
    texts = [fields.get(name) for name in ("org_slug", "project_slug", "project_id")]
    return ProjectState(**fields) if all(isinstance(text, str) and text for text in texts) else None


def write_state(state: ProjectState, project_dir: str | Path | None = None, *, host: str | None = None) -> None:
    """Write a folder's routing.

    Args:
        state: the routing.
        project_dir: the project's root; by default the working directory.
        host: see ``state_path``.

    Raises:
        ProjectStateError: it cannot be written; the file that was there is whole.
    """
    file = state_path(project_dir, host=host)
    try:
        write_atomically(file, json.dumps(wire.to_wire(state), indent=2).encode() + b"\n")
    except OSError as exc:
        raise ProjectStateError(f"{file} cannot be written: {exc.strerror}.") from exc


def project_slug(folder: Path) -> str:
    """Return the slug a folder's name gives: ``My Bot!`` is ``my-bot``."""
    slug = re.sub(r"[^a-z0-9-]", "-", folder.resolve().name.lower())
    return slug[:MAX_SLUG_LENGTH].strip("-") or "project"


def ensure_project(client: CloudApiClient, project_dir: Path, *, create: bool = True) -> Scope:
    """Return the project of a folder, creating it where an anonymous identity has none yet.

    Args:
        client: the backend and the identity.
        project_dir: the project's root.
        create: whether one may be created; what only looks does not.

    Raises:
        ProjectStateError: the routing belongs to another identity, or an account has none.
        ConnectionFailed, CloudApiError: the backend did not create it.
    """
    host, own_org = client.identity.host_key, client.identity.org_slug
    state = _usable_state(client, project_dir)
    if state is not None:
        return state.scope
    if not create:
        raise ProjectStateError(
            f"Nothing was started in {project_dir} yet: {client.base_url} has no project for it. "
            "Go to the folder where the job was started."
        )
    assert own_org is not None  # or _usable_state() would have raised
    project = _create_or_find(client, own_org, project_dir)
    if not project.slug or not project.id:
        raise ProjectStateError(f"{client.base_url} described the project of {project_dir} without its slug or id.")
    before = read_state(project_dir, host=host)
    fresh = ProjectState(own_org, project.slug, project.id, before.extra if before else {})
    write_state(fresh, project_dir, host=host)
    return fresh.scope


def list_all_projects(client: CloudApiClient) -> list[tuple[Scope, Project]]:
    """Return the projects of all organisations of the identity, each with its scope.

    A backend does not know the folders of projects: their slugs come from the names of the folders.
    """
    orgs = client.me().get("orgs")
    slugs = [wire.text(wire.mapping(org).get("slug")) for org in orgs] if isinstance(orgs, list) else []
    return [
        (Scope(slug, project.slug), project) for slug in filter(None, slugs) for project in client.list_projects(slug)
    ]


def find_project(client: CloudApiClient, project_dir: Path) -> Scope | None:
    """Return the project of a folder, or None where ``ensure_project`` would create one; nothing is changed.

    Args:
        client: the backend and the identity.
        project_dir: the project's root.

    Raises:
        ProjectStateError: as ``ensure_project`` does.
        ConnectionFailed, CloudApiError: the backend did not say which projects there are.
    """
    state = _usable_state(client, project_dir)
    if state is not None:
        return state.scope
    org_slug = client.identity.org_slug or ""
    project = _find(client, org_slug, project_slug(project_dir))
    return Scope(org_slug, project.slug) if project else None


def _usable_state(client: CloudApiClient, project_dir: Path) -> ProjectState | None:
    """Return a folder's routing, or None where an anonymous identity has none yet.

    Raises:
        ProjectStateError: the routing belongs to another identity, or an account has none.
    """
    host, own_org = client.identity.host_key, client.identity.org_slug
    state = read_state(project_dir, host=host)
    file = state_path(project_dir, host=host)
    if state is not None and (own_org is None or state.org_slug == own_org):
        return state
    if own_org is None:
        raise ProjectStateError(
            f"{file} does not say which project this is, and an account may have several organisations: "
            "'arkor whoami' names them. Create it by hand with "
            '{"orgSlug": …, "projectSlug": …, "projectId": …} of the project to use.'
        )
    if state is not None and host != LOCAL_HOST_KEY:
        raise ProjectStateError(
            f"{file} belongs to organisation {state.org_slug}, but the anonymous identity in use is {own_org}. "
            "Delete the file to start a new project, or log in with the account that owns it."
        )
    return None


def _create_or_find(client: CloudApiClient, org_slug: str, project_dir: Path) -> Project:
    slug = project_slug(project_dir)
    try:
        return client.create_project(org_slug, name=_project_name(project_dir) or slug, slug=slug)
    except Conflict:
        project = _find(client, org_slug, slug)
        if project is None:
            raise
        return project


def _project_name(folder: Path) -> str:
    """Return a folder's name as a project's: a name on a disk may hold bytes that are no text."""
    return os.fsencode(folder.resolve().name).decode(errors="replace")[:MAX_NAME_CHARS].strip()


def _find(client: CloudApiClient, org_slug: str, slug: str) -> Project | None:
    return next((project for project in client.list_projects(org_slug) if project.slug == slug), None)
