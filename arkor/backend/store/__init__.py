"""What the backend remembers: identities, projects, jobs, events, data sets, artifacts, evaluations, exports."""

from __future__ import annotations

from pathlib import Path

from arkor.backend.store.database import Database
from arkor.backend.store.datasets import Datasets
from arkor.backend.store.deletions import Deletions
from arkor.backend.store.events import Events
from arkor.backend.store.feed import Feed
from arkor.backend.store.jobs import Jobs
from arkor.backend.store.queue import Queue
from arkor.backend.store.reports import Reports
from arkor.backend.store.tasks import EVALUATIONS, EXPORTS, Tasks
from arkor.backend.store.tenants import Tenants


class Store:
    """Everything in the database, one object a concern. Thread-safe.

    Args:
        path: the SQLite file.
        feed: hears of every event that is stored.
        datasets_folder: where the uploaded data sets are.
    """

    def __init__(self, path: Path, feed: Feed, datasets_folder: Path) -> None:
        self._database = Database(path)
        self.tenants = Tenants(self._database)
        self.jobs = Jobs(self._database, feed)
        self.queue = Queue(self._database, feed)
        self.events = Events(self._database)
        self.evaluations = Tasks(self._database, EVALUATIONS)
        self.exports = Tasks(self._database, EXPORTS)
        self.reports = Reports(self._database, feed)
        self.datasets = Datasets(self._database, datasets_folder)
        self.deletions = Deletions(self._database, feed)

    def check(self, patience_s: float) -> None:
        """Write something that changes nothing; see ``Database.check``."""
        self._database.check(patience_s)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
