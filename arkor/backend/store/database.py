"""The SQLite file: how it is opened, read and written."""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from arkor.backend.store import schema
from arkor.errors import LocalBackendError
from arkor.protocol.proof import secret_of

log = logging.getLogger("arkor.backend")

BUSY_TIMEOUT_S = 10.0
RESERVE_BYTES = 1024 * 1024
_FORGET_TIMEOUT_S = 1.0
_FORGETS = "arkor_forgets"
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # lowercase base32


def now() -> str:
    """Return the time, ISO 8601, UTC, to the millisecond, with a Z."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(prefix: str) -> str:
    """Return a random id such as ``job_k3v…``: 20 characters of base32, 100 bits."""
    return f"{prefix}_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(20))


def new_token() -> str:
    """Return a bearer token of 32 random bytes."""
    return secrets.token_urlsafe(32)


def is_disk_full(exc: OperationalError) -> bool:
    """Whether a query failed for want of space."""
    return "disk is full" in str(exc)


def digest(token: str) -> str:
    """Return what is stored of a token. It is random and long, so a plain SHA-256 gives nothing away."""
    return secret_of(token)


def forget(connection: Connection) -> None:
    """Have what this change removes leave the disk after it: the write-ahead log still has the former content."""
    connection.info[_FORGETS] = True


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


class Database:
    """The backend's SQLite file, in WAL mode: one writer, many readers. Thread-safe.

    Args:
        path: the file; made where missing, readable by its owner alone.

    Raises:
        LocalBackendError: a newer arkor wrote the file.
    """

    def __init__(self, path: Path) -> None:
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
        self._must_forget = True  # what an earlier process removed just before it was killed
        self._create_tables()
        self._reserve = _Reserve(path.with_name(f"{path.name}.reserve"))

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose queries all see one state of the database."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes are all stored when the block ends, or none where it raises.

        Raises:
            OperationalError: among others where the disk is full; another try may then succeed, see ``_Reserve``.
        """
        try:
            with self._writing:
                with self._writer.begin() as connection:
                    yield connection
                    self._must_forget |= connection.info.pop(_FORGETS, False)
                if self._must_forget:
                    self._forget()
        except OperationalError as exc:
            if is_disk_full(exc):
                self._reserve.give_up()
            raise

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
        """Write something that changes nothing.

        Args:
            patience_s: how long to wait for another writer of this process, in seconds.

        Raises:
            TimeoutError: another writer did not end in that time.
            OperationalError: the write failed.
        """
        if not self._writing.acquire(timeout=patience_s):
            raise TimeoutError(f"Another writer has not ended for {patience_s:g} s")
        try:
            with self._writer.begin() as connection:
                connection.exec_driver_sql(f"PRAGMA user_version = {schema.VERSION}")
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _create_tables(self) -> None:
        with self.write() as connection:
            found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if found > schema.VERSION:
                raise LocalBackendError(
                    f"{self._engine.url.database} was written by a newer arkor (its tables are version {found}, "
                    f"this one knows {schema.VERSION}): upgrade arkor, or use another data folder."
                )
            for version in range(found or schema.VERSION, schema.VERSION):  # 0: there are no tables yet
                for change in schema.UPGRADES[version]:
                    connection.exec_driver_sql(change)
            schema.metadata.create_all(connection)
            for table in schema.metadata.sorted_tables:  # one may be newer than its table; no version needs it
                for index in table.indexes:
                    index.create(connection, checkfirst=True)
            connection.exec_driver_sql(f"PRAGMA user_version = {schema.VERSION}")


def _prepare(connection: Any, _record: Any) -> None:
    # The driver would begin transactions by itself, late and deferred; _begin does it instead.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: one that upgraded later could fail without waiting.
    writes = connection.get_execution_options().get("arkor_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
