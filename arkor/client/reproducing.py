"""Training once more what a job trained, and comparing the adapters byte by byte."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.client.adapter_files import WEIGHTS, difference_of
from arkor.client.reproduce_options import ReproduceOptions
from arkor.client.reproduction import Reproduction
from arkor.client.result import TrainingFailed, TrainingResult, final_adapter
from arkor.client.waiting import POLL_S, Waiter
from arkor.errors import Aborted, ArkorError, Conflict, NotReproducible, WaitTimeout
from arkor.http.abort import AbortScope, Deadline, run_unbroken
from arkor.options import unknown_option
from arkor.protocol.checks import MAX_NAME_CHARS
from arkor.protocol.config import JobConfig
from arkor.protocol.jobs import FINAL_NAME, JobStatus, TrainingJob
from arkor.protocol.record import RecordDifference, TrainingRecord
from arkor.protocol.sources import imported_from
from arkor.system.files import sha256_of

_BESIDE = {"evaluation", "samplePrompts", "sampleBudget"}  # settings that change nothing in the adapter
_MARK = " (reproduced)"  # at the end of the new job's name


@attrs.frozen(kw_only=True)
class Reproducer(Waiter):
    """Reproduces the jobs of one project."""

    def reproduce(self, job_id: str, options: ReproduceOptions) -> Reproduction:
        """Train once more what a job trained, wait for it, and compare the adapters.

        Raises:
            UnknownOption: there is no such option; nothing was sent.
            ConfigError: the job has no final adapter.
            NotReproducible: something is not as it was; the new job was cancelled.
            TrainingFailed: the new job failed or was cancelled.
            ArkorError: the job was imported, or the backend does not say what made the adapter.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed; the new job goes on.
        """
        for name in options:
            if name not in ReproduceOptions.__annotations__:
                raise unknown_option("A reproduction", name, ReproduceOptions.__annotations__)
        with self.limits(options.get("timeout"), options.get("abort_event")) as limits:
            job = self.patiently(lambda: self.client.get_job(self.scope, job_id), limits)
            final_adapter(TrainingResult(job), "job")
            if imported_from(job.config) is not None:
                raise ArkorError(
                    f"Job {job_id} was trained elsewhere and imported: nothing says with what rows and settings."
                )
            record = self._record(job_id, limits)
            if record is None:
                raise ArkorError(
                    f"The backend does not say what made the adapter of job {job_id}: self-hosted ones do."
                )
            with_job = options.get("with_job")
            if with_job is None:
                again = self._start(job, limits, options)
            else:
                again = self.patiently(lambda: self.client.get_job(self.scope, with_job), limits)
            try:
                found = self._followed(job, again, record, limits, options)
                return self._compared(job, again, record, found)
            except (Aborted, WaitTimeout) as exc:
                exc.args = (f"{exc} {goes_on(job_id, again.id)}",)
                raise

    def _record(self, job_id: str, limits: AbortScope) -> TrainingRecord | None:
        return self.patiently(lambda: self.client.job_record(self.scope, job_id), limits)

    def _start(self, job: TrainingJob, limits: AbortScope, options: ReproduceOptions) -> TrainingJob:
        """Start the new job; the request is never interrupted, so that there is no job that nobody knows."""
        settings: Mapping[str, Any] = {name: value for name, value in job.config.items() if name not in _BESIDE}
        config, key, made = JobConfig.from_wire(settings), uuid.uuid4().hex, list[TrainingJob]()
        name = job.name.removesuffix(_MARK)[: MAX_NAME_CHARS - len(_MARK)] + _MARK

        def create() -> None:
            made.append(self.client.create_job(self.scope, name=name, config=config, idempotency_key=key))

        abort_event = options.get("abort_event") or self.abort_event
        with AbortScope(abort_event, Deadline(options.get("timeout")), patient=True) as patient:
            run_unbroken(create, patient)
        return made[0]

    def _followed(
        self,
        job: TrainingJob,
        again: TrainingJob,
        record: TrainingRecord,
        limits: AbortScope,
        options: ReproduceOptions,
    ) -> TrainingRecord:
        """Wait until the new job has completed, and return its record, which it tells before its first step."""
        tell = options.get("on_progress") or (lambda _: None)
        found: TrainingRecord | None = None
        while True:
            tell(again)
            if found is None and again.status != JobStatus.QUEUED:
                found = self._record(again.id, limits)
                if found is not None and not options.get("anyway"):
                    self._check(job, again, record.first_difference(found), options)
            if again.is_terminal:
                break
            limits.pause(POLL_S)
            again = self.patiently(lambda: self.client.get_job(self.scope, again.id), limits)  # noqa: B023  # called now
        if again.status != JobStatus.COMPLETED or found is None:
            raise TrainingFailed(TrainingResult(again))
        return found

    def _check(
        self, job: TrainingJob, again: TrainingJob, difference: RecordDifference | None, options: ReproduceOptions
    ) -> None:
        if difference is None:
            return
        if options.get("with_job") is None:
            with contextlib.suppress(Conflict):  # it has ended already
                self.client.cancel_job(self.scope, again.id)
        raise NotReproducible(job.id, again.id, str(difference))

    def _compared(
        self, job: TrainingJob, again: TrainingJob, record: TrainingRecord, found: TrainingRecord
    ) -> Reproduction:
        with tempfile.TemporaryDirectory(prefix="arkor-reproduce-") as folder:
            then, now = (self._fetched(one.id, Path(folder) / one.id) for one in (job, again))
            return Reproduction(
                job_id=job.id,
                again_id=again.id,
                sha256=sha256_of(now / WEIGHTS),
                difference=difference_of(then, now),
                record_difference=record.first_difference(found),
                full_determinism=bool(job.config.get("fullDeterminism")),
            )

    def _fetched(self, job_id: str, dest: Path) -> Path:
        artifacts = self.client.list_artifacts(self.scope, job_id)
        artifact = next((one for one in artifacts if one.name == FINAL_NAME), None)
        if artifact is None:
            raise ArkorError(f"The adapter of job {job_id} is no longer on the backend.")
        return self.client.download_artifact(self.scope, job_id, artifact, dest)


def goes_on(job_id: str, again_id: str) -> str:
    """Return a sentence that says how to compare a job that goes on."""
    return f"Job {again_id} goes on: 'arkor reproduce {job_id} --with {again_id}' waits for it, and compares."
