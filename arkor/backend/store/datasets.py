"""Which project has uploaded which data set.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from arkor.backend.store.database import Database, now
from arkor.backend.store.schema import datasets
from arkor.protocol import wire


@attrs.frozen
class StoredDataset:
    """A data set that the backend has.

    Attributes:
        id: lowercase hex SHA-256 of its JSONL bytes.
        rows: how many rows it has.
        size_bytes: its size, uncompressed.
    """

    id: str
    rows: int
    size_bytes: int

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels."""
        return wire.to_wire(self)


class Datasets:
    """The data sets of every project. Thread-safe.

    Args:
        database: who has which.
        folder: the bytes, each data set a file named by its hash.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    def get(self, project_id: str, sha256: str) -> StoredDataset | None:
        """Return a data set that this project has uploaded, or None; also None where its file is gone."""
        query = select(datasets.c.sha256, datasets.c.rows, datasets.c.size_bytes).where(
            datasets.c.project_id == project_id, datasets.c.sha256 == sha256
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or not (self._folder / f"{sha256}.jsonl").is_file():
            return None
        return StoredDataset(*row)

    def add(self, project_id: str, dataset: StoredDataset) -> bool:
        """Remember that a project has uploaded a data set.

        Returns:
            True where the project did not have it yet.
        """
        values = {"sha256": dataset.id, "rows": dataset.rows, "size_bytes": dataset.size_bytes}
        try:
            with self._database.write() as connection:
                connection.execute(insert(datasets).values(project_id=project_id, created_at=now(), **values))
        except IntegrityError:
            return False
        return True
