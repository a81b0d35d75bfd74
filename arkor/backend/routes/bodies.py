"""Whose request bodies are read, and up to which size.

Protocol: docs/protocol.md, "Addressing a backend": bodies.
"""

from __future__ import annotations

from flask import request

from arkor.backend.routes.access import backend, require_attempt, require_identity
from arkor.backend.routes.datasets import encoding
from arkor.backend.routes.imports import MAX_BYTES as MAX_IMPORT_BYTES
from arkor.backend.row_checks import SMALL_BYTES
from arkor.serving.bodies import Admission

KIB, MIB = 1024, 1024**2

DEFAULT_MAX_BYTES = 64 * KIB
MAX_BYTES = {
    "jobs.create": MIB,
    "inference.chat": MIB,
    "inference.complete": MIB,
    "previews.create": MIB,
    "internal.report": 16 * MIB,  # of 200 events; a worker can only send it again
}
WITHOUT_TOKEN = frozenset({"auth.anonymous", "auth.cli_config", "health.capabilities", "health.healthz"})


def admit() -> Admission:
    """Decide whether the current request's body is read; called before it is.

    Raises:
        Refusal: 401, the route needs a token, and there is none that this backend issued.
    """
    endpoint = request.endpoint or ""
    if endpoint == "internal.report":
        require_attempt((request.view_args or {})["job_id"])
    elif endpoint not in WITHOUT_TOKEN:
        require_identity()
    if endpoint == "datasets.upload":
        return Admission(backend().settings.max_dataset_bytes, is_slow=not _is_small_upload())
    if endpoint == "imports.create":
        return Admission(MAX_IMPORT_BYTES, is_slow=True)
    return Admission(MAX_BYTES.get(endpoint, DEFAULT_MAX_BYTES))


def _is_small_upload() -> bool:
    """Whether no process is needed to check an upload, so that it need not wait for others that need one."""
    length = request.content_length
    return not encoding() and length is not None and length <= SMALL_BYTES
