"""The job that goes on from a trainer's failed or cancelled one.

Protocol: docs/protocol.md, "Resuming a job".
"""

from __future__ import annotations

import uuid

from arkor.client.client import CloudApiClient
from arkor.errors import CloudApiError
from arkor.http.abort import AbortScope, Deadline
from arkor.http.transport import retry_delay_s
from arkor.protocol.jobs import Scope
from arkor.text import one_line
from arkor.trainer.start import Starter

LONGEST_LEAVING_S = 60.0  # a backend kills a worker that does not leave sooner


class Resumption:
    """Makes a trainer's resumed job, once: the key in its request lets the backend find the job that it made.

    Args:
        starter: the trainer's.

    Thread-safety: ``make`` by one thread at a time.
    """

    def __init__(self, starter: Starter) -> None:
        self._starter = starter
        self._idempotency_key = uuid.uuid4().hex
        self._was_sent = False
        self._made: Starter | None = None

    def make(self, deadline: Deadline) -> Starter:
        """Return a starter of the job that goes on from the trainer's; the job is made where it was not.

        The abort event and the deadline break this off at once; calling again finds the job that was made.

        Raises:
            RuntimeError: the trainer has no job.
            UnsupportedByBackend, Conflict: as ``CloudApiClient.resume_job`` raises.
            Aborted, WaitTimeout: the abort event was set, or the deadline passed.
            ConnectionFailed, CloudApiError: the backend did not answer, or refused.
        """
        job_id = self._starter.job_id
        if job_id is None:
            raise RuntimeError("resume() comes too early: the job was not started.")
        if self._made is None:
            with AbortScope(self._starter.abort_event, deadline) as limits, limits.noticing_the_end(), limits.active():
                self._made = self._send_patiently(job_id, limits)
        return self._made

    def state(self) -> str:
        """Return a sentence that says what became of the new job when the call is broken off."""
        job_id = one_line(self._starter.job_id or "")
        if self._made is not None:
            return f"Job {one_line(self._made.job_id or '')} goes on from job {job_id}: resume() returns its trainer."
        if self._was_sent:
            return f"A job that goes on from job {job_id} may have been made: resume() finds it."
        return f"Job {job_id} was not resumed."

    def _send_patiently(self, job_id: str, limits: AbortScope) -> Starter:
        """Send the request, and again while the worker of the ended job has not left."""
        client, scope = self._starter.connect()
        patience = Deadline(LONGEST_LEAVING_S)
        while True:
            try:
                return self._send(client, scope, job_id)
            except CloudApiError as exc:
                if exc.status != 503 or exc.retry_after is None or not patience.remaining():
                    raise
                limits.pause(retry_delay_s(1, exc))

    def _send(self, client: CloudApiClient, scope: Scope, job_id: str) -> Starter:
        self._was_sent = True
        job = client.resume_job(scope, job_id, idempotency_key=self._idempotency_key)
        return self._starter.following(job, client, scope)
