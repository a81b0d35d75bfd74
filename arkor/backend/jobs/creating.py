"""New jobs: as a client asks for them, or to go on from the last checkpoint of one that failed or was cancelled.

Protocol: docs/protocol.md, "Jobs" and "Resuming a job".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.admission import Admitted, admit
from arkor.backend.jobs.job_files import JobFiles
from arkor.backend.jobs.supported import holds_out
from arkor.backend.settings import Settings
from arkor.backend.storage.interface import Storage
from arkor.backend.storage.marks import Marks
from arkor.backend.store import Store
from arkor.backend.store.database import new_id
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.tenants import Project
from arkor.errors import ObjectMissing
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import CHECK_ONLY, EvaluationOptions
from arkor.protocol.jobs import JobStatus, ResumedFrom, TrainingJob
from arkor.protocol.sources import imported_from, sources_of
from arkor.serving.refusal import Refusal

_RESUMABLE = frozenset({JobStatus.FAILED.value, JobStatus.CANCELLED.value})


def evaluations_of(config: Mapping[str, Any], *, checks_served: bool) -> list[EvaluationOptions]:
    """Return the evaluations that follow a job: the one that its settings ask for, or the check alone.

    Args:
        config: the job's settings in wire names, admitted.
        checks_served: whether the check is made unasked.
    """
    parsed = JobConfig.from_wire(config)
    if parsed.value("dry_run"):
        return []
    if parsed.evaluation is not None:
        return [EvaluationOptions.from_wire(parsed.evaluation)]
    has_token = any(source.get("token") for source in sources_of(config).values())  # which is not kept
    return [CHECK_ONLY] if checks_served and holds_out(parsed) and not has_token else []


class Creator:
    """Makes jobs. Thread-safe.

    Args:
        settings: where the work folders are, and what a job may name.
        store: the jobs.
        storage: has their files.
        spare_bytes: returns the memory that the jobs which train now will free.
    """

    def __init__(self, settings: Settings, store: Store, storage: Storage, spare_bytes: Callable[[], int]) -> None:
        self._settings = settings
        self._store = store
        self._storage = storage
        self._marks = Marks(storage, settings.data)
        self._spare_bytes = spare_bytes

    def create(self, project: Project, new: NewJob) -> tuple[TrainingJob, bool]:
        """Queue a job, or find the one that its key made.

        Args:
            project: whose job it is.
            new: what was asked for.

        Returns:
            The job, and whether it is new.

        Raises:
            Refusal: 422, this backend cannot do it as asked.
            KeyReused: the key named another request before.
            DatasetGone: its data set was deleted since the settings were checked.
            StorageError: the storage cannot be used.
            OSError: the disk is full.
        """
        repeat = self._store.jobs.find_repeat(project, new)
        if repeat is not None:
            return repeat, False
        admitted = self._admit(new.config, project)
        base = admitted.base
        if base is None:
            return self._queue(project, new, admitted.config)

        def take_base(files: JobFiles) -> NewJob:
            try:
                self._storage.copy(base.key, files.key(checkpoints.BASE_ADAPTER))
            except ObjectMissing:
                raise Refusal(422, f"base_adapter: job {base.job.id} was deleted a moment ago") from None
            return new

        return self._create_with(take_base, project, admitted.config)

    def resume(self, project: Project, job: TrainingJob, idempotency_key: str | None) -> tuple[TrainingJob, bool]:
        """Queue a job that goes on from the last whole checkpoint of another one, or find the one that a key made.

        Args:
            project: whose jobs they are.
            job: the other one, whose worker has left.
            idempotency_key: names the request, so that a repeat finds the first one's job; or None.

        Returns:
            The job, and whether it is new.

        Raises:
            Refusal: 409, it has not failed and was not cancelled, or it left no whole checkpoint; 422, this backend
                cannot do it any more.
            KeyReused: the key named another request before.
            DatasetGone: its data set was deleted.
            StorageError: the storage cannot be used.
            OSError: the disk is full.
        """
        asked = NewJob(
            name=job.name,
            config=job.config,
            idempotency_key=idempotency_key,
            resumed_from=ResumedFrom(job.id, 0),
            batch_size=self._store.jobs.batch_size(job.id),
        )
        repeat = self._store.jobs.find_repeat(project, asked)
        if repeat is not None:
            return repeat, False
        if imported_from(job.config) is not None:
            advice = "name it as base_adapter of a new job to train it further"
            raise Refusal(409, f"Job {job.id} was imported, so there is no training to resume: {advice}.")
        if job.status not in _RESUMABLE:
            raise Refusal(409, f"Job {job.id} is {job.status}: only a job that failed or was cancelled is resumed.")
        base = {"baseAdapter": job.config["baseAdapter"]} if "baseAdapter" in job.config else {}
        others = {name: value for name, value in job.config.items() if name not in base}  # the checkpoint has it
        config = {**self._admit(others, project).config, **base}

        def take_checkpoint(files: JobFiles) -> NewJob:
            step = checkpoints.hand_on(self._files(job.id), files)
            if step is None:
                raise Refusal(409, f"Job {job.id} left no whole checkpoint to go on from: start a new job.")
            return attrs.evolve(asked, resumed_from=ResumedFrom(job.id, step))

        return self._create_with(take_checkpoint, project, config)

    def _admit(self, config: Mapping[str, Any], project: Project) -> Admitted:
        return admit(config, project, self._store, self._storage, self._settings, spare_bytes=self._spare_bytes())

    def _files(self, job_id: str) -> JobFiles:
        return JobFiles.of(self._storage, self._settings.job_folder(job_id))

    def _queue(
        self, project: Project, new: NewJob, config: Mapping[str, Any], job_id: str | None = None
    ) -> tuple[TrainingJob, bool]:
        evaluations = evaluations_of(config, checks_served=self._settings.checks_served)
        return self._store.jobs.create(project, new, config, job_id, evaluations)

    def _create_with(
        self, fill: Callable[[JobFiles], NewJob], project: Project, config: Mapping[str, Any]
    ) -> tuple[TrainingJob, bool]:
        """Queue a job whose files are stored first; they go if there is no new job."""
        job_id = new_id("job")
        files = self._files(job_id)
        is_new = False
        with self._marks.around(job_id):
            try:
                made, is_new = self._queue(project, fill(files), config, job_id)
            finally:
                if not is_new:  # those that a kill leaves are removed at the backend's next start
                    self._storage.delete_all(files.prefix)
        return made, is_new
