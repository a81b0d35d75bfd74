"""New jobs that go on from the last checkpoint of a job that has failed or was cancelled.

Protocol: docs/protocol.md, "Resuming a job".
"""

from __future__ import annotations

import shutil

import attrs

from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.admission import admit
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.database import new_id
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.tenants import Project
from arkor.protocol.jobs import JobStatus, ResumedFrom, TrainingJob
from arkor.serving.refusal import Refusal

_RESUMABLE = frozenset({JobStatus.FAILED.value, JobStatus.CANCELLED.value})


class Resumer:
    """Makes new jobs of jobs that have failed or were cancelled. Thread-safe.

    Args:
        settings: where the files are, and what a job may name.
        store: the jobs.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

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
        if job.status not in _RESUMABLE:
            raise Refusal(409, f"Job {job.id} is {job.status}: only a job that failed or was cancelled is resumed.")
        config = admit(job.config, project, self._store.datasets, self._settings)
        job_id = new_id("job")
        folder = self._settings.job_folder(job_id)
        is_new = False
        try:
            checkpoint = checkpoints.hand_on(self._settings.job_folder(job.id), folder)
            if checkpoint is None:
                raise Refusal(409, f"Job {job.id} left no whole checkpoint to go on from: start a new job.")
            new = attrs.evolve(asked, resumed_from=ResumedFrom(job.id, checkpoints.step_of(checkpoint)))
            made, is_new = self._store.jobs.create(project, new, config, job_id)
        finally:
            if not is_new:  # one that a kill leaves is removed at the backend's next start
                shutil.rmtree(folder, ignore_errors=True)
        return made, is_new
