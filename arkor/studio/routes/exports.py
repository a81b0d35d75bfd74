"""Exports of what a job trained; their archives are artifacts of the job.

Protocol: docs/protocol.md, "Exports"; docs/studio.md for what the page gets.
"""

from __future__ import annotations

from arkor.client.client import CloudApiClient
from arkor.protocol.exports import ExportOptions
from arkor.studio.routes.tasks import task_routes

blueprint = task_routes(
    "export",
    ExportOptions.from_wire,
    listing=CloudApiClient.list_exports,
    creating=CloudApiClient.create_export,
    cancelling=CloudApiClient.cancel_export,
)
