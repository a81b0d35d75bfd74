"""The parts of a running Studio, which the routes share."""

from __future__ import annotations

import contextlib
import functools
import secrets
import threading
from pathlib import Path

import attrs

from arkor.errors import Conflict
from arkor.studio.disconnects import Departures
from arkor.studio.download_links import Links
from arkor.studio.drafts import Drafts
from arkor.studio.history import Histories
from arkor.studio.manifest import Manifest
from arkor.studio.runs import Runs
from arkor.studio.upstream import Upstream

TOKEN_BYTES = 32
STREAM_CAP = 64
LOG_CAP = 24


@attrs.define
class Studio:
    """One launch of Studio.

    Attributes:
        project_dir: the folder whose project it shows; absolute.
        local: whether it shows this user's own backend, as ``--local`` asks.
        token: what requests to the API carry; of this launch alone.
        manifest: tells what the project's entry exports.
        drafts: tells which job a run would submit.
        runs: starts and stops trainings.
        stopping: set when the server stops; what streams looks at it, and ends.
        upstream: the backend.
        departures: ends what is read for browsers that have left.
        histories: what jobs have told so far.
        links: addresses of downloads.
        stream_slots: one for each event stream that may be open.
        log_slots: one for each reader that the log of a run may have.
        ping_s: seconds of silence after which an event stream gets a ping.

    Thread-safety: safe, requests share it.
    """

    project_dir: Path
    local: bool
    token: str = attrs.field(repr=False)
    manifest: Manifest
    drafts: Drafts
    runs: Runs
    stopping: threading.Event
    upstream: Upstream
    departures: Departures
    histories: Histories = attrs.field(factory=Histories)
    links: Links = attrs.field(factory=Links)
    stream_slots: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(STREAM_CAP))
    log_slots: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(LOG_CAP))
    ping_s: float = 5.0

    @classmethod
    def of(cls, project_dir: Path, *, local: bool) -> Studio:
        """Put a Studio together, with a token of its own."""
        upstream, stopping = Upstream("local" if local else None, project_dir), threading.Event()
        return cls(
            project_dir=project_dir,
            local=local,
            token=secrets.token_urlsafe(TOKEN_BYTES),
            manifest=Manifest(project_dir),
            drafts=Drafts(project_dir),
            runs=Runs(project_dir, local=local, cancel=functools.partial(_cancel, upstream)),
            stopping=stopping,
            upstream=upstream,
            departures=Departures(stopping),
        )

    @property
    def backend(self) -> str | None:
        """The backend as ``CloudApiClient.connect`` takes it; None for the default one."""
        return "local" if self.local else None


def _cancel(upstream: Upstream, job_id: str) -> None:
    with contextlib.suppress(Conflict):  # it has ended already
        upstream.ask_project(lambda client, scope: client.cancel_job(scope, job_id))
