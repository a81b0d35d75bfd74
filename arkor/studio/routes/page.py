"""The page and its files."""

from __future__ import annotations

import functools
import json
from pathlib import Path, PurePosixPath

from flask import Blueprint, Response, send_file, send_from_directory

from arkor.protocol.metrics import METRICS
from arkor.serving.refusal import Refusal
from arkor.studio.routes.access import studio
from arkor.studio.settings import settings_table

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


@blueprint.get("/static/job/<any(metrics, settings):name>.js")
def table(name: str) -> Response:
    """Answer with the table of metrics or of settings, as a module of the page."""
    return Response(TABLES[f"job/{name}.js"](), mimetype=_TYPES[".js"])


def _metrics_module() -> str:
    return f"export const METRICS = {json.dumps([metric.to_wire() for metric in METRICS])};\n"


def _settings_module() -> str:
    return f"export const SETTINGS = {json.dumps(settings_table())};\n"


TABLES = {"job/metrics.js": _metrics_module, "job/settings.js": _settings_module}
"""The page's modules that have a table of the library, by their names below /static/."""


@functools.cache
def _plotly_file() -> Path:
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
