"""Deleting a job: its rows first, then its files, so that what a kill leaves behind belongs to nobody.

Protocol: docs/protocol.md, "Deleting a job".
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

from arkor.backend.inference.targets import Targets
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.system.folder_cache import FolderCache

log = logging.getLogger("arkor.backend")

_MARK = ".deleted-"
_JOB_ID = re.compile(r"job_[a-z2-7]{20}")  # the user may have other things in the folder


class Deleter:
    """Deletes jobs. Thread-safe.

    Args:
        settings: where the files are.
        store: takes jobs out of the database, and has the data sets.
        targets: has copies of their adapters.
    """

    def __init__(self, settings: Settings, store: Store, targets: Targets) -> None:
        self._settings = settings
        self._store = store
        self._targets = targets
        self._examples = FolderCache(settings.examples_folder, settings.examples_bytes)

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended and whose worker has left."""
        unneeded = self._store.deletions.delete(job_id)
        try:
            self._remove_folder(self._settings.job_folder(job_id))
            self._examples.forget(job_id)
            for sha256 in unneeded.datasets:
                self._store.datasets.remove_unneeded(sha256)
            self._targets.forget(unneeded.adapters)
        except OSError as exc:  # the job is gone all the same
            log.warning("Not all files of job %s could be removed: %s", job_id, exc)

    def remove_left_behind(self) -> None:
        """Remove what a backend that was killed has left: folders of deleted jobs, and data sets of no project.

        Nothing may be uploaded or deleted meanwhile.
        """
        known = self._store.jobs.ids()
        for folder in self._settings.jobs_folder.glob("*"):
            is_orphan = _JOB_ID.fullmatch(folder.name) is not None and folder.name not in known
            if is_orphan or folder.name.startswith(_MARK):
                shutil.rmtree(folder, ignore_errors=True)
        try:
            self._examples.forget_others(known)
            self._store.datasets.remove_left_behind()
        except OSError as exc:
            log.warning("Not all files of unfinished uploads could be removed: %s", exc)

    def _remove_folder(self, folder: Path) -> None:
        """Rename it first: a removal that is cut off leaves no folder that looks like a job's."""
        aside = folder.with_name(f"{_MARK}{folder.name}")
        if folder.exists():  # not where the job never trained
            folder.rename(aside)
            shutil.rmtree(aside)
