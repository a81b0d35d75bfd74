"""Removing what is old: jobs that ended long ago, and what killed servers have left in the storage."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from arkor.backend.jobs.deletion import Deleter
from arkor.backend.store.database import UNAVAILABLE
from arkor.backend.store.jobs import Jobs
from arkor.errors import StorageError

log = logging.getLogger("arkor.backend")

_LOOK_S = 3600.0
_LOOKS = 4  # in the time after which a job is removed, if that is short


class Retention:
    """Removes what is old, from a thread of its own. Whoever starts it stops it.

    Args:
        retention_s: seconds after which a job that has ended is removed; None keeps all.
        jobs: the jobs.
        deleter: removes jobs.
        delete: removes one job that has ended, unless its worker has not left.
    """

    def __init__(self, retention_s: float | None, jobs: Jobs, deleter: Deleter, delete: Callable[[str], bool]) -> None:
        self._retention_s = retention_s
        self._jobs = jobs
        self._deleter = deleter
        self._delete = delete
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="retention", daemon=True)

    def start(self) -> None:
        """Look now, and then each hour."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and wait until nothing is being removed."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        look_s = _LOOK_S if self._retention_s is None else min(_LOOK_S, self._retention_s / _LOOKS)
        while not self._stopping.is_set():
            try:
                self.look()
            except (OSError, StorageError, *UNAVAILABLE) as exc:
                log.warning("Old jobs stay for now, because they cannot be removed: %s", exc)
            self._stopping.wait(look_s)

    def look(self) -> None:
        """Remove what is old now.

        Raises:
            StorageError: the storage cannot be used.
            DBAPIError: nothing can be stored now.
        """
        self._deleter.settle()
        if self._retention_s is None:
            return
        moment = datetime.now(timezone.utc) - timedelta(seconds=self._retention_s)
        text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for job_id in self._jobs.ended_before(text):
            if self._stopping.is_set():
                return
            if self._delete(job_id):
                log.info("Job %s was removed: it ended before %s", job_id, text)
