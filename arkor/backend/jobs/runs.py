"""An attempt that is under way, and how long its worker may still be silent."""

from __future__ import annotations

import attrs

from arkor.backend.processes.engine import WorkerHandle


@attrs.define
class Run:
    """An attempt that is under way.

    Attributes:
        job_id: the job's.
        attempt: its number, from 1.
        lease_s: seconds that its worker may be silent; only time in which this process is awake counts.
        lease_left_s: how much of that is left.
        handle: its worker; None before its start, or if an earlier backend process was killed before it.
        gpus: the CUDA devices that its worker has; none on the processor.
        kills_before: how many processes the kernel had killed for want of memory when it was started; None if that is
            not known.
        adopted: whether another backend process started it, so that no thread waits for its end.
        elsewhere: whether its worker is on another machine, where this process cannot look; only its reports count.
        grace_left_s: seconds until the worker is killed, or None; counted as the lease is.
        kept_threads: how many threads it computes on, if it gives no cores away; else 0.
        held_up_s: the longest pause of this process during the attempt.
        silent: whether its lease ran out, or the grace it was given.
        gone: whether the worker has ended.
        exit_code: how it ended, where that is known.
    """

    job_id: str
    attempt: int
    lease_s: float
    lease_left_s: float = attrs.field(init=False)
    gpus: tuple[str, ...] = ()
    handle: WorkerHandle | None = None
    kills_before: int | None = None
    adopted: bool = False
    elsewhere: bool = False
    grace_left_s: float | None = None
    kept_threads: int = 0
    held_up_s: float = 0.0
    silent: bool = False
    gone: bool = False
    exit_code: int | None = None

    @lease_left_s.default
    def _whole_lease(self) -> float:
        return self.lease_s

    @property
    def due_s(self) -> float:
        """Seconds until its worker is killed, as things are now."""
        return self.lease_left_s if self.grace_left_s is None else min(self.grace_left_s, self.lease_left_s)

    def pass_time(self, seconds: float) -> None:
        """Count time in which the worker could have been heard."""
        self.lease_left_s -= seconds
        if self.grace_left_s is not None:
            self.grace_left_s -= seconds

    def held_up(self, seconds: float) -> None:
        """Begin its lease again: for so many seconds the worker could not have been heard."""
        self.held_up_s = max(self.held_up_s, seconds)
        self.begin_lease(self.lease_s)

    def begin_lease(self, lease_s: float) -> None:
        """Give the worker a whole lease from now on."""
        self.lease_s = self.lease_left_s = lease_s
