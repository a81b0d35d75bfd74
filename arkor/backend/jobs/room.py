"""Jobs that wait for room on the disk.

Protocol: docs/protocol.md, "Jobs": ``paused``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs

from arkor.backend.settings import Settings
from arkor.backend.store.queue import Queue
from arkor.protocol.events import DISK_FULL

log = logging.getLogger("arkor.backend")

_LOOK_S = 2.0


@attrs.frozen
class _Wait:
    """A job that waits for room.

    Attributes:
        free_bytes: what was free when it began to wait.
        since: when it began, by the clock.
    """

    free_bytes: int
    since: float


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder."""
    return shutil.disk_usage(folder).free


class Room:
    """Pauses jobs for which the disk is full, and queues them again when there is room. One thread at a time.

    Args:
        queue: the jobs.
        settings: how much room, and every patience.
        monotonic: the clock, in seconds.
    """

    def __init__(self, queue: Queue, settings: Settings, monotonic: Callable[[], float]) -> None:
        self._queue = queue
        self._settings = settings
        self._monotonic = monotonic
        self._waits: dict[str, _Wait] = {}

    def await_room(self, job_id: str, attempt: int) -> None:
        """Pause a job whose attempt has ended because the disk was full."""
        free = free_bytes(self._settings.data)
        self._waits[job_id] = _Wait(free, self._monotonic())
        reason = f"{DISK_FULL}: {free // 2**20} MiB are free for {self._settings.data}"
        self._queue.pause_for_room(job_id, attempt, reason)
        log.warning("Job %s, attempt %d: paused, %s", job_id, attempt, reason)

    def look(self) -> float | None:
        """Queue the jobs again that have room now; fail those that have waited too long.

        Returns:
            The seconds until the next look; None if no job waits.
        """
        waiting = self._queue.waiting_for_room()
        self._waits = {one.job_id: self._waits[one.job_id] for one in waiting if one.job_id in self._waits}
        free, at = free_bytes(self._settings.data), self._monotonic()
        for one in waiting:
            # After a restart of the backend, nobody knows what was free: it is tried at once.
            wait = self._waits.get(one.job_id)
            has_room = wait is None or free >= wait.free_bytes + self._settings.disk_room_bytes
            if has_room or (wait is not None and at - wait.since >= self._settings.disk_retry_s):
                self._queue.try_again(one.job_id)
            elif one.for_s >= self._settings.disk_patience_s:
                self._queue.give_up_waiting(one.job_id, self._last_words(free))
        return _LOOK_S if waiting else None

    def _last_words(self, free: int) -> str:
        hours = self._settings.disk_patience_s / 3600
        return (
            f"The disk stayed full for {hours:.3g} h: {free // 2**20} MiB are free for {self._settings.data}. "
            "Make room, then resume the job"
        )
