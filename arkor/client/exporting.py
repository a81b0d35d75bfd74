"""Exporting what a job trained: the backend makes a folder that other programs load; this waits, and fetches it.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.client.export_settings import ExportSettings
from arkor.client.waiting import Waiter
from arkor.errors import ArkorError, ExportFailed
from arkor.options import unknown_option
from arkor.protocol.exports import Export, ExportOptions
from arkor.protocol.jobs import JobStatus

_TRAVELLING = ("to", "step", "dtype", "quantization", "adapter_only", "check")


@attrs.frozen(kw_only=True)
class Exporter(Waiter):
    """Exports the jobs of one project."""

    def export(self, job_id: str, settings: ExportSettings) -> Path:
        """Have a job exported, wait for it, and fetch it.

        Returns:
            The folder of the export, in ``dest``.

        Raises:
            UnknownOption, ConfigError: a setting is none, or out of its range; nothing was sent.
            UnsupportedByBackend: the backend makes no exports.
            ExportFailed: it could not be made, answers otherwise than chats, or was cancelled.
            ArkorError: it cannot be written here.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed; the export goes on.
        """
        given: Mapping[str, Any] = settings
        for name in given:
            if name not in ExportSettings.__annotations__:
                raise unknown_option("An export", name, ExportSettings.__annotations__)
        options = ExportOptions.from_wire({name: given[name] for name in _TRAVELLING if name in given})
        self.client.require("exports", "exports")
        with self.limits(settings.get("timeout"), settings.get("abort_event")) as limits:
            key = uuid.uuid4().hex
            made = self.patiently(
                lambda: self.client.create_export(self.scope, job_id, options, idempotency_key=key), limits
            )
            goes_on = f"Export {made.id} goes on: 'arkor jobs show {job_id}' says how far it is."
            ended = self.ended(made, self.client.get_export, limits, settings.get("on_progress"), goes_on=goes_on)
            return self._fetched(ended, Path(settings.get("dest", "exports")))

    def _fetched(self, export: Export, dest: Path) -> Path:
        if export.status != JobStatus.COMPLETED:
            raise ExportFailed(export.id, export.job_id, export.status, export.error or "")
        found = self.client.list_artifacts(self.scope, export.job_id)
        artifact = next((one for one in found if one.name == export.artifact), None)
        if artifact is None:
            raise ArkorError(f"The archive of export {export.id} is no longer on the backend: export again.")
        return self.client.download_artifact(self.scope, export.job_id, artifact, dest)
