"""The backend's HTTP application.

Protocol: docs/protocol.md, "Addressing a backend": errors, and what every request needs.
"""

from __future__ import annotations

import logging

from flask import Flask, Response
from sqlalchemy.exc import OperationalError

from arkor.backend.backend import Backend
from arkor.backend.routes import BLUEPRINTS, guard
from arkor.backend.routes.access import EXTENSION
from arkor.backend.store.database import is_disk_full
from arkor.serving.application import Unexpected, create_json_app, error
from arkor.system.files import is_no_space

NO_SPACE = "There is no space left on the backend's disk: free some, then try again."

_unexpected = Unexpected("The backend", "its log", logging.getLogger("arkor.backend"))


def create_app(backend: Backend) -> Flask:
    """Make the application that serves a backend."""
    app = create_json_app("arkor.backend", BLUEPRINTS, check=guard.check_request, unexpected=_unexpected)
    app.extensions[EXTENSION] = backend
    app.register_error_handler(OSError, _os_error)
    app.register_error_handler(OperationalError, _database_error)
    return app


def _os_error(exc: OSError) -> tuple[Response, int]:
    return error(507, NO_SPACE) if is_no_space(exc) else _unexpected(exc)


def _database_error(exc: OperationalError) -> tuple[Response, int]:
    return error(507, NO_SPACE) if is_disk_full(exc) else _unexpected(exc)
