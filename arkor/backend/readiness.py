"""Whether a backend can do its work now: its disk, its database and its scheduler.

Protocol: docs/protocol.md, "Readiness".
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

from arkor.backend.jobs.scheduler import Scheduler
from arkor.backend.store import Store
from arkor.backend.store.database import UNAVAILABLE, reason_of

LEAST_FREE_BYTES = 64 * 1024**2
LONGEST_SILENCE_S = 60.0
_PATIENCE_S = 5.0  # for the database's writer, and for an earlier probe
_KEPT_S = 1.0  # each look writes to the disk
_WRITTEN = bytes(4096)


class Readiness:
    """Looks for what keeps a backend from its work. Thread-safe.

    Args:
        data: the data folder.
        store: the database.
        scheduler: starts the jobs' workers.
    """

    def __init__(self, data: Path, store: Store, scheduler: Scheduler) -> None:
        self._data = data
        self._store = store
        self._scheduler = scheduler
        self._looking = threading.Lock()
        self._found: dict[str, str] = {}
        self._kept_until = 0.0

    def problems(self) -> dict[str, str]:
        """Return a reason for each of ``disk``, ``database`` and ``scheduler`` that is not ready; at most a second old.

        ``probe`` stands for all of them while an earlier look gets no answer.

        Example:
            ``{"disk": "12 MiB are free, and 64 MiB are needed."}``
        """
        if not self._looking.acquire(timeout=_PATIENCE_S):
            return {"probe": f"An earlier one has had no answer for {_PATIENCE_S:g} s."}
        try:
            if time.monotonic() >= self._kept_until:
                reasons = {"disk": self._disk(), "database": self._database(), "scheduler": self._scheduling()}
                self._found = {name: reason for name, reason in reasons.items() if reason is not None}
                self._kept_until = time.monotonic() + _KEPT_S
            return self._found
        finally:
            self._looking.release()

    def _disk(self) -> str | None:
        try:
            found = os.statvfs(self._data)
            free = found.f_bavail * found.f_frsize
            if free < LEAST_FREE_BYTES:
                return f"{free // 1024**2} MiB are free, and {LEAST_FREE_BYTES // 1024**2} MiB are needed."
            with tempfile.TemporaryFile(dir=self._data, prefix=".probe.", buffering=0) as file:
                file.write(_WRITTEN)
        except OSError as exc:
            return f"The data folder cannot be written: {exc.strerror}."
        return None

    def _database(self) -> str | None:
        try:
            self._store.check(_PATIENCE_S)
        except TimeoutError:
            return f"A write has not been possible for {_PATIENCE_S:g} s."
        except UNAVAILABLE as exc:
            return f"A write failed: {reason_of(exc)}."
        return None

    def _scheduling(self) -> str | None:
        silent_s = self._scheduler.silent_s()
        if silent_s is None:
            return "Its thread has ended. Restart the backend; its log has the reason."
        if silent_s > LONGEST_SILENCE_S:
            return f"It has not moved for {silent_s:.0f} s. Restart the backend if it stays so."
        return None
