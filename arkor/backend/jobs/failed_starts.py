"""Jobs whose workers could not be started, and when each is tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs

_LONGEST_DELAY_S = 60.0


@attrs.frozen
class _FailedStart:
    """A job whose worker could not be started.

    Attributes:
        tries: how often that was tried.
        due: when it is tried again, by the clock.
    """

    tries: int
    due: float


class FailedStarts:
    """Counts the failed starts of each job, and puts it off for twice as long after each. Thread-safe.

    Args:
        first_delay_s: seconds until the second try; no delay is longer than a minute.
        monotonic: the clock, in seconds.
    """

    def __init__(self, first_delay_s: float, monotonic: Callable[[], float]) -> None:
        self._first_delay_s = first_delay_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failed: dict[str, _FailedStart] = {}

    def note(self, job_id: str) -> tuple[int, float]:
        """Count a failed start; return how many tries there were, and the seconds until the next."""
        with self._lock:
            former = self._failed.get(job_id)
            tries = 1 if former is None else former.tries + 1
            delay = min(self._first_delay_s * 2.0 ** (tries - 1), _LONGEST_DELAY_S)
            self._failed[job_id] = _FailedStart(tries, self._monotonic() + delay)
        return tries, delay

    def forget(self, job_id: str) -> None:
        """Forget a job that was started, or has ended."""
        with self._lock:
            self._failed.pop(job_id, None)

    def put_off(self) -> dict[str, float]:
        """Return the jobs whose turn has not come, and when it comes, by the clock."""
        now = self._monotonic()
        with self._lock:
            return {job_id: failed.due for job_id, failed in self._failed.items() if failed.due > now}
