"""Marks of objects that are being made or removed, in a storage that other servers may use, too.

A server that is killed meanwhile leaves objects that belong to nobody. Only objects with a mark are ever looked at for
that: a server with a new database does not empty the storage of another one. A mark that is younger than a day may be
that of another server which is at work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from arkor.backend.storage import keys
from arkor.backend.storage.interface import Storage
from arkor.errors import ObjectMissing

AGE = timedelta(days=1)


def is_apart(storage: Storage, data: Path) -> bool:
    """Whether a storage is another place than a server's data folder."""
    return storage.path(keys.DATASETS) != data / keys.DATASETS


class Marks:
    """The marks of a storage. Thread-safe. The data folder needs none: one server alone uses it.

    Args:
        storage: the storage.
        data: the server's data folder.
        now: the clock.
    """

    def __init__(
        self, storage: Storage, data: Path, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    ) -> None:
        self._storage = storage
        self._now = now
        self.are_needed = is_apart(storage, data)

    @contextlib.contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Mark objects as unsettled inside the block; the mark stays if the block raises.

        Args:
            name: a job's id, or the SHA-256 of a data set.

        Raises:
            StorageError: the mark cannot be set.
        """
        if not self.are_needed:
            yield
            return
        self._storage.write(keys.unsettled(name), self._now().isoformat().encode())
        yield
        self._storage.delete([keys.unsettled(name)])

    def settle(self, remove: Callable[[str], object]) -> None:
        """Go through the marks that a killed server has left.

        Args:
            remove: removes the objects of a name, unless the database has it.

        Raises:
            StorageError: the storage cannot be used.
        """
        if not self.are_needed:
            return
        for key in self._storage.keys(keys.UNSETTLED):
            with contextlib.suppress(ObjectMissing):  # another server was quicker
                if self._now() - datetime.fromisoformat(self._storage.read(key).decode()) >= AGE:
                    remove(key.removeprefix(keys.UNSETTLED))
                    self._storage.delete([key])
