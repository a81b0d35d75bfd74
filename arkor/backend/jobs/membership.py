"""This server among those that share its database: it says that it is alive, and takes over what others have left.

Leases are counted by the database's clock, so the servers' own clocks may differ. A server whose lease has run out, be
it that the database could not be reached or that its process was held up, finds its attempts taken over, and lets go of
them without a word to their workers: those report to another server by then.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

from arkor.backend.processes.process_start import boot_id
from arkor.backend.store import Store
from arkor.backend.store.database import new_id
from arkor.backend.store.queue import RunningAttempt
from arkor.backend.store.servers import Server
from arkor.system.files import write_atomically

log = logging.getLogger("arkor.backend")

_RENEWALS_A_LEASE = 5
_ID_FILE = "server.id"


class Membership:
    """This server's place among the servers. ``hear`` and ``others`` are thread-safe, the rest is for one thread.

    Args:
        store: the database.
        server: this server; None if it shares the database with no other.
        lease_s: seconds without a sign of life after which others take over what this server has under way.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self, store: Store, server: Server | None, lease_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = store.queue
        self._servers = store.servers
        self._server = server
        self._lease_s = lease_s
        self._monotonic = monotonic
        self._every_s = lease_s / _RENEWALS_A_LEASE
        self._due = monotonic()
        self._others: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._heard: dict[tuple[str, int], float] = {}  # when the next report is passed on

    @property
    def others(self) -> tuple[str, ...]:
        """The addresses of the other servers that are alive."""
        return self._others

    @property
    def due_s(self) -> float | None:
        """Seconds until ``look`` has something to do; None if it never has."""
        return None if self._server is None else max(0.0, self._due - self._monotonic())

    def look(self) -> list[RunningAttempt]:
        """Say that this server is alive, and return the attempts that it looks after by now, oldest job first."""
        if self._server is None:
            return self._queue.running()
        self._servers.renew(self._server, self._lease_s)
        self._due = self._monotonic() + self._every_s
        others = tuple(self._servers.others(self._server))
        if others != self._others:
            log.info("Other servers: %s", ", ".join(others) or "none")
        self._others = others
        return self._queue.take_over()

    def is_here(self, attempt: RunningAttempt) -> bool:
        """Whether an attempt's worker, if it is a process, is one of this machine."""
        return self._server is None or attempt.machine in {None, self._server.machine}

    def hear(self, job_id: str, attempt: int) -> None:
        """Let the server of an attempt know that its worker has reported to this one, now and then."""
        if self._server is None:
            return
        now, key = self._monotonic(), (job_id, attempt)
        with self._lock:
            if now < self._heard.get(key, now):
                return
            self._heard = {known: due for known, due in self._heard.items() if due > now}
            self._heard[key] = now + self._every_s
        self._queue.hear(job_id, attempt)

    def others_heard(self, job_id: str, attempt: int) -> bool:
        """Whether an attempt's worker has reported to another server within a lease."""
        if self._server is None:
            return False
        silent_s = self._queue.silent_s(job_id, attempt)
        return silent_s is not None and silent_s < self._lease_s

    def leave(self) -> None:
        """Say that this server has nothing under way any more."""
        if self._server is not None:
            self._servers.leave(self._server)


def this_server(data: Path, url: str) -> Server:
    """Return how others know the server with this data folder, which keeps its id.

    Args:
        data: the folder, which exists.
        url: where workers and others reach it.

    Raises:
        OSError: the folder cannot be written.
    """
    file = data / _ID_FILE
    if not file.exists():
        write_atomically(file, new_id("server").encode())
    return Server(id=file.read_text().strip(), url=url, machine=f"{platform.node()} {boot_id()}")


def is_of_shared(data: Path) -> bool:
    """Whether the server with this data folder shares a database."""
    return (data / _ID_FILE).exists()


def forget_shared(data: Path) -> None:
    """Remember that the server with this data folder shares no database any more."""
    (data / _ID_FILE).unlink(missing_ok=True)
