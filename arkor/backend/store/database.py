"""The backend's database: how it is read and written, whichever engine keeps it."""

from __future__ import annotations

import abc
import contextlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from arkor.backend.store.feed import Feed
from arkor.protocol.proof import secret_of

# What a query raises for a reason that passes: the database is full or locked, or cannot be reached.
UNAVAILABLE = (OperationalError, InterfaceError)

_NEWS = "arkor_news"
_FORGETS = "arkor_forgets"
_DISK_FULL_STATE = "53100"  # of PostgreSQL
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
    return secret_of(token)


def is_disk_full(exc: DBAPIError) -> bool:
    """Whether a query failed for want of space."""
    return "disk is full" in str(exc) or getattr(exc.orig, "sqlstate", None) == _DISK_FULL_STATE


def reason_of(exc: DBAPIError) -> str:
    """Return what the database's driver says of a failure, on one line; it names no password."""
    return " ".join(str(exc.orig).split())


def forget(connection: Connection) -> None:
    """Have what this change removes leave the disk after it, where the engine keeps it in a log."""
    connection.info[_FORGETS] = True


def forgets(connection: Connection) -> bool:
    """Return whether ``forget`` was called, for the last time."""
    return bool(connection.info.pop(_FORGETS, False))


def tell(connection: Connection, job_id: str, *, queued: bool = False) -> None:
    """Have the feed hear of a job when this change is stored.

    Args:
        connection: a writing one.
        job_id: the job's.
        queued: whether the change puts it into the queue, so that any server may begin it.
    """
    connection.info[_NEWS][job_id] = queued or connection.info[_NEWS].get(job_id, False)


class Database(abc.ABC):
    """A database with the tables of ``schema``. Thread-safe.

    Args:
        feed: hears of what was stored; see ``tell``.

    Attributes:
        is_shared: whether other servers use it too.
    """

    is_shared = False

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    @abc.abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """Give a connection whose queries all see one state of the database."""

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes are all stored when the block ends, or none where it raises.

        Raises:
            DBAPIError: among others where the disk is full; another try may then succeed, see ``SqliteDatabase``.
        """
        with self._change() as connection:
            connection.info[_NEWS] = {}  # it belongs to the connection, which outlives this block
            yield connection
            news = dict(connection.info[_NEWS])
        if news:
            self._spread(news)

    @abc.abstractmethod
    def check(self, patience_s: float) -> None:
        """Write something that changes nothing.

        Args:
            patience_s: how long to wait for another writer of this process, in seconds.

        Raises:
            TimeoutError: another writer did not end in that time.
            DBAPIError: the write failed.
        """

    @abc.abstractmethod
    def locked(self, name: str) -> AbstractContextManager[None]:
        """Let nobody else, on any server, have a name locked inside the block, which may take long.

        Changes of others go on meanwhile, except those that have the name in ``sql.lock_name``.
        """

    @abc.abstractmethod
    def hold_back(self) -> None:
        """Hold back space again for the news of a full disk, where that can be done."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close every connection."""

    @abc.abstractmethod
    def _change(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that writes, and store it when the block ends."""

    def _spread(self, news: Mapping[str, bool]) -> None:
        for job_id in news:
            self._feed.publish(job_id)
