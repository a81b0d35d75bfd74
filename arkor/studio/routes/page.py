"""The page and its files."""

from __future__ import annotations

import functools
import json
from pathlib import Path, PurePosixPath

from flask import Blueprint, Response, send_file, send_from_directory

from arkor.protocol.metrics import METRICS
from arkor.serving.refusal import Refusal
from arkor.studio.routes.access import studio

STATIC = Path(__file__).parent.parent / "static"
TOKEN_PLACE = "{{ token }}"

# Not by the machine's own table of types, which may call a script plain text.
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}

blueprint = Blueprint("page", __name__)


@blueprint.get("/")
def index() -> Response:
    """Answer with the page; it carries the token."""
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    return Response(page.replace(TOKEN_PLACE, studio().token), mimetype="text/html")


@blueprint.get("/static/<path:name>")
def static(name: str) -> Response:
    """Answer with a script, a style or a picture."""
    mimetype = _TYPES.get(PurePosixPath(name).suffix)
    if mimetype is None:
        raise Refusal(404, f"There is no {name}.")
    return send_from_directory(STATIC, name, mimetype=mimetype)


@blueprint.get("/static/plotly.min.js")
def plotly() -> Response:
    """Answer with the script that the plotly package brings."""
    return send_file(_plotly_file(), mimetype=_TYPES[".js"])


@blueprint.get("/static/job/metrics.js")
def metrics() -> Response:
    """Answer with the table of metrics, as a module of the page."""
    return Response(metrics_module(), mimetype=_TYPES[".js"])


def metrics_module() -> str:
    """Return the page's module that has the table of metrics."""
    return f"export const METRICS = {json.dumps([metric.to_wire() for metric in METRICS])};\n"


@functools.cache
def _plotly_file() -> Path:
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
