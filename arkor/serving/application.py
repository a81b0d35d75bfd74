"""A Flask application whose every answer is JSON, errors included: what the backend and Studio have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs
from flask import Blueprint, Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from arkor.serving.bodies import Admission, Gate, refusal_of
from arkor.serving.refusal import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_BODY_BYTES = 16 * 1024**2  # of a request; a route that takes more says so itself


@attrs.frozen
class Unexpected:
    """Answers an error that nobody foresaw: the log gets all of it, the client its kind.

    Attributes:
        who: the subject of the answer's sentence, such as "The backend".
        where: the reader finds the rest there, such as "its log".
        log: gets the traceback.
    """

    who: str
    where: str
    log: logging.Logger

    def __call__(self, exc: Exception) -> tuple[Response, int]:
        """Answer with status 500."""
        self.log.error("A request failed", exc_info=exc)
        return error(500, f"{self.who} failed ({type(exc).__name__}); {self.where} says more.")


def create_json_app(
    name: str, blueprints: Iterable[Blueprint], *, check: Callable[[], None], unexpected: Unexpected
) -> Flask:
    """Make an application.

    Args:
        name: its import name.
        blueprints: its routes.
        check: raises a Refusal for a request that no route may see.
        unexpected: answers every error without a handler of its own.
    """
    app = Flask(name, static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    app.url_map.merge_slashes = False  # a redirect would be no JSON answer
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(_raise_refusal)
    app.before_request(check)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    app.register_error_handler(Refusal, refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, unexpected)
    return app


def gate_of(app: Flask, admit: Callable[[], Admission]) -> Gate:
    """Return the gate in front of an application: it refuses what the application refuses by a request's head.

    Args:
        app: the application, made by ``create_json_app``.
        admit: decides about a request that has a route; it may use ``flask.request``, but for its body.
    """

    def gate(environ: WSGIEnvironment) -> Admission:
        with app.request_context(environ):
            app.preprocess_request()
            if request.routing_exception is not None:
                raise request.routing_exception
            return admit()

    return gate


def error(status: int, text: str) -> tuple[Response, int]:
    """Return an answer that is an error."""
    return jsonify({"error": text}), status


def refused(refusal: Refusal) -> tuple[Response, int, dict[str, str]]:
    """Return the answer that a refusal stands for."""
    return jsonify(refusal.body), refusal.status, refusal.headers


def _raise_refusal() -> None:
    refusal = refusal_of(request.environ)
    if refusal is not None:
        raise refusal


def _http_error(exc: HTTPException) -> tuple[Response, int]:
    answer, status = error(exc.code or 500, exc.description or exc.name)
    for name, value in exc.get_headers():
        if name.lower() != "content-type":  # such as the Allow of a 405
            answer.headers[name] = value
    return answer, status
