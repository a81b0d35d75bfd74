"""Which project has uploaded which data set, and the files with the rows.

A file is put into its place and removed while the database has its name locked. So none is removed between an upload
and its registration.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import func, select

from arkor.backend.store.database import Database, now
from arkor.backend.store.schema import datasets
from arkor.backend.store.sql import insert, lock_name
from arkor.protocol import wire

_DATASET_FILE = re.compile(r"[0-9a-f]{64}\.jsonl")  # the user may have other files in the folder


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
        if row is None or not self._path(sha256).is_file():
            return None
        return StoredDataset(*row)

    def add(self, project_id: str, dataset: StoredDataset, file: Path) -> bool:
        """Put a data set's file into its place, and remember that a project has uploaded it.

        Args:
            project_id: whose data set it is.
            dataset: what the file holds.
            file: a file in the same folder, which is moved.

        Returns:
            True where the project did not have it yet.

        Raises:
            OSError: the file cannot be moved.
        """
        values = {"sha256": dataset.id, "rows": dataset.rows, "size_bytes": dataset.size_bytes}
        with self._database.write() as connection:
            lock_name(connection, dataset.id)
            file.replace(self._path(dataset.id))
            known = insert(connection, datasets).values(project_id=project_id, created_at=now(), **values)
            added = known.on_conflict_do_nothing().returning(datasets.c.sha256)
            return connection.execute(added).first() is not None

    def remove_unneeded(self, sha256: str) -> None:
        """Remove a data set's file unless a project has uploaded it, which may have happened a moment ago.

        Raises:
            OSError: the file cannot be removed.
        """
        query = select(func.count()).select_from(datasets).where(datasets.c.sha256 == sha256)
        with self._database.write() as connection:
            lock_name(connection, sha256)
            if not connection.execute(query).scalar_one():
                self._path(sha256).unlink(missing_ok=True)

    def remove_left_behind(self) -> None:
        """Remove the files of unfinished uploads and of data sets that no project has. Nothing may upload meanwhile.

        Raises:
            OSError: a file cannot be removed.
        """
        with self._database.write() as connection:
            known = frozenset(connection.execute(select(datasets.c.sha256)).scalars())
            for file in self._folder.iterdir():
                is_orphan = _DATASET_FILE.fullmatch(file.name) is not None and file.stem not in known
                if is_orphan or file.name.startswith(".upload."):
                    file.unlink()

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.jsonl"
