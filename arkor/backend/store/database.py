"""The SQLite file: how it is opened, read and written."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL

from arkor.backend.store import schema
from arkor.errors import LocalBackendError

BUSY_TIMEOUT_S = 10.0
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


def digest(token: str) -> str:
    """Return what is stored of a token. It is random and long, so a plain SHA-256 gives nothing away."""
    return hashlib.sha256(token.encode()).hexdigest()


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
        self._create_tables()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose queries all see one state of the database."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes are all stored when the block ends, or none where it raises."""
        with self._writing, self._writer.begin() as connection:
            yield connection

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
            schema.metadata.create_all(connection)
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
