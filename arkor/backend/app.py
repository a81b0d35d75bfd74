"""The backend's HTTP application.

Protocol: docs/protocol.md, "Addressing a backend": errors, and what every request needs.
"""

from __future__ import annotations

import errno
import logging

from flask import Flask, Response, jsonify
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from arkor.backend.backend import Backend
from arkor.backend.routes import BLUEPRINTS, guard
from arkor.backend.routes.access import EXTENSION
from arkor.backend.store.database import is_disk_full
from arkor.serving.refusal import Refusal

log = logging.getLogger("arkor.backend")

MAX_BODY_BYTES = 16 * 1024**2  # of every request but the upload of a data set
NO_SPACE = "There is no space left on the backend's disk: free some, then try again."
_NO_SPACE_CODES = frozenset({errno.ENOSPC, errno.EDQUOT})


def create_app(backend: Backend) -> Flask:
    """Make the application that serves a backend."""
    app = Flask("arkor.backend", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.url_map.merge_slashes = False  # a redirect would be no JSON answer
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions[EXTENSION] = backend
    app.before_request(guard.check_request)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.register_error_handler(Refusal, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(OSError, _os_error)
    app.register_error_handler(OperationalError, _database_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _error(status: int, text: str) -> tuple[Response, int]:
    return jsonify({"error": text}), status


def _refused(exc: Refusal) -> tuple[Response, int, dict[str, str]]:
    return jsonify(exc.body), exc.status, exc.headers


def _http_error(exc: HTTPException) -> tuple[Response, int]:
    answer, status = _error(exc.code or 500, exc.description or exc.name)
    for name, value in exc.get_headers():
        if name.lower() != "content-type":  # such as the Allow of a 405
            answer.headers[name] = value
    return answer, status


def _os_error(exc: OSError) -> tuple[Response, int]:
    return _error(507, NO_SPACE) if exc.errno in _NO_SPACE_CODES else _unexpected(exc)


def _database_error(exc: OperationalError) -> tuple[Response, int]:
    return _error(507, NO_SPACE) if is_disk_full(exc) else _unexpected(exc)


def _unexpected(exc: Exception) -> tuple[Response, int]:
    log.error("A request failed", exc_info=exc)
    return _error(500, f"The backend failed ({type(exc).__name__}); its log says more.")
