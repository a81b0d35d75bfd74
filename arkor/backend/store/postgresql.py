"""The database on a PostgreSQL server, which several servers of arkor share.

A change locks the job that it is about first (``lock_job``). So changes of one job follow each other, as they do in
SQLite, and those of other jobs go on meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, TimeoutError as PoolTimeout

from arkor.backend.store import migrating
from arkor.backend.store.database import Database, forgets, reason_of
from arkor.backend.store.feed import Feed
from arkor.backend.store.sql import lock_name
from arkor.errors import LocalBackendError
from arkor.text import first_line

log = logging.getLogger("arkor.backend")

_POOL, _OVERFLOW = 8, 24
_NAMES = 8  # connections that keep names locked: enough are left for the changes that are made meanwhile
_POOL_TIMEOUT_S = 10
_CONNECT_TIMEOUT_S = 10
_KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_MIGRATING = 4_247_470_001  # the advisory lock of whoever changes the tables
_CHANNEL = "arkor_jobs"
_QUEUED = "+"  # behind the id of a job that was put into the queue
_MOST_NEWS = 250  # jobs in one notification, whose payload may have 8,000 bytes
_LOOK_S = 0.5  # between two looks at whether the bell is to be closed
_RETRY_S = 1.0


class PostgresDatabase(Database):
    """A database of a PostgreSQL server. Thread-safe.

    Args:
        url: ``postgresql+psycopg://…``; what it lacks is taken from the variables and files of PostgreSQL's own
            programs (``PGPASSWORD``, ``~/.pgpass``).
        feed: hears of what was stored, by any server.

    Raises:
        LocalBackendError: the database cannot be reached, its driver is not installed, or a newer arkor wrote it.
    """

    is_shared = True

    def __init__(self, url: URL, feed: Feed) -> None:
        super().__init__(feed)
        arguments = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "arkor", **_KEEPALIVE}
        try:
            self._engine = create_engine(
                url,
                connect_args={name: value for name, value in arguments.items() if name not in url.query},
                pool_size=_POOL,
                max_overflow=_OVERFLOW,
                pool_timeout=_POOL_TIMEOUT_S,
                pool_pre_ping=True,  # a connection that was cut while nobody used it is replaced, and no request fails
                hide_parameters=True,
                isolation_level="READ COMMITTED",
            )
        except (ModuleNotFoundError, NoSuchModuleError) as exc:
            raise LocalBackendError(
                f"The database {url.render_as_string()} needs psycopg: pip install 'arkor[postgresql]', and write its "
                "address as postgresql+psycopg://…"
            ) from exc
        self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        try:
            with self._engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
                migrating.bring_up_to_date(connection, url.render_as_string())
        except DBAPIError as exc:
            self._engine.dispose()
            raise LocalBackendError(f"The database {url.render_as_string()} cannot be used: {reason_of(exc)}") from exc
        self._naming = threading.BoundedSemaphore(_NAMES)
        self._bell = _Bell(self._raw_connection, feed)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose queries all see one state of the database."""
        with self._reader.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _change(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection
            forgets(connection)  # removed content leaves the disk when PostgreSQL vacuums its table

    def check(self, patience_s: float) -> None:
        """Write something that changes nothing; see ``Database.check``."""
        try:
            with self._engine.begin() as connection:
                connection.execute(text("SELECT pg_current_xact_id()"))  # a standby or a full disk refuses it
        except PoolTimeout as exc:
            raise TimeoutError(f"No connection has become free for {_POOL_TIMEOUT_S} s") from exc

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Let nobody else, on any server, have a name locked inside the block; see ``Database.locked``."""
        with self._naming, self._engine.begin() as connection:
            lock_name(connection, name)
            yield

    def hold_back(self) -> None:
        """Do nothing: the space is on the disk of PostgreSQL."""

    def close(self) -> None:
        """Close every connection."""
        self._bell.close()
        self._engine.dispose()

    def _spread(self, news: Mapping[str, bool]) -> None:
        super()._spread(news)
        self._bell.ring(news)

    def _raw_connection(self) -> Any:
        """Return a connection of the driver that belongs to no pool, and begins no transactions."""
        connection = self._engine.raw_connection()
        driver: Any = connection.driver_connection
        connection.detach()
        driver.autocommit = True
        return driver


class _Bell:
    """Tells other servers of what this one stored, and hears what they did. Thread-safe.

    It rings after a change was stored, for all changes of the moment at once: a notification within the change would
    make every commit wait for every other one. Whoever may have missed one is told to look at everything.

    Args:
        connect: makes a connection.
        feed: hears of what others stored.
    """

    def __init__(self, connect: Callable[[], Any], feed: Feed) -> None:
        self._connect = connect
        self._feed = feed
        self._name = secrets.token_hex(8)
        self._waiting: dict[str, bool] = {}  # whether the job was put into the queue
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(work,), name=f"bell-{name}", daemon=True)
            for name, work in (("ring", self._ring), ("hear", self._hear))
        ]
        for thread in self._threads:
            thread.start()

    def ring(self, news: Mapping[str, bool]) -> None:
        with self._changed:
            for job_id, queued in news.items():
                self._waiting[job_id] = queued or self._waiting.get(job_id, False)
            self._changed.notify_all()

    def close(self) -> None:
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _keep(self, work: Callable[[Any], None]) -> None:
        """Do a part of the work on a connection, and on another one when that is lost."""
        is_down = False
        while not self._closed.is_set():
            try:
                with contextlib.closing(self._connect()) as connection:
                    is_down = False
                    work(connection)
            except Exception as exc:  # of whatever kind: without it no stream of another server would go on
                if not is_down:
                    log.warning("News of other servers cannot be had, trying again: %s", first_line(exc))
                is_down = True
                self._closed.wait(_RETRY_S)

    def _ring(self, connection: Any) -> None:
        while not self._closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed.is_set())
                news = {job_id: self._waiting.pop(job_id) for job_id in list(self._waiting)[:_MOST_NEWS]}
            words = [job_id + _QUEUED * queued for job_id, queued in news.items()]
            try:
                with contextlib.closing(connection.cursor()) as cursor:
                    cursor.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, " ".join((self._name, *words))))
            except Exception:
                self.ring(news)  # on the next connection
                raise

    def _hear(self, connection: Any) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(f"LISTEN {_CHANNEL}")
        self._feed.hear(None, True)  # of what was stored while nobody listened
        while not self._closed.is_set():
            for notice in connection.notifies(timeout=_LOOK_S):
                sender, *words = notice.payload.split()
                if sender != self._name:
                    self._feed.hear([word.rstrip(_QUEUED) for word in words], _QUEUED in notice.payload)
                if self._closed.is_set():
                    return
