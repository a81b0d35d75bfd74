"""The backend's HTTP application.

Protocol: docs/protocol.md, "Addressing a backend": errors, and what every request needs.
"""

from __future__ import annotations

import logging

from flask import Flask, Response
from sqlalchemy.exc import DBAPIError

from arkor.backend.backend import Backend
from arkor.backend.routes import BLUEPRINTS, guard
from arkor.backend.routes.access import EXTENSION
from arkor.backend.store.database import UNAVAILABLE, is_disk_full, reason_of
from arkor.errors import StorageError
from arkor.serving.application import Unexpected, create_json_app, error, refused
from arkor.serving.refusal import Refusal
from arkor.system.files import is_no_space

AWAY = "The backend cannot use its database now: try again in a moment."
NO_SPACE = "There is no space left on the backend's disk: free some, then try again."

_log = logging.getLogger("arkor.backend")
_unexpected = Unexpected("The backend", "its log", _log)


def create_app(backend: Backend) -> Flask:
    """Make the application that serves a backend."""
    app = create_json_app("arkor.backend", BLUEPRINTS, check=guard.check_request, unexpected=_unexpected)
    app.extensions[EXTENSION] = backend
    app.register_error_handler(OSError, _os_error)
    for kind in UNAVAILABLE:
        app.register_error_handler(kind, _database_error)
    app.register_error_handler(StorageError, _storage_error)
    return app


def _os_error(exc: OSError) -> tuple[Response, int]:
    return error(507, NO_SPACE) if is_no_space(exc) else _unexpected(exc)


def _database_error(exc: DBAPIError) -> tuple[Response, int] | tuple[Response, int, dict[str, str]]:
    if is_disk_full(exc):
        return error(507, NO_SPACE)
    _log.warning("A request failed, because the database did: %s", reason_of(exc))
    return refused(Refusal(503, AWAY, headers={"Retry-After": "1"}))


def _storage_error(exc: StorageError) -> tuple[Response, int]:
    _log.warning("A request failed: %s", exc)
    return error(503, str(exc))
