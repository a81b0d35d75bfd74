"""Deleting a job: its rows first, then its files, so that what a kill leaves behind belongs to nobody.

Protocol: docs/protocol.md, "Deleting a job".
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import shutil
import time
from pathlib import Path

from arkor.backend.inference.targets import Targets
from arkor.backend.settings import Settings
from arkor.backend.storage import keys
from arkor.backend.storage.interface import Storage
from arkor.backend.storage.local import GONE, LocalStorage
from arkor.backend.storage.marks import AGE, Marks
from arkor.backend.store import Store
from arkor.errors import StorageError
from arkor.system.folder_cache import FolderCache

log = logging.getLogger("arkor.backend")

_JOB_ID = re.compile(r"job_[a-z2-7]{20}")  # the user may have other things in the folder


class _NotAllRemoved(Exception):
    """Files of a deleted job are still there, and this server does not remove them now."""


class Deleter:
    """Deletes jobs. Thread-safe.

    Args:
        settings: where the work folders are.
        store: takes jobs out of the database, and has the data sets.
        storage: has their files.
        targets: has copies of their adapters.
    """

    def __init__(self, settings: Settings, store: Store, storage: Storage, targets: Targets) -> None:
        self._settings = settings
        self._store = store
        self._storage = storage
        self._marks = Marks(storage, settings.data)
        self._work_folders = LocalStorage(settings.data)
        self._targets = targets
        self._examples = FolderCache(settings.examples_folder, settings.examples_bytes)

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended and whose worker has left.

        Raises:
            StorageError: the storage cannot be used; nothing was deleted.
        """
        with contextlib.suppress(_NotAllRemoved), self._marks.around(job_id):
            unneeded = self._store.deletions.delete(job_id)
            if unneeded is None:  # who was quicker removes its files
                raise _NotAllRemoved
            try:
                self._work_folders.delete_all(keys.job(job_id))
                self._storage.delete_all(keys.job(job_id))
                self._examples.forget(job_id)
                for sha256 in unneeded.datasets:
                    self._store.datasets.remove_unneeded(sha256)
                self._targets.forget(unneeded.adapters)
            except (OSError, StorageError) as exc:  # the job is gone all the same
                log.warning("Not all files of job %s could be removed: %s", job_id, exc)
                raise _NotAllRemoved from exc  # its mark stays

    def remove_left_behind(self) -> None:
        """Remove what this server has left when it was killed: folders of deleted jobs, and data sets of no project.

        This server may make, upload or delete nothing meanwhile; others may.
        """
        known = self._remove_folders(0.0)
        try:
            self._examples.forget_others(known)
            self._store.datasets.remove_left_behind()
        except (OSError, StorageError) as exc:
            log.warning("Not all files of unfinished uploads could be removed: %s", exc)

    def settle(self) -> None:
        """Remove what is left of jobs that others have deleted, and what killed servers have left in the storage.

        Both only after a day: until then, a job may be about to be made.

        Raises:
            StorageError: the storage cannot be used.
        """
        self._remove_folders(AGE.total_seconds())
        self._marks.settle(self._remove_stored)

    def _remove_folders(self, age_s: float) -> frozenset[str]:
        """Remove the work folders of this server that belong to no job; return the jobs.

        Args:
            age_s: seconds for which nothing came into them or went out of them.
        """
        before = time.time() - age_s
        folders = list(self._settings.jobs_folder.glob("*"))
        known = self._store.jobs.ids()  # after the look, so that no folder of a new job is taken for one of no job
        for folder in folders:
            is_orphan = _JOB_ID.fullmatch(folder.name) is not None and folder.name not in known
            if (is_orphan or folder.name.startswith(GONE)) and _changed_at(folder) <= before:
                shutil.rmtree(folder, ignore_errors=True)
        return known

    def _remove_stored(self, name: str) -> None:
        if not _JOB_ID.fullmatch(name):
            self._store.datasets.remove_unneeded(name)
        elif name not in self._store.jobs.ids():
            self._storage.delete_all(keys.job(name))


def _changed_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # it is being removed
        return math.inf
