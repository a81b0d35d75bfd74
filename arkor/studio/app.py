"""Studio's HTTP application: its routes, and how errors become answers."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from arkor.errors import ArkorError
from arkor.studio import guard
from arkor.studio.routes import BLUEPRINTS
from arkor.studio.routes.access import EXTENSION, add_notices
from arkor.studio.state import Studio
from arkor.studio.upstream import refusal_of

log = logging.getLogger("arkor.studio")

MAX_BODY_BYTES = 16 * 1024**2  # what a backend takes


def create_app(studio: Studio) -> Flask:
    """Make the application that serves a Studio; ``guard.Fence`` goes in front of it."""
    app = Flask("arkor.studio", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.url_map.merge_slashes = False  # a redirect would be no JSON answer
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions[EXTENSION] = studio
    app.before_request(guard.check_request)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.after_request(add_notices)
    app.register_error_handler(ArkorError, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(Exception, _unexpected)
    return app


def _refused(exc: ArkorError) -> tuple[Response, int, dict[str, str]]:
    refusal = refusal_of(exc)
    return jsonify(refusal.body), refusal.status, refusal.headers


def _http_error(exc: HTTPException) -> tuple[Response, int]:
    answer = jsonify({"error": exc.description or exc.name})
    for name, value in exc.get_headers():
        if name.lower() != "content-type":  # such as the Allow of a 405
            answer.headers[name] = value
    return answer, exc.code or 500


def _too_deep(_: RecursionError) -> tuple[Response, int]:
    return jsonify({"error": "JSON that is nested so deeply is not read."}), 400


def _unexpected(exc: Exception) -> tuple[Response, int]:
    log.error("A request failed", exc_info=exc)
    return jsonify({"error": f"Studio failed ({type(exc).__name__}); its output in the terminal says more."}), 500
