"""Whether a backend can do its work now: its disk, its database, its storage and its scheduler.

Protocol: docs/protocol.md, "Readiness".
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from pathlib import Path

from arkor.backend.jobs.scheduler import Scheduler
from arkor.backend.storage.interface import Storage
from arkor.backend.store import Store
from arkor.backend.store.database import UNAVAILABLE, reason_of
from arkor.errors import StorageError

log = logging.getLogger("arkor.backend")

LEAST_FREE_BYTES = 64 * 1024**2
LONGEST_SILENCE_S = 60.0
_PATIENCE_S = 5.0  # for the database's writer, and for an earlier probe
_KEPT_S = 1.0  # each look writes to the disk
_STORAGE_KEPT_S = 30.0  # each look makes requests that S3 charges for
_WRITTEN = bytes(4096)


class StorageLook:
    """Looks from time to time whether a storage can be used. Thread-safe.

    A thread of its own looks: a storage that is away is asked again for longer than a monitor waits.

    Args:
        storage: is written, listed and emptied of what was written.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._changed = threading.Condition()
        self._began: float | None = None  # the look under way
        self._found: str | None = None
        self._kept_until = 0.0

    def problem(self) -> str | None:
        """Return why the storage cannot be used; None if it could when it was last looked at, at most 30 s ago."""
        with self._changed:
            if self._began is None and time.monotonic() >= self._kept_until:
                threading.Thread(target=self._look, name="storage-look", daemon=True).start()
                self._began = time.monotonic()
            if self._began is not None:
                left_s = max(0.0, self._began + _PATIENCE_S - time.monotonic())
                self._changed.wait_for(lambda: self._began is None, left_s)
            late = None if self._began is None else f"It has had no answer for {_PATIENCE_S:g} s."
            return self._found or late

    def _look(self) -> None:
        found = None
        try:
            self._storage.check()
        except (StorageError, OSError) as exc:  # a monitor needs no login, and the text names places
            log.warning("The storage cannot be used: %s", exc)
            found = "Nothing can be stored there now. The log of the backend has the reason."
        with self._changed:
            self._found, self._began = found, None
            self._kept_until = time.monotonic() + (_STORAGE_KEPT_S if found is None else _KEPT_S)
            self._changed.notify_all()


class Readiness:
    """Looks for what keeps a backend from its work. Thread-safe.

    Args:
        data: the data folder.
        store: the database.
        scheduler: starts the jobs' workers.
        storage: where the files of jobs are; None if that is the data folder.
    """

    def __init__(self, data: Path, store: Store, scheduler: Scheduler, storage: Storage | None = None) -> None:
        self._data = data
        self._store = store
        self._scheduler = scheduler
        self._storage = None if storage is None else StorageLook(storage)
        self._looking = threading.Lock()
        self._found: dict[str, str] = {}
        self._kept_until = 0.0

    def problems(self) -> dict[str, str]:
        """Return a reason for each of ``disk``, ``database``, ``storage`` and ``scheduler`` that is not ready.

        They are at most a second old; that of ``storage``, if it was ready, 30 s.
        ``probe`` stands for all of them while an earlier look gets no answer.

        Example:
            ``{"disk": "12 MiB are free, and 64 MiB are needed."}``
        """
        if not self._looking.acquire(timeout=_PATIENCE_S):
            return {"probe": f"An earlier one has had no answer for {_PATIENCE_S:g} s."}
        try:
            if time.monotonic() >= self._kept_until:
                reasons = {
                    "disk": self._disk(),
                    "database": self._database(),
                    "storage": None if self._storage is None else self._storage.problem(),
                    "scheduler": self._scheduling(),
                }
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
