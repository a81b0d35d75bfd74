"""Making a backup: the database as it is at one moment, then the files that it knows.

Files are written once, and then stay as they are or go. So a file that was there at that moment is as the database
knows it, or was removed since; then everything is looked at once more. Of a job that has not completed, the newest
checkpoint is taken: at its next start, the server learns from it what the database did not know yet.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from sqlalchemy import Connection, create_engine, select
from sqlalchemy.pool import NullPool

from arkor.backend.backups.manifest import Manifest
from arkor.backend.evaluations.task import REPORT_FILE
from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.job_files import JobFiles
from arkor.backend.jobs.membership import is_of_shared
from arkor.backend.settings import Settings
from arkor.backend.storage import keys
from arkor.backend.storage.interface import Content
from arkor.backend.storage.local import LocalStorage
from arkor.backend.store.schema import artifacts, datasets, evaluations, jobs
from arkor.errors import LocalBackendError, ObjectChanged, ObjectMissing
from arkor.protocol.jobs import JobStatus
from arkor.system.files import make_private_folder

_LOOKS = 3


def make_backup(settings: Settings, target: Path) -> Manifest:
    """Make a backup of a data folder, whose backend may run meanwhile.

    Args:
        settings: of that backend: its data folder, and its storage, which is a folder.
        target: a folder that is empty, or is not there.

    Returns:
        What the backup has.

    Raises:
        LocalBackendError: there is no SQLite database, or the target is not empty.
        StorageError: a file is not as the database knows it.
        OSError: a file cannot be read, or the disk is full.
    """
    if is_of_shared(settings.data):
        raise LocalBackendError(
            f"The server of {settings.data} has its database in PostgreSQL: back that up with pg_dump, then copy the "
            "files of --storage. docs/scale.md shows how."
        )
    if not settings.database_path.is_file():
        raise LocalBackendError(
            f"{settings.data} has no database {settings.database_path.name}: name the data folder of the server with "
            "--data."
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise LocalBackendError(f"{target} is not empty: name a new folder for the backup.")
    make_private_folder(target)
    made_at = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    return _Backup(settings, target).make(made_at)


class _Backup:
    """One that is being made."""

    def __init__(self, settings: Settings, target: Path) -> None:
        self._settings = settings
        self._target = target
        self._source = LocalStorage(Path(settings.storage))
        self._database = target / settings.database_path.name
        self._copied: dict[str, Content] = {}

    def make(self, made_at: str) -> Manifest:
        for looks_left in reversed(range(_LOOKS)):
            self._copy_database()
            wanted = self._wanted()
            try:
                missing = [key for key, content in wanted.items() if not self._copy(key, content)]
            except ObjectChanged:  # it was made again since
                if not looks_left:
                    raise
                continue
            if not looks_left or not self._was_removed(missing):
                break
        self._remove_others(wanted)
        files = {key: content for key, content in self._copied.items() if key in wanted}
        files[self._database.name] = Content.of(self._database)
        found = Manifest(made_at=made_at, data=str(self._settings.data), files=files, missing=tuple(missing))
        found.write(self._target)
        return found

    def _copy_database(self) -> None:
        """Copy the database as it is at one moment; SQLite begins again by itself when it is written meanwhile."""
        part = self._database.with_name(f".{self._database.name}.part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        with (
            contextlib.closing(_opened(self._settings.database_path)) as source,
            contextlib.closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy)
            [(verdict,)] = copy.execute("PRAGMA integrity_check").fetchall()
            if verdict != "ok":
                raise LocalBackendError(f"The database {self._settings.database_path} is damaged: {verdict}")
            copy.execute("PRAGMA journal_mode = DELETE")  # one file alone
        part.replace(self._database)

    def _wanted(self) -> dict[str, Content | None]:
        """Return the keys of the files that the copied database knows, and their contents as far as it knows them."""
        with _reading(self._database) as connection:
            sets = connection.execute(select(datasets.c.sha256, datasets.c.size_bytes))
            wanted: dict[str, Content | None] = {keys.dataset(sha256): Content(size, sha256) for sha256, size in sets}
            made = connection.execute(
                select(artifacts.c.job_id, artifacts.c.name, artifacts.c.size_bytes, artifacts.c.sha256)
            )
            wanted |= {keys.artifact(job_id, name): Content(size, sha256) for job_id, name, size, sha256 in made}
            done = evaluations.c.status == JobStatus.COMPLETED.value
            reports = connection.execute(select(evaluations.c.job_id, evaluations.c.id).where(done))
            wanted |= {f"{keys.job(job_id)}evaluations/{name}/{REPORT_FILE}": None for job_id, name in reports}
            goes_on = jobs.c.status != JobStatus.COMPLETED.value
            for job_id in connection.execute(select(jobs.c.id).where(goes_on)).scalars():
                files = JobFiles.of(self._source, self._settings.job_folder(job_id))
                wanted |= {files.key(name): None for name in checkpoints.needed(files)}
        return wanted

    def _copy(self, key: str, content: Content | None) -> bool:
        """Copy a file, unless it was copied already; return whether it was there."""
        known = self._copied.get(key)
        if known is not None and known.fits(content) and content is not None:
            return True
        self._copied.pop(key, None)
        try:
            self._source.fetch(key, self._target / key, content)
        except ObjectMissing:
            return False
        self._copied[key] = Content.of(self._target / key)
        return True

    def _was_removed(self, missing: list[str]) -> bool:
        """Whether files are missing because they were removed since the database was copied."""
        if not missing:
            return False
        with _reading(self._settings.database_path) as connection:
            known = {keys.job(job_id) for job_id in connection.execute(select(jobs.c.id)).scalars()}
            sets = {keys.dataset(sha256) for sha256 in connection.execute(select(datasets.c.sha256)).scalars()}
        return any(
            key not in sets if key.startswith(keys.DATASETS) else f"{'/'.join(key.split('/')[:2])}/" not in known
            for key in missing
        ) or any(f"/{checkpoints.FOLDER}/" in key for key in missing)

    def _remove_others(self, wanted: dict[str, Content | None]) -> None:
        """Remove what an earlier look has copied, and the database does not know any more."""
        for key in self._copied.keys() - wanted.keys():
            (self._target / key).unlink(missing_ok=True)


def _opened(database: Path) -> sqlite3.Connection:
    """Open a database that is there, to read it."""
    return sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)  # a reader of a log writes to its index


@contextlib.contextmanager
def _reading(database: Path) -> Iterator[Connection]:
    engine = create_engine("sqlite://", creator=lambda: _opened(database), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
