"""The parts of a running Studio, which the routes share."""

from __future__ import annotations

import contextlib
import functools
import secrets
import threading
from pathlib import Path

import attrs

from arkor.api.client import CloudApiClient
from arkor.errors import Conflict
from arkor.project import ensure_project
from arkor.studio.manifest import Manifest
from arkor.studio.runs import Runs

TOKEN_BYTES = 32


@attrs.define
class Studio:
    """One launch of Studio.

    Attributes:
        project_dir: the folder whose project it shows; absolute.
        local: whether it shows this user's own backend, as ``--local`` asks.
        token: what requests to the API carry; of this launch alone.
        manifest: tells what the project's entry exports.
        runs: starts and stops trainings.
        stopping: set when the server stops; what streams looks at it, and ends.

    Thread-safety: safe, requests share it.
    """

    project_dir: Path
    local: bool
    token: str = attrs.field(repr=False)
    manifest: Manifest
    runs: Runs
    stopping: threading.Event = attrs.field(factory=threading.Event)

    @classmethod
    def of(cls, project_dir: Path, *, local: bool) -> Studio:
        """Put a Studio together, with a token of its own."""
        return cls(
            project_dir=project_dir,
            local=local,
            token=secrets.token_urlsafe(TOKEN_BYTES),
            manifest=Manifest(project_dir),
            runs=Runs(project_dir, local=local, cancel=functools.partial(_cancel, project_dir, local)),
        )

    @property
    def backend(self) -> str | None:
        """The backend as ``CloudApiClient.connect`` takes it; None for the default one."""
        return _backend(self.local)


def _backend(local: bool) -> str | None:
    return "local" if local else None


def _cancel(project_dir: Path, local: bool, job_id: str) -> None:
    client = CloudApiClient.connect(_backend(local))
    try:
        with contextlib.suppress(Conflict):  # it has ended already
            client.cancel_job(ensure_project(client, project_dir, create=False), job_id)
    finally:
        client.close()
