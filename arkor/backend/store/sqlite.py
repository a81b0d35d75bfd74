"""The database in a SQLite file, which one server has for itself."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from arkor.backend.store import migrating
from arkor.backend.store.database import Database, forgets, is_disk_full
from arkor.backend.store.feed import Feed

log = logging.getLogger("arkor.backend")

BUSY_TIMEOUT_S = 10.0
RESERVE_BYTES = 1024 * 1024
_FORGET_TIMEOUT_S = 1.0


class _Reserve:
    """Space that is held back, so that the news of a full disk can still be stored.

    It is given up when a write finds the disk full; whoever wrote tries again. The next start makes it anew, and so
    does a job that was paused because the disk was full, when there is room for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.make()

    def make(self) -> None:
        try:
            self._path.write_bytes(bytes(RESERVE_BYTES))
        except OSError as exc:
            log.warning("No space is held back for the news of a full disk: %s", exc)
            self._path.unlink(missing_ok=True)

    def give_up(self) -> None:
        if self._path.exists():
            log.warning("The disk is full: giving up the %d KiB that were held back", RESERVE_BYTES // 1024)
            self._path.unlink(missing_ok=True)


class SqliteDatabase(Database):
    """A SQLite file in WAL mode: one writer, many readers. Thread-safe.

    Args:
        path: the file; made where missing, readable by its owner alone.
        feed: hears of what was stored.

    Raises:
        LocalBackendError: a newer arkor wrote the file.
    """

    def __init__(self, path: Path, feed: Feed) -> None:
        super().__init__(feed)
        path.touch(mode=0o600)
        url = URL.create("sqlite", database=str(path))
        # Readers come and go quickly: a pool without a ceiling never makes a request wait for another's connection.
        self._engine = create_engine(
            url, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=8, max_overflow=-1, hide_parameters=True
        )
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(arkor_writes=True)
        self._writing = threading.Lock()
        self._naming = threading.Lock()
        self._named: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
        self._must_forget = True  # what an earlier process removed just before it was killed
        with self.write() as connection:
            migrating.bring_up_to_date(connection, str(path))
        self._reserve = _Reserve(path.with_name(f"{path.name}.reserve"))

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose queries all see one state of the database."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _change(self) -> Iterator[Connection]:
        try:
            with self._writing:
                with self._writer.begin() as connection:
                    yield connection
                    self._must_forget |= forgets(connection)
                if self._must_forget:
                    self._forget()
        except OperationalError as exc:
            if is_disk_full(exc):
                self._reserve.give_up()
            raise

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Let no other thread have a name locked inside the block: no other process has this database."""
        with self._naming:
            lock = self._named.setdefault(name, threading.Lock())
        with lock:
            yield

    def hold_back(self) -> None:
        """Hold back space again for the news of a full disk."""
        self._reserve.make()

    def _forget(self) -> None:
        """Empty the write-ahead log into the file, where removed content is zeros.

        A reader of an old state is in the way: the next write tries again, or the close does it.
        """
        with contextlib.closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            try:
                cursor.execute(f"PRAGMA busy_timeout = {_FORGET_TIMEOUT_S * 1000:.0f}")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                [(is_busy, *_)] = cursor.fetchall()
                self._must_forget = bool(is_busy)
            except sqlite3.OperationalError as exc:  # the disk is full, say; the change itself is stored
                log.warning("Removed content is not off the disk yet: %s", exc)
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")

    def check(self, patience_s: float) -> None:
        """Write something that changes nothing; see ``Database.check``."""
        if not self._writing.acquire(timeout=patience_s):
            raise TimeoutError(f"Another writer has not ended for {patience_s:g} s")
        try:
            with self._writer.begin() as connection:
                connection.exec_driver_sql(f"PRAGMA user_version = {migrating.MANAGED}")
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _prepare(connection: Any, _record: Any) -> None:
    # The driver would begin transactions by itself, late and deferred; _begin does it instead.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: one that upgraded later could fail without waiting.
    writes = connection.get_execution_options().get("arkor_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
