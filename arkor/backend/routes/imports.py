"""Adapters that were trained elsewhere.

Protocol: docs/protocol.md, "Importing an adapter".
"""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, request

from arkor.backend.imports.service import AskedImport
from arkor.backend.jobs.admission import check_name
from arkor.backend.routes.access import backend, idempotency_key, refusing_reused_keys, require_project
from arkor.protocol.checks import TEXT
from arkor.serving.refusal import Refusal

blueprint = Blueprint("imports", __name__)

MAX_BYTES = 4 * 1024**3
_SHA256 = re.compile(r"[0-9a-f]{64}")


@blueprint.post("/v1/jobs/import")
def create() -> tuple[dict[str, Any], int]:
    """Make a finished job of an adapter: 201; 200 with the first one's job for a repeat under the same key."""
    project, asked = require_project(), _asked()
    request.max_content_length = MAX_BYTES
    with refusing_reused_keys():
        job, is_new = backend().importer.make(project, asked, request.stream)
    return {"job": job.to_wire()}, 201 if is_new else 200


def _asked() -> AskedImport:
    given = request.args
    sha256 = given.get("sha256", "")
    if not _SHA256.fullmatch(sha256):
        raise Refusal(400, "sha256: must be the SHA-256 of the body, 64 lowercase hex digits.")
    for name in ("model", "source"):
        if not TEXT.accepts(given.get(name)):
            raise Refusal(422, f"{name}: must be {TEXT.words}, not {given.get(name)!r:.100}")
    if "revision" in given and not TEXT.accepts(given["revision"]):
        raise Refusal(422, f"revision: must be {TEXT.words}, not {given['revision']!r:.100}")
    return AskedImport(
        name=check_name(given.get("name")),
        model=given["model"],
        source=given["source"],
        revision=given.get("revision"),
        sha256=sha256,
        idempotency_key=idempotency_key(),
    )
