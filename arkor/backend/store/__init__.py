"""What the backend remembers: identities, projects, jobs, events, data sets, artifacts, evaluations, exports."""

from __future__ import annotations

from pathlib import Path

from arkor.backend.storage.interface import Storage
from arkor.backend.storage.local import LocalStorage
from arkor.backend.store.database import Database
from arkor.backend.store.datasets import Datasets
from arkor.backend.store.deletions import Deletions
from arkor.backend.store.events import Events
from arkor.backend.store.jobs import Jobs
from arkor.backend.store.queue import Queue
from arkor.backend.store.reports import Reports
from arkor.backend.store.servers import Servers
from arkor.backend.store.tasks import EVALUATIONS, EXPORTS, Tasks
from arkor.backend.store.tenants import Tenants


class Store:
    """Everything in the database, one object a concern. Thread-safe.

    Args:
        database: the database, which is closed with this.
        datasets_folder: where data sets are uploaded to.
        server_id: the server that uses it; None if it shares the database with no other.
        storage: where data sets are kept; None for the data folder, which has that folder in it.
    """

    def __init__(
        self,
        database: Database,
        datasets_folder: Path,
        server_id: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        self._database = database
        self.servers = Servers(database)
        self.tenants = Tenants(database)
        self.jobs = Jobs(database)
        self.queue = Queue(database, server_id)
        self.events = Events(database)
        self.evaluations = Tasks(database, EVALUATIONS, server_id)
        self.exports = Tasks(database, EXPORTS, server_id)
        self.reports = Reports(database)
        self.datasets = Datasets(database, datasets_folder, storage or LocalStorage(datasets_folder.parent))
        self.deletions = Deletions(database)

    def check(self, patience_s: float) -> None:
        """Write something that changes nothing; see ``Database.check``."""
        self._database.check(patience_s)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
