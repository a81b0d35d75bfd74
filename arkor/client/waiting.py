"""Waiting for work that the backend does on what a job has made: an evaluation, or an export.

Protocol: docs/protocol.md, "Evaluations", "Exports".
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import attrs

from arkor.client.client import CloudApiClient
from arkor.client.reconnect import until_answered
from arkor.client.stream import ReconnectPolicy
from arkor.errors import Aborted, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from arkor.protocol.jobs import Scope
from arkor.protocol.tasks import JobTask

POLL_S = 0.5

Work = TypeVar("Work", bound=JobTask)
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Waiter:
    """Asks the backend for such work in one project, and waits for it.

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

    @contextlib.contextmanager
    def limits(self, timeout: float | None, abort_event: threading.Event | None) -> Iterator[AbortScope]:
        """Let a timeout in seconds and an abort event end what is done inside the block."""
        with (
            AbortScope(abort_event or self.abort_event, Deadline(timeout)) as limits,
            limits.noticing_the_end(),
            limits.active(),
        ):
            yield limits

    def patiently(self, ask: Callable[[], T], limits: AbortScope) -> T:
        """Make a request, and again while the backend is away; see ``until_answered``."""
        return until_answered(ask, policy=self.policy, limits=limits, check_alive=self.client.check_alive)

    def ended(
        self,
        work: Work,
        get: Callable[[Scope, str, str], Work],
        limits: AbortScope,
        on_progress: Callable[[Work], object] | None,
        *,
        goes_on: str,
    ) -> Work:
        """Wait until work has ended, however it ends.

        Args:
            work: as the backend described it.
            get: asks for it again, by the project, the job and its id.
            limits: end the waiting.
            on_progress: called on this thread with the work whenever it was asked for.
            goes_on: the words of an error that ends the waiting, which say how to go on.

        Raises:
            Aborted, WaitTimeout: as ``limits`` say; the work goes on.
        """
        tell = on_progress or (lambda _: None)
        try:
            while not work.is_terminal:
                tell(work)
                limits.pause(POLL_S)
                job_id, work_id = work.job_id, work.id
                work = self.patiently(lambda: get(self.scope, job_id, work_id), limits)  # noqa: B023  # it is called now
        except (Aborted, WaitTimeout) as exc:
            exc.args = (f"{exc} {goes_on}",)
            raise
        tell(work)
        return work
