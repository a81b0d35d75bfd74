"""Who asks, and what they may see.

Protocol: docs/protocol.md, "Addressing a backend": tokens and scope.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from flask import current_app, request

from arkor.backend.backend import Backend
from arkor.backend.store.idempotency import KeyReused
from arkor.backend.store.tenants import Identity, Org, Project
from arkor.protocol.jobs import TrainingJob
from arkor.protocol.json_rules import JsonError, read_json
from arkor.protocol.proof import CHALLENGE_HEADER, is_challenge
from arkor.serving.refusal import Refusal

EXTENSION = "arkor.backend"

UNKNOWN_ATTEMPT = "This token does not belong to that attempt."

_MAX_KEY_CHARS = 200
_MAX_VALUES = 20_000
_NOT_BEFORE_VALUES = bytes(set(range(256)) - set(b",[{"))
_reading = threading.Lock()


def backend() -> Backend:
    """Return the backend that serves this request."""
    found: Backend = current_app.extensions[EXTENSION]
    return found


def client_watch() -> Callable[[], bool]:
    """Return what says whether the client of this request has closed its connection."""
    found: Callable[[], bool] | None = request.environ.get("waitress.client_disconnected")
    return found or (lambda: False)


def bearer_token() -> str:
    """Return the request's bearer token.

    Raises:
        Refusal: 401, there is none.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refusal(401, "A bearer token is needed: POST /v1/auth/anonymous gives one.")
    return token.strip()


def read_challenge() -> str | None:
    """Return the challenge that the client wants a proof for; None if there is none.

    Raises:
        Refusal: 400, it has another form.
    """
    challenge = request.headers.get(CHALLENGE_HEADER)
    if challenge is not None and not is_challenge(challenge):
        raise Refusal(400, f"{CHALLENGE_HEADER} must have 64 hexadecimal digits, in lower case.")
    return challenge


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


def require_attempt(job_id: str) -> str:
    """Return the request's token, which is that of an attempt at a job.

    Raises:
        Refusal: 401, it is another's, or there is none.
    """
    token = bearer_token()
    if not backend().store.reports.is_known(job_id, token):
        raise Refusal(401, UNKNOWN_ATTEMPT)
    return token


def idempotency_key() -> str | None:
    """Return the request's ``Idempotency-Key``, or None.

    Raises:
        Refusal: 400, it is too long, or empty.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= _MAX_KEY_CHARS:
        raise Refusal(400, f"Idempotency-Key must have 1 to {_MAX_KEY_CHARS} characters.")
    return key


@contextlib.contextmanager
def refusing_reused_keys() -> Iterator[None]:
    """Refuse a request whose key came with another one before.

    Raises:
        Refusal: 409.
    """
    try:
        yield
    except KeyReused:
        raise Refusal(409, "This Idempotency-Key came with another request before.") from None


def json_object() -> dict[str, Any]:
    """Return the request's body, a JSON object.

    Raises:
        Refusal: 400, it is something else, has more than 20,000 values, or breaks
            a rule of ``arkor.protocol.json_rules``.
    """
    with _reading:
        body = _parsed(request.get_data(cache=False))
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return body


def _parsed(text: bytes) -> Any:
    """Return what a JSON text stands for.

    Python takes up to thirty times the size of a JSON text to hold it, and lets no other thread run until it is parsed.
    So values are counted before.
    """
    if _has_many_values(text):
        raise Refusal(400, f"The body has more than {_MAX_VALUES} values.")
    try:
        return read_json(text)
    except JsonError as exc:
        raise Refusal(400, f"{exc}." if exc.place else f"The body {exc.reason}.") from None


def _has_many_values(text: bytes) -> bool:
    """Whether a JSON text has more values than a body may have: each follows a comma or an opening bracket."""
    if _most_values(text) <= _MAX_VALUES:
        return False
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * _MAX_VALUES:  # two around a value, and two around its key
        return True
    return _most_values(b"".join(bare.split(b'"')[::2])) > _MAX_VALUES


def _most_values(text: bytes) -> int:
    return len(text.translate(None, _NOT_BEFORE_VALUES))


def _query(name: str) -> str:
    value = request.args.get(name, "")
    if not value:
        raise Refusal(400, f"The query parameter {name} is missing.")
    return value
