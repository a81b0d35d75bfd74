"""Exporting what a job trained: the backend makes a folder that other programs load; this waits, and fetches it.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.client import hub
from arkor.client.export_settings import ExportSettings
from arkor.client.waiting import Waiter
from arkor.errors import ArkorError, ConfigError, ExportFailed
from arkor.options import unknown_option
from arkor.protocol.exports import ADAPTER, FORMATS, Export, ExportOptions
from arkor.protocol.jobs import JobStatus
from arkor.protocol.wire import wire_name

HUB = "hub"
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_TRAVELLING = ("to", "step", "dtype", "quantization", "adapter_only", "check")


@attrs.frozen
class Exported:
    """An export that was made.

    Attributes:
        folder: its folder, in ``dest``.
        url: its page on the hub, if it was uploaded.
    """

    folder: Path
    url: str | None = None


@attrs.frozen
class _Upload:
    """What is uploaded to the hub, and where to."""

    repo: str
    format: str
    private: bool

    @classmethod
    def read(cls, settings: ExportSettings) -> _Upload | None:
        """Return what settings say of an upload; None if there is to be none.

        Raises:
            ConfigError: they do not fit.
        """
        if settings.get("to") != HUB:
            for name in ("repo", "upload", "private"):
                if settings.get(name) is not None:
                    raise ConfigError(name, f"changes nothing in an export to {settings.get('to')!r}: it is for 'hub'")
            return None
        repo = settings.get("repo")
        if not isinstance(repo, str) or not _REPO.fullmatch(repo):
            raise ConfigError("repo", f"must be the repository to upload to, owner/name, not {repo!r}")
        upload = settings.get("upload") or ADAPTER
        if upload not in FORMATS:
            raise ConfigError("upload", f"must be one of {', '.join(FORMATS)}, not {upload!r}")
        return cls(repo, upload, settings.get("private") is not False)


@attrs.frozen(kw_only=True)
class Exporter(Waiter):
    """Exports the jobs of one project."""

    def export(self, job_id: str, settings: ExportSettings) -> Exported:
        """Have a job exported, wait for it, and fetch it.

        Returns:
            Where it is.

        Raises:
            UnknownOption, ConfigError: a setting is none, or out of its range; nothing was sent.
            UnsupportedByBackend: the backend makes no exports.
            ExportFailed: it could not be made, answers otherwise than chats, or was cancelled.
            ArkorError: it cannot be written here, or the hub refuses it; then its folder is in ``dest`` all the same.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed; the export goes on.
        """
        given: Mapping[str, Any] = settings
        for name in given:
            if name not in ExportSettings.__annotations__:
                raise unknown_option("An export", name, ExportSettings.__annotations__)
        upload = _Upload.read(settings)
        travelling = {wire_name(name): given[name] for name in _TRAVELLING if name in given}
        options = ExportOptions.from_wire({**travelling, **({"to": upload.format} if upload else {})})
        self.client.require("exports", "exports")
        with self.limits(settings.get("timeout"), settings.get("abort_event")) as limits:
            if upload is not None:
                hub.check_allowed(limits)
            key = uuid.uuid4().hex
            made = self.patiently(
                lambda: self.client.create_export(self.scope, job_id, options, idempotency_key=key), limits
            )
            goes_on = f"Export {made.id} goes on: 'arkor jobs show {job_id}' says how far it is."
            ended = self.ended(made, self.client.get_export, limits, settings.get("on_progress"), goes_on=goes_on)
            folder = self._fetched(ended, Path(settings.get("dest", "exports")))
            if upload is None:
                return Exported(folder)
            return Exported(folder, hub.upload(folder, upload.repo, private=upload.private, limits=limits))

    def _fetched(self, export: Export, dest: Path) -> Path:
        if export.status != JobStatus.COMPLETED:
            raise ExportFailed(export.id, export.job_id, export.status, export.error or "")
        found = self.client.list_artifacts(self.scope, export.job_id)
        artifact = next((one for one in found if one.name == export.artifact), None)
        if artifact is None:
            raise ArkorError(f"The archive of export {export.id} is no longer on the backend: export again.")
        return self.client.download_artifact(self.scope, export.job_id, artifact, dest)
