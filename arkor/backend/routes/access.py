"""Who asks, and what they may see.

Protocol: docs/protocol.md, "Addressing a backend": tokens and scope.
"""

from __future__ import annotations

from typing import Any

from flask import current_app, request

from arkor.backend.backend import Backend
from arkor.backend.store.tenants import Identity, Org, Project
from arkor.protocol.jobs import TrainingJob
from arkor.protocol.json_rules import JsonError, read_json
from arkor.serving.refusal import Refusal

EXTENSION = "arkor.backend"


def backend() -> Backend:
    """Return the backend that serves this request."""
    found: Backend = current_app.extensions[EXTENSION]
    return found


def bearer_token() -> str:
    """Return the request's bearer token.

    Raises:
        Refusal: 401, there is none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refusal(401, "A bearer token is needed: POST /v1/auth/anonymous gives one.")
    return token.strip()


def require_identity() -> Identity:
    """Return whose token the request carries.

    Raises:
        Refusal: 401, nobody's.
    """
    identity = backend().store.tenants.identity_of(bearer_token())
    if identity is None:
        raise Refusal(401, "This backend did not issue that token: get a new one from POST /v1/auth/anonymous.")
    return identity


def require_org() -> Org:
    """Return the organisation that the request names; an identity has its own alone.

    Raises:
        Refusal: 400 ``orgSlug`` is absent, 401, 403 it is not this identity's.
    """
    identity, slug = require_identity(), _query("orgSlug")
    if slug != identity.org.slug:
        raise Refusal(403, f"This identity does not belong to an organisation {slug!r:.100}.")
    return identity.org


def require_project() -> Project:
    """Return the project that the request names.

    Raises:
        Refusal: 400 a scope parameter is absent, 401, 403, 404 there is no such project.
    """
    org, slug = require_org(), _query("projectSlug")
    project = backend().store.tenants.project(org, slug)
    if project is None:
        raise Refusal(404, f"There is no project {slug!r:.100} in {org.slug}.")
    return project


def require_job(job_id: str) -> TrainingJob:
    """Return one of the jobs of the project that the request names.

    Raises:
        Refusal: as ``require_project``; 404 there is no such job in it.
    """
    job = backend().store.jobs.get(require_project(), job_id)
    if job is None:
        raise Refusal(404, f"There is no job {job_id!r:.100} in this project.")
    return job


def json_object() -> dict[str, Any]:
    """Return the request's body, a JSON object.

    Raises:
        Refusal: 400, it is something else, or breaks a rule of ``arkor.protocol.json_rules``.
    """
    try:
        body = read_json(request.get_data(cache=False))
    except JsonError as exc:
        raise Refusal(400, f"{exc}." if exc.place else f"The body {exc.reason}.") from None
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return body


def _query(name: str) -> str:
    value = request.args.get(name, "")
    if not value:
        raise Refusal(400, f"The query parameter {name} is missing.")
    return value
