"""Opening the database that a server was told to use."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from arkor.backend.store.database import Database
from arkor.backend.store.feed import Feed
from arkor.backend.store.sqlite import SqliteDatabase
from arkor.errors import LocalBackendError

_FORM = "postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE"


def open_database(url: str | None, path: Path, feed: Feed) -> Database:
    """Open a database, with today's tables.

    Args:
        url: of a PostgreSQL database; None for the file.
        path: of the SQLite file.
        feed: hears of what was stored.

    Raises:
        LocalBackendError: the address is not one of PostgreSQL, the database cannot be reached, or a newer arkor
            wrote it.
    """
    if url is None:
        return SqliteDatabase(path, feed)
    try:
        address = make_url(url)
    except ArgumentError:
        raise LocalBackendError(f"The database's address cannot be read; write {_FORM}.") from None
    if address.get_backend_name() != "postgresql":
        name = address.get_backend_name()
        raise LocalBackendError(f"A database of {name} is not supported; write {_FORM}, or leave it out for SQLite.")
    from arkor.backend.store.postgresql import PostgresDatabase  # its driver is an extra

    if address.drivername == "postgresql":  # as most programs write it
        address = address.set(drivername="postgresql+psycopg")
    return PostgresDatabase(address, feed)
