"""Which project has uploaded which data set, and the rows in the storage.

An upload that becomes a project's, and a removal of rows, have the data set's name locked. Rows are stored before that,
because it may take long; under the lock, an upload looks whether they were removed since, and stores them again. So no
project has a data set without rows, whichever server uploads or removes them. The storage may be slow to answer: no
change of others waits for it.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import func, select

from arkor.backend.storage import keys
from arkor.backend.storage.interface import Content, Storage
from arkor.backend.storage.marks import Marks
from arkor.backend.store.database import Database, now
from arkor.backend.store.schema import datasets
from arkor.backend.store.sql import insert
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
        folder: takes the files of uploads that are not registered yet.
        storage: the bytes of each data set.
    """

    def __init__(self, database: Database, folder: Path, storage: Storage) -> None:
        self._database = database
        self._folder = folder
        self._storage = storage
        self._marks = Marks(storage, folder.parent)

    def get(self, project_id: str, sha256: str) -> StoredDataset | None:
        """Return a data set that this project has uploaded, or None; also None where its file is gone."""
        query = select(datasets.c.sha256, datasets.c.rows, datasets.c.size_bytes).where(
            datasets.c.project_id == project_id, datasets.c.sha256 == sha256
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or self._storage.size(keys.dataset(sha256)) is None:
            return None
        return StoredDataset(*row)

    def add(self, project_id: str, dataset: StoredDataset, file: Path) -> bool:
        """Store a data set's rows, and remember that a project has uploaded it.

        Args:
            project_id: whose data set it is.
            dataset: what the file holds.
            file: a file in the folder of uploads, which stays.

        Returns:
            True where the project did not have it yet.

        Raises:
            StorageError: the storage cannot be used.
            OSError: the file cannot be read, or the disk is full.
        """
        key, content = keys.dataset(dataset.id), Content(dataset.size_bytes, dataset.id)
        with self._marks.around(dataset.id):
            while True:
                self._storage.put(file, key, content)
                with self._database.locked(dataset.id):
                    if self._storage.size(key) is not None:
                        return self._register(project_id, dataset)

    def remove_unneeded(self, sha256: str) -> None:
        """Remove a data set's rows unless a project has uploaded it, which may have happened a moment ago.

        Raises:
            StorageError: the storage cannot be used.
            OSError: the file cannot be removed.
        """
        query = select(func.count()).select_from(datasets).where(datasets.c.sha256 == sha256)
        with self._marks.around(sha256), self._database.locked(sha256):
            with self._database.read() as connection:
                is_needed = connection.execute(query).scalar_one()
            if not is_needed:
                self._storage.delete([keys.dataset(sha256)])

    def remove_left_behind(self) -> None:
        """Remove the files of unfinished uploads and of data sets that no project has. This server uploads none now.

        In a storage that is not the data folder, ``Marks`` finds those data sets.

        Raises:
            OSError: a file cannot be removed.
        """
        with self._database.read() as connection:
            known = frozenset(connection.execute(select(datasets.c.sha256)).scalars())
        for file in self._folder.iterdir():
            if file.name.startswith(".upload."):
                file.unlink()
            elif not self._marks.are_needed and _DATASET_FILE.fullmatch(file.name) and file.stem not in known:
                self.remove_unneeded(file.stem)

    def _register(self, project_id: str, dataset: StoredDataset) -> bool:
        values = {"sha256": dataset.id, "rows": dataset.rows, "size_bytes": dataset.size_bytes}
        with self._database.write() as connection:
            known = insert(connection, datasets).values(project_id=project_id, created_at=now(), **values)
            added = known.on_conflict_do_nothing().returning(datasets.c.sha256)
            return connection.execute(added).first() is not None
