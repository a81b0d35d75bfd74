"""Taking an ended job out of the database, and what nothing else needs with it.

Protocol: docs/protocol.md, "Deleting a job".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
from sqlalchemy import Connection, Table, delete, func, or_, select

from arkor.backend.store.database import Database, forget, tell
from arkor.backend.store.schema import artifacts, attempts, datasets, evaluations, events, exports, jobs
from arkor.backend.store.sql import lock_job, lock_name
from arkor.protocol.sources import SOURCES, sources_of


@attrs.frozen
class Unneeded:
    """Files that nobody needs any more.

    Attributes:
        datasets: the SHA-256 of data sets that no project has; each may be uploaded again at any moment.
        adapters: the SHA-256 of artifacts that no job has.
    """

    datasets: frozenset[str]
    adapters: frozenset[str]


class Deletions:
    """Deleting jobs. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def delete(self, job_id: str) -> Unneeded | None:
        """Delete a job that has ended, with its events, attempts and artifacts.

        Its data sets go too, where no other job of the project uses them.

        Returns:
            Which files may go; None if it was deleted already.
        """
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)  # whoever reads its events is to learn of it
            query = select(jobs.c.project_id, jobs.c.config).where(jobs.c.id == job_id)
            row = connection.execute(query).one_or_none()
            if row is None:  # somebody else was quicker
                return None
            made = connection.execute(select(artifacts.c.sha256).where(artifacts.c.job_id == job_id)).scalars().all()
            asked = select(evaluations.c.options).where(evaluations.c.job_id == job_id)
            evaluated = connection.execute(asked).scalars().all()
            for table in (events, attempts, artifacts, evaluations, exports):
                connection.execute(delete(table).where(table.c.job_id == job_id))
            connection.execute(delete(jobs).where(jobs.c.id == job_id))
            forget(connection)
            return Unneeded(
                _delete_datasets(connection, row.project_id, [*sources_of(row.config).values(), *_rows_of(evaluated)]),
                frozenset(sha256 for sha256 in made if not _has(connection, artifacts, sha256)),
            )


def _rows_of(evaluated: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the sources of rows that evaluations name."""
    return (options["rows"] for options in evaluated if isinstance(options.get("rows"), Mapping))


def _delete_datasets(connection: Connection, project_id: str, sources: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    uploaded = {source["id"] for source in sources if source["type"] == "dataset"}
    for sha256 in sorted(uploaded):
        lock_name(connection, sha256)
        if not _is_used(connection, project_id, sha256):
            own = (datasets.c.project_id == project_id, datasets.c.sha256 == sha256)
            connection.execute(delete(datasets).where(*own))
    return frozenset(sha256 for sha256 in uploaded if not _has(connection, datasets, sha256))


def _is_used(connection: Connection, project_id: str, sha256: str) -> bool:
    """Whether a job of a project, or an evaluation of one, has a data set."""
    of_jobs = or_(*(jobs.c.config[name]["id"].as_string() == sha256 for name in SOURCES))
    of_evaluations = evaluations.c.options["rows"]["id"].as_string() == sha256
    query = (
        select(func.count())
        .select_from(jobs.outerjoin(evaluations, evaluations.c.job_id == jobs.c.id))
        .where(jobs.c.project_id == project_id, or_(of_jobs, of_evaluations))
    )
    return connection.execute(query).scalar_one() > 0


def _has(connection: Connection, table: Table, sha256: str) -> bool:
    query = select(func.count()).select_from(table).where(table.c.sha256 == sha256)
    return connection.execute(query).scalar_one() > 0
