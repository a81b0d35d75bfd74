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
from arkor.studio.departures import Departures
from arkor.studio.history import Histories
from arkor.studio.links import Links
from arkor.studio.manifest import Manifest
from arkor.studio.runs import Runs
from arkor.studio.upstream import Upstream

TOKEN_BYTES = 32
STREAM_CAP = 64


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
        upstream: the backend.
        departures: ends what is read for browsers that have left.
        histories: what jobs have told so far.
        links: addresses of downloads.
        stream_slots: one for each event stream that may be open.
        ping_s: seconds of silence after which an event stream gets a ping.

    Thread-safety: safe, requests share it.
    """

    project_dir: Path
    local: bool
    token: str = attrs.field(repr=False)
    manifest: Manifest
    runs: Runs
    stopping: threading.Event = attrs.field(factory=threading.Event)
    upstream: Upstream = attrs.field(init=False)
    departures: Departures = attrs.field(init=False)
    histories: Histories = attrs.field(factory=Histories, init=False)
    links: Links = attrs.field(factory=Links, init=False)
    stream_slots: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(STREAM_CAP))
    ping_s: float = 5.0

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

    @upstream.default
    def _make_upstream(self) -> Upstream:
        return Upstream(self.backend, self.project_dir)

    @departures.default
    def _make_departures(self) -> Departures:
        return Departures(self.stopping)


def _backend(local: bool) -> str | None:
    return "local" if local else None


def _cancel(project_dir: Path, local: bool, job_id: str) -> None:
    client = CloudApiClient.connect(_backend(local))
    try:
        with contextlib.suppress(Conflict):  # it has ended already
            client.cancel_job(ensure_project(client, project_dir, create=False), job_id)
    finally:
        client.close()
