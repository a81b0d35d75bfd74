"""Studio's HTTP application: its routes, and how errors of the library become answers."""

from __future__ import annotations

import logging

from flask import Flask, Response

from arkor.errors import ArkorError
from arkor.serving.application import Unexpected, create_json_app, error, refused
from arkor.studio import guard
from arkor.studio.routes import BLUEPRINTS
from arkor.studio.routes.access import EXTENSION, add_notices
from arkor.studio.state import Studio
from arkor.studio.upstream import refusal_of

_unexpected = Unexpected("Studio", "its output in the terminal", logging.getLogger("arkor.studio"))


def create_app(studio: Studio) -> Flask:
    """Make the application that serves a Studio; ``guard.Fence`` goes in front of it."""
    app = create_json_app("arkor.studio", BLUEPRINTS, check=guard.check_request, unexpected=_unexpected)
    app.extensions[EXTENSION] = studio
    app.after_request(add_notices)
    app.register_error_handler(ArkorError, _library_error)
    app.register_error_handler(RecursionError, _too_deep)
    return app


def _library_error(exc: ArkorError) -> tuple[Response, int, dict[str, str]]:
    return refused(refusal_of(exc))


def _too_deep(_: RecursionError) -> tuple[Response, int]:
    return error(400, "JSON that is nested so deeply is not read.")
