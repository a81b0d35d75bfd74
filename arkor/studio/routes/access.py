"""How a route reaches the running Studio, and the backend behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar, cast

from flask import Response, current_app, g, request

from arkor.client.client import CloudApiClient
from arkor.http import deprecation
from arkor.protocol.jobs import Scope
from arkor.studio.disconnects import HasLeft
from arkor.studio.state import Studio
from arkor.studio.upstream import PATIENCE_S

EXTENSION = "arkor-studio"

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


def has_left() -> HasLeft:
    """Return what says whether the browser has closed its connection, or Studio is stopping."""
    gone: HasLeft = request.environ.get("waitress.client_disconnected", bool)
    stopping = studio().stopping
    return lambda: stopping.is_set() or gone()
