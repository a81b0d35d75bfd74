"""How a route reaches the running Studio, and the backend behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar, cast

from flask import Response, current_app, g, request

from arkor.client.client import CloudApiClient
from arkor.http import deprecation
from arkor.protocol.jobs import Scope
from arkor.serving.refusal import Refusal
from arkor.studio.disconnects import HasLeft
from arkor.studio.state import Studio
from arkor.studio.upstream import PATIENCE_S

EXTENSION = "arkor-studio"
MOST_KEY_CHARS = 200
_KEY = re.compile(rf"[A-Za-z0-9-]{{1,{MOST_KEY_CHARS}}}")

T = TypeVar("T")


def studio() -> Studio:
    """Return the Studio that this request is for."""
    return cast(Studio, current_app.extensions[EXTENSION])


def ask(question: Callable[[CloudApiClient], T]) -> T:
    """Ask the backend for this request, see ``Upstream.ask``; what it gives notice of goes into the answer."""
    with deprecation.headers_into(heard()):
        return studio().upstream.ask(question, patience_s=PATIENCE_S)


def ask_project(question: Callable[[CloudApiClient, Scope], T], *, patiently: bool = False) -> T:
    """Ask the backend about the folder's project for this request, see ``Upstream.ask_project``.

    Args:
        question: see there.
        patiently: whether it takes as long as it takes.
    """
    with deprecation.headers_into(heard()):
        return studio().upstream.ask_project(question, patience_s=None if patiently else PATIENCE_S)


def heard() -> dict[str, str]:
    """Return the headers with which the backend gave notice of something during this request."""
    return cast("dict[str, str]", g.setdefault("notices", {}))


def add_notices(response: Response) -> Response:
    """Pass on what the backend gave notice of."""
    for name, value in heard().items():
        response.headers[name] = re.sub(r"[\x00-\x1f\x7f]", " ", value)  # no browser takes an answer with these
    return response


def idempotency_key() -> str:
    """Return the key in the body; a page sends the same one until it has an answer."""
    body = request.get_json(silent=True)
    key = body.get("idempotencyKey") if isinstance(body, dict) else None
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise Refusal(400, f"idempotencyKey: must be a text of 1 to {MOST_KEY_CHARS} letters, digits and hyphens")
    return key


def has_left() -> HasLeft:
    """Return what says whether the browser has closed its connection, or Studio is stopping."""
    gone: HasLeft = request.environ.get("waitress.client_disconnected", bool)
    stopping = studio().stopping
    return lambda: stopping.is_set() or gone()
