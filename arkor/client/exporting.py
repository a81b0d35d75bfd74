"""Exporting what a job trained: the backend makes a folder that other programs load; this waits, and fetches it.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

import contextlib
import functools
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.client.client import CloudApiClient
from arkor.client.export_settings import ExportSettings
from arkor.client.reconnect import until_answered
from arkor.client.stream import ReconnectPolicy
from arkor.errors import Aborted, ArkorError, ExportFailed, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from arkor.options import unknown_option
from arkor.protocol.exports import Export, ExportOptions
from arkor.protocol.jobs import JobStatus, Scope

POLL_S = 0.5


_TRAVELLING = ("to", "step", "dtype", "check")


@attrs.frozen(kw_only=True)
class Exporter:
    """Exports the jobs of one project.

    Attributes:
        client: the backend.
        scope: the project.
        policy: when to ask again while the backend is away.
        abort_event: ends a call that has no abort event of its own, or None.
    """

    client: CloudApiClient
    scope: Scope
    policy: ReconnectPolicy = attrs.field(factory=ReconnectPolicy)
    abort_event: threading.Event | None = None

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
        with self._limits(settings) as limits:
            key = uuid.uuid4().hex
            made = self._patiently(
                lambda: self.client.create_export(self.scope, job_id, options, idempotency_key=key), limits
            )
            ended = self._ended(made, limits, settings.get("on_progress"))
            return self._fetched(ended, Path(settings.get("dest", "exports")))

    @contextlib.contextmanager
    def _limits(self, settings: ExportSettings) -> Iterator[AbortScope]:
        event = settings.get("abort_event") or self.abort_event
        with (
            AbortScope(event, Deadline(settings.get("timeout"))) as limits,
            limits.noticing_the_end(),
            limits.active(),
        ):
            yield limits

    def _ended(self, export: Export, limits: AbortScope, on_progress: Callable[[Export], object] | None) -> Export:
        try:
            while not export.is_terminal:
                if on_progress is not None:
                    on_progress(export)
                limits.pause(POLL_S)
                export = self._patiently(functools.partial(self._get, export), limits)
        except (Aborted, WaitTimeout) as exc:
            exc.args = (f"{exc} Export {export.id} goes on: 'arkor jobs show {export.job_id}' says how far it is.",)
            raise
        if on_progress is not None:
            on_progress(export)
        if export.status != JobStatus.COMPLETED:
            raise ExportFailed(export.id, export.job_id, export.status, export.error or "")
        return export

    def _fetched(self, export: Export, dest: Path) -> Path:
        found = self.client.list_artifacts(self.scope, export.job_id)
        artifact = next((one for one in found if one.name == export.artifact), None)
        if artifact is None:
            raise ArkorError(f"The archive of export {export.id} is no longer on the backend: export again.")
        return self.client.download_artifact(self.scope, export.job_id, artifact, dest)

    def _get(self, export: Export) -> Export:
        return self.client.get_export(self.scope, export.job_id, export.id)

    def _patiently(self, ask: Callable[[], Export], limits: AbortScope) -> Export:
        return until_answered(ask, policy=self.policy, limits=limits, check_alive=self.client.check_alive)
