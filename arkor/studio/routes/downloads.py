"""Artifacts on their way through to the browser.

Protocol: docs/protocol.md, "Artifacts".
"""

from __future__ import annotations

import contextlib
import functools

from flask import Blueprint, Response, request

from arkor.serving.refusal import Refusal
from arkor.studio.disconnects import cut_visibly, pieces
from arkor.studio.routes.access import ask_project, has_left, studio
from arkor.studio.routes.jobs import safe_name

blueprint = Blueprint("downloads", __name__)


@blueprint.get("/download/<secret>")
def download(secret: str) -> Response:
    """Send the artifact that an address was made for, as it arrives."""
    found = studio().links.use(secret) if request.method == "GET" else None  # a look at the head is no use of it
    if found is None:
        raise Refusal(
            404, "This download's address was used already, or is too old: start it again from the job's page."
        )
    job_id, name = found
    opened = contextlib.ExitStack()
    try:
        limits = opened.enter_context(studio().departures.watching(has_left()))
        ask = functools.partial(ask_project, lambda client, scope: client.open_artifact(scope, job_id, name))
        upstream = limits.opened(ask)
        opened.callback(upstream.close)
    except BaseException:
        opened.close()
        raise
    body = cut_visibly(pieces(upstream, limits), f"The download of {name} of job {job_id}")
    response = Response(body, mimetype="application/x-tar")
    response.call_on_close(opened.close)  # also where nobody read a byte
    if "Content-Length" in upstream.headers:
        response.headers["Content-Length"] = upstream.headers["Content-Length"]
    response.headers["Content-Disposition"] = f'attachment; filename="{safe_name(f"{job_id}-{name}")}.tar"'
    response.headers["Cache-Control"] = "no-store"
    return response
