"""The files of one job: in its work folder, which may be on another machine in the next attempt, and in the storage.

A file has the same name in both. If the storage is the data folder, both are the same file, and nothing is moved.

Protocol: docs/protocol.md, "Storage".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.storage import keys
from arkor.backend.storage.interface import Content, Storage
from arkor.backend.storage.local import LocalStorage
from arkor.errors import ObjectMissing

ARTIFACTS = "artifacts"


@attrs.frozen
class JobFiles:
    """The files of a job.

    Attributes:
        storage: keeps them.
        prefix: what their keys begin with.
        folder: the work folder on this machine.
    """

    storage: Storage
    prefix: str
    folder: Path

    @classmethod
    def of(cls, storage: Storage, folder: Path) -> JobFiles:
        """Return the files of the job whose id is the name of its work folder."""
        return cls(storage, keys.job(folder.name), folder)

    @classmethod
    def alone(cls, folder: Path) -> JobFiles:
        """Return the files of a job that has its folder, and no storage beside it."""
        return cls(LocalStorage(folder.parent), f"{folder.name}/", folder)

    @property
    def are_apart(self) -> bool:
        """Whether the storage is another place than the work folder."""
        return self.storage.path(self.prefix) != self.folder

    def key(self, file: Path | str) -> str:
        """Return the key of a file, which is named by its path, or below the work folder."""
        name = file if isinstance(file, str) else str(file.relative_to(self.folder))
        return f"{self.prefix}{name}"

    def names(self, folder: str) -> list[str]:
        """Return the names of what the storage has below a folder of the job, such as ``artifacts``."""
        return [key.removeprefix(self.prefix) for key in self.storage.keys(f"{self.key(folder)}/")]

    def keep(self, file: Path, content: Content | None = None) -> None:
        """Store a file of the work folder, where it stays."""
        self.storage.put(file, self.key(file), content)

    def hand_over(self, file: Path, content: Content | None = None) -> None:
        """Store a file of the work folder, which is not needed there any more."""
        self.storage.put(file, self.key(file), content, move=True)

    def bring(self, name: str, content: Content | None = None) -> Path | None:
        """Return a file of the work folder, fetched if it is not there; None if the storage does not have it either."""
        file = self.folder / name
        if not file.exists() and self.are_apart:
            try:
                self.storage.fetch(self.key(name), file, content)
            except ObjectMissing:
                return None
        return file if file.exists() else None

    def remove(self, *names: str) -> None:
        """Remove files from the storage, in this order."""
        self.storage.delete(self.key(name) for name in names)


def uploaded_rows(storage: Storage, source: Mapping[str, Any] | None, folder: Path) -> str | None:
    """Return the file of the uploaded rows of a source; None if there is no source, or its rows come from elsewhere.

    Args:
        storage: has the rows. In a folder, the file is not looked for.
        source: the source.
        folder: takes a copy, if the storage is no folder of this machine.

    Raises:
        StorageError: the rows cannot be had.
    """
    if source is None or source["type"] != "dataset":
        return None
    key, sha256 = keys.dataset(source["id"]), source["id"]
    path = storage.path(key)
    if path is None:
        path = folder / f".dataset.{sha256}.jsonl"
        storage.fetch(key, path, Content(None, sha256))
    return str(path)
