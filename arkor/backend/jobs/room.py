"""Jobs that wait for room on the disk.

Protocol: docs/protocol.md, "Jobs": ``paused``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from arkor.backend.jobs.retries import Retries
from arkor.backend.settings import Settings
from arkor.backend.store.queue import Queue
from arkor.protocol.events import DISK_FULL

log = logging.getLogger("arkor.backend")

_LOOK_S = 2.0
_LONGEST_DELAY_S = 3600.0


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder."""
    return shutil.disk_usage(folder).free


class Room:
    """Pauses jobs for which the disk is full, and queues them again when there is room.

    One thread at a time; any may call ``forget``.

    Args:
        queue: the jobs.
        settings: how much room, and every patience.
        monotonic: the clock, in seconds.
    """

    def __init__(self, queue: Queue, settings: Settings, monotonic: Callable[[], float]) -> None:
        self._queue = queue
        self._settings = settings
        self._retries = Retries(settings.disk_retry_s, _LONGEST_DELAY_S, monotonic)
        self._is_new = True
        self._free: dict[str, int] = {}  # what was free for each job that waits, when it began to wait

    def await_room(self, job_id: str, attempt: int) -> None:
        """Pause a job whose attempt has ended because the disk was full."""
        free = free_bytes(self._settings.data)
        reason = f"{DISK_FULL}: {free // 2**20} MiB are free for {self._settings.data}"
        if self._queue.pause_for_room(job_id, attempt, reason):
            self._retries.forget(job_id)
        self._retries.note(job_id)
        self._free[job_id] = free
        log.warning("Job %s, attempt %d: paused, %s", job_id, attempt, reason)

    def look(self, of_others: bool) -> float | None:
        """Queue the jobs again that have room now, or are due; fail those that have waited too long.

        Args:
            of_others: whether other servers may have paused jobs since the last look. The first look finds those that
                an earlier process paused; besides these, only its own pauses make it ask the database.

        Returns:
            The seconds until the next look; None if no job waits.
        """
        if not (of_others or self._is_new or self._free):
            return None
        waiting = self._queue.waiting_for_room()
        self._is_new = False
        for job_id in self._free.keys() - {one.job_id for one in waiting}:
            del self._free[job_id]
        free, put_off = free_bytes(self._settings.data), self._retries.put_off()
        for one in waiting:
            # After a restart of the backend, nobody knows what was free: it is tried at once.
            least = self._free.get(one.job_id, 0) + self._settings.disk_room_bytes
            if one.for_s >= self._settings.disk_patience_s and free < least:
                self._retries.forget(one.job_id)
                self._queue.give_up_waiting(one.job_id, self._last_words(free))
            elif one.job_id not in put_off or free >= least:
                self._queue.try_again(one.job_id)
        return _LOOK_S if waiting else None

    def forget(self, job_id: str) -> None:
        """Forget how often a job has waited, which has ended."""
        self._retries.forget(job_id)

    def _last_words(self, free: int) -> str:
        hours = self._settings.disk_patience_s / 3600
        return (
            f"The disk stayed full for {hours:.3g} h: {free // 2**20} MiB are free for {self._settings.data}. "
            "Make room, then resume the job"
        )
