"""What the engines of the database say in different words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Text, cast, func, select, text
from sqlalchemy.dialects import postgresql, sqlite

from arkor.backend.store.schema import events, jobs

_POSTGRESQL = "postgresql"


def lock_job(connection: Connection, job_id: str) -> None:
    """Let nobody else change a job until this change is stored. SQLite has one writer at a time anyway.

    Every change of a job begins with it, and reads the job afterwards.
    """
    if connection.dialect.name == _POSTGRESQL:
        connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update())


def lock_name(connection: Connection, name: str) -> None:
    """Let nobody else have this name locked until this change is stored; as ``lock_job``, for what has no row."""
    if connection.dialect.name == _POSTGRESQL:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def insert(connection: Connection, table: Table) -> Any:
    """Return an insertion that can have an ``ON CONFLICT``."""
    return (postgresql if connection.dialect.name == _POSTGRESQL else sqlite).insert(table)


def log_figures(connection: Connection, names: Iterable[str]) -> ColumnElement[Any]:
    """Return a JSON array, as a text, of fields of an event's payload; null for those that it has not.

    Args:
        connection: where it is asked.
        names: the fields, at least two.
    """
    if connection.dialect.name == _POSTGRESQL:
        payload = cast(events.c.data, postgresql.JSON)
        return cast(func.json_build_array(*(payload[name] for name in names)), Text)
    return func.json_extract(events.c.data, *(f"$.{name}" for name in names))
