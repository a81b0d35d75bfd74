"""Jobs that are tried again later, and when."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs


@attrs.frozen
class _Retry:
    """A job that is tried again.

    Attributes:
        failures: how often it has failed in a row.
        due: when it is tried again, by the clock.
    """

    failures: int
    due: float


class Retries:
    """Counts the failures of each job, and puts it off for twice as long after each. Thread-safe.

    Args:
        first_delay_s: seconds until the second try.
        longest_delay_s: no delay is longer.
        monotonic: the clock, in seconds.
    """

    def __init__(self, first_delay_s: float, longest_delay_s: float, monotonic: Callable[[], float]) -> None:
        self._first_delay_s = first_delay_s
        self._longest_delay_s = longest_delay_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._retries: dict[str, _Retry] = {}

    def note(self, job_id: str) -> tuple[int, float]:
        """Count a failure; return how many there were in a row, and the seconds until the next try."""
        with self._lock:
            former = self._retries.get(job_id)
            failures = 1 if former is None else former.failures + 1
            delay = min(self._first_delay_s * 2.0 ** (failures - 1), self._longest_delay_s)
            self._retries[job_id] = _Retry(failures, self._monotonic() + delay)
        return failures, delay

    def forget(self, job_id: str) -> None:
        """Forget a job that did not fail, or has ended."""
        with self._lock:
            self._retries.pop(job_id, None)

    def put_off(self) -> dict[str, float]:
        """Return the jobs whose turn has not come, and when it comes, by the clock."""
        now = self._monotonic()
        with self._lock:
            return {job_id: retry.due for job_id, retry in self._retries.items() if retry.due > now}
