"""What the routes of evaluations and of exports have alike: which a job has, asking for one, ending one.

Protocol: docs/protocol.md, "Evaluations", "Exports"; docs/studio.md for what the page gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Blueprint, request

from arkor.client.client import CloudApiClient
from arkor.protocol.jobs import Scope
from arkor.protocol.tasks import JobTask
from arkor.studio.redact import shown
from arkor.studio.routes.access import ask_project, idempotency_key


def task_routes(
    kind: str,
    options: Callable[[Mapping[str, Any]], Any],
    *,
    listing: Callable[[CloudApiClient, Scope, str], Sequence[JobTask]],
    creating: Callable[..., JobTask],
    cancelling: Callable[[CloudApiClient, Scope, str, str], JobTask],
) -> Blueprint:
    """Return the routes of one kind of work on what a job has made.

    Args:
        kind: ``evaluation`` or ``export``.
        options: reads what is asked for.
        listing: the client's call for those that there are, the newest last.
        creating: its call that asks for one.
        cancelling: its call that ends one.
    """
    blueprint = Blueprint(f"{kind}s", __name__)
    path = f"/api/jobs/<job_id>/{kind}s"

    @blueprint.get(path)
    def index(job_id: str) -> dict[str, Any]:
        """List those of a job; none if the backend makes none."""
        return {f"{kind}s": [_shown(one) for one in ask_project(lambda client, scope: listing(client, scope, job_id))]}

    @blueprint.post(path)
    def create(job_id: str) -> dict[str, Any]:
        """Ask the backend for one, and describe it."""
        key = idempotency_key()
        given = request.get_json()
        asked = options({name: given[name] for name in given if name != "idempotencyKey"})
        made = ask_project(lambda client, scope: creating(client, scope, job_id, asked, idempotency_key=key))
        return {kind: _shown(made)}

    @blueprint.post(f"{path}/<task_id>/cancel")
    def cancel(job_id: str, task_id: str) -> dict[str, Any]:
        """Ask the backend to end one, and describe it."""
        ended = ask_project(lambda client, scope: cancelling(client, scope, job_id, task_id))
        return {kind: _shown(ended)}

    return blueprint


def _shown(task: JobTask) -> dict[str, Any]:
    body: dict[str, Any] = shown(task.to_wire())
    return body
