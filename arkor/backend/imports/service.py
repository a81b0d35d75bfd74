"""Taking in an adapter that was trained elsewhere: it is checked in a process of its own, and becomes a finished job.

Nothing is stored of one that is not good. A kill leaves at most a folder that belongs to no job, which the next start
removes.

Protocol: docs/protocol.md, "Importing an adapter".
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import attrs

from arkor.backend.imports.task import ARCHIVE, REFUSED, ImportTask, Packed
from arkor.backend.inference.service import Inference
from arkor.backend.inference.targets import content_of, ready_model
from arkor.backend.jobs.job_files import ARTIFACTS, JobFiles
from arkor.backend.settings import Settings
from arkor.backend.storage.interface import Storage
from arkor.backend.storage.marks import Marks
from arkor.backend.store import Store
from arkor.backend.store.database import new_id
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.tenants import Project
from arkor.backend.tasks.run import Ended, TaskRun
from arkor.protocol import wire
from arkor.protocol.jobs import TrainingJob
from arkor.protocol.sources import IMPORTED
from arkor.serving.refusal import Refusal
from arkor.system.files import make_private_folder

_CHUNK_BYTES = 1024 * 1024
_FOLDER = "import"  # below the job's, until the job is made


@attrs.frozen(kw_only=True)
class AskedImport:
    """What a client asks for.

    Attributes:
        name: what the job is to be called.
        model: the base model.
        source: what the adapter is called where it comes from.
        revision: the commit there, or None.
        sha256: of the archive, lowercase hex.
        idempotency_key: names the request, so that a repeat finds the first one's job; or None.
    """

    name: str
    model: str
    source: str
    revision: str | None
    sha256: str
    idempotency_key: str | None

    @property
    def job(self) -> NewJob:
        """The job that is asked for; its settings lack the adapter's shape, and have the archive's SHA-256."""
        asked = {**self.settings, "sha256": self.sha256}
        return NewJob(name=self.name, config=asked, idempotency_key=self.idempotency_key)

    @property
    def settings(self) -> dict[str, Any]:
        """The job's settings in wire names, without the adapter's shape."""
        revision = {"revision": self.revision} if self.revision else {}
        return {"model": self.model, "datasetSource": {"type": IMPORTED, "name": self.source, **revision}}


class Importer:
    """Makes jobs of adapters. Thread-safe; one adapter is checked at a time.

    Args:
        settings: where the work folders are, and which model folders are allowed.
        store: the jobs.
        storage: has their files.
        inference: would answer the process, which asks nothing.
    """

    def __init__(self, settings: Settings, store: Store, storage: Storage, inference: Inference) -> None:
        self._settings = settings
        self._store = store
        self._storage = storage
        self._marks = Marks(storage, settings.data)
        self._inference = inference
        self._one_at_a_time = threading.Lock()
        self._lock = threading.Lock()
        self._run: TaskRun | None = None
        self._is_closed = False

    def make(self, project: Project, asked: AskedImport, body: IO[bytes]) -> tuple[TrainingJob, bool]:
        """Make a finished job of an adapter, or find the one that the request's key made.

        Args:
            project: whose job it is.
            asked: what was asked for.
            body: a tar with the adapter's two files.

        Returns:
            The job, and whether it is new.

        Raises:
            Refusal: 400, other bytes than announced; 422, the adapter is not taken, and the text says why; 503, another
                one is being checked, or the backend is stopping.
            KeyReused: the key named another request before.
            StorageError: the storage cannot be used.
            OSError: the disk is full.
        """
        repeat = self._store.jobs.find_repeat(project, asked.job)
        if repeat is not None:
            return repeat, False
        try:
            model_path = ready_model(asked.model, self._settings.model_root)
        except Refusal as exc:
            raise Refusal(422, f"model: {exc.error}") from exc
        folder = self._settings.job_folder(new_id("job"))
        files = JobFiles.of(self._storage, folder)
        is_new = False
        try:
            made, is_new = self._made(project, asked, body, model_path, files)
        finally:
            if not is_new:
                shutil.rmtree(folder, ignore_errors=True)
        return made, is_new

    def close(self) -> None:
        """End the check that is under way."""
        with self._lock:
            self._is_closed = True
            if self._run is not None:
                self._run.stop()

    def _made(
        self, project: Project, asked: AskedImport, body: IO[bytes], model_path: str, files: JobFiles
    ) -> tuple[TrainingJob, bool]:
        work, artifacts = files.folder / _FOLDER, files.folder / ARTIFACTS
        for place in (files.folder, work, artifacts):
            make_private_folder(place)
        _receive(body, work / ARCHIVE, asked.sha256)
        task = ImportTask(model=asked.model, model_path=model_path, folder=work, artifacts_folder=artifacts)
        packed = self._checked(task)
        shutil.rmtree(work)
        kept, made = {**asked.settings, **packed.settings}, packed.artifact
        with self._marks.around(files.folder.name):
            files.hand_over(artifacts / f"{made.name}.tar", content_of(made))
            job, is_new = self._store.jobs.add_completed(
                project, asked.job, kept, files.folder.name, made=made, prompt_form=packed.prompt_form
            )
            if not is_new:
                self._storage.delete_all(files.prefix)
        return job, is_new

    def _checked(self, task: ImportTask) -> Packed:
        """Have an adapter checked and packed.

        Raises:
            Refusal: as ``make`` does; 500, the process died.
        """
        run = TaskRun(self._settings.import_module, task.folder, self._inference, {})
        limit_s = self._settings.import_limit_s
        timer = threading.Timer(limit_s, run.stop)
        timer.daemon = True
        with self._alone():
            with self._lock:
                if self._is_closed:
                    raise _stopping()
                self._run = run
            try:
                timer.start()
                ended = run.make(task.to_line(), lambda _done, _total: None)
            finally:
                timer.cancel()
                with self._lock:
                    self._run = None
        return self._packed(ended, limit_s)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse an adapter while another one is checked: who waits here keeps others from uploading."""
        if not self._one_at_a_time.acquire(blocking=False):
            raise Refusal(503, "Another adapter is being checked: try again soon.", headers={"Retry-After": "2"})
        try:
            yield
        finally:
            self._one_at_a_time.release()

    def _packed(self, ended: Ended, limit_s: float) -> Packed:
        made = wire.mapping(ended.made)
        if REFUSED in made:
            raise Refusal(422, made[REFUSED])
        if made:
            return Packed.from_line(made)
        if self._is_closed:
            raise _stopping()
        if ended.failure is not None:
            raise Refusal(500, f"The adapter could not be checked: {ended.failure}")
        raise Refusal(422, f"The adapter was not checked within {limit_s:g} s: its configuration takes too long.")


def _receive(body: IO[bytes], target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while chunk := body.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        raise Refusal(400, f"The bytes hash to {digest.hexdigest()}, not to {sha256}: they were changed or cut.")


def _stopping() -> Refusal:
    return Refusal(503, "The backend is stopping.", headers={"Retry-After": "5"})
