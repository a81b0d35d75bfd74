"""Where a trainer's job comes from: submitted now, remembered from a process that was killed, or attached to.

Protocol: docs/protocol.md, "Jobs" and "The remembered job".
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from arkor.auth.identity import host_key
from arkor.client.chat import ChatResponse
from arkor.client.client import CloudApiClient
from arkor.client.evaluate_options import EvaluateOptions
from arkor.client.evaluating import Evaluator
from arkor.client.export_settings import ExportSettings
from arkor.client.exporting import Exporter
from arkor.client.position import StreamPosition
from arkor.client.project import ensure_project, find_project
from arkor.client.reproduce_options import ReproduceOptions
from arkor.client.reproducing import Reproducer
from arkor.client.reproduction import Reproduction
from arkor.errors import CloudApiError, ConfigError, EntryError, NotFound
from arkor.evaluation.report import EvaluationReport
from arkor.http.abort import AbortScope, Deadline, run_unbroken
from arkor.protocol.config import JobConfig
from arkor.protocol.job_metrics import Metrics
from arkor.protocol.jobs import Artifact, JobStatus, Scope, TrainingJob
from arkor.protocol.progress import Progress
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from arkor.protocol.samples import Samples
from arkor.system.children import is_importing
from arkor.text import one_line
from arkor.trainer.follow import JobRecord
from arkor.trainer.remember import Bookmark, Place
from arkor.trainer.submission import StartProgress, Submission

_JUDGED = frozenset({400, 404, 409, 413, 422})  # the submission was looked at and refused: there is no job
_UNDER_WAY = frozenset({JobStatus.QUEUED.value, JobStatus.RUNNING.value, JobStatus.PAUSED.value})

_ONCE_MORE = (
    "A child process of multiprocessing imports this program and would start its job once more. "
    "Put the call that starts the job under if __name__ == '__main__'."
)

logger = logging.getLogger(__name__)


@attrs.frozen
class Attachment:
    """A job that another process started.

    Attributes:
        job_id: the job.
        after: follow from the event after this id; None from the first.
    """

    job_id: str
    after: str | None


class Starter:
    """Submits a trainer's job, or finds it, once.

    Args:
        source: what to submit, or the job to attach to.
        client: the backend, where the caller has a client.
        backend: a base URL, or ``local``; None for ``default_cloud_api_url()``.
        project_dir: the folder whose project the job belongs to, and where relative paths start.
        remember: the file that keeps where the trainer is with its job, or None.
        abort_event: ends starting, and asking a model, at once when set, or None.

    Attributes:
        source: as given.
        backend: as given.
        abort_event: as given.
        bookmark: the file that keeps where the trainer is.
        was_sent: whether the backend may have the job.
        is_cancelled: whether the backend was asked to stop the job.
        record: what is known of the job; None until it was started.

    Thread-safety: ``start`` and ``connect`` by one thread at a time; the attributes may be read from any.
    """

    def __init__(
        self,
        source: Submission | Attachment,
        *,
        client: CloudApiClient | None,
        backend: str | None,
        project_dir: Path,
        remember: Path | None,
        abort_event: threading.Event | None,
    ) -> None:
        self.source = source
        self.backend = backend
        self.bookmark = Bookmark(None if remember is None else project_dir / remember)
        self.was_sent = False
        self.is_cancelled = False
        self._known_id = source.job_id if isinstance(source, Attachment) else None
        self.record: JobRecord | None = None
        self._client = client
        self._scope: Scope | None = None
        self._project_dir = project_dir
        self.abort_event = abort_event
        self._idempotency_key = uuid.uuid4().hex

    def configure(self, *, backend: str | None, dry_run: bool | None) -> None:
        """Change where, or how far, the job will run; None leaves it as it is."""
        if backend is not None:
            self.backend, self._client = backend, None
        if dry_run is not None and isinstance(self.source, Submission):
            self.source = attrs.evolve(self.source, config=attrs.evolve(self.source.config, dry_run=dry_run))

    def is_submitted(self) -> bool:
        """Whether the job exists already, so that starting only looks for it.

        Raises:
            ConfigError: the bookmark cannot be used, or holds something else.
        """
        if self.record is not None or isinstance(self.source, Attachment):
            return True
        place = self.bookmark.read()
        return place is not None and place.job_id is not None

    def check_alive(self) -> None:
        """Do nothing while the backend may come back. Raises LocalBackendError as ``CloudApiClient`` does."""
        if self._client is not None:
            self._client.check_alive()

    def connect(self) -> tuple[CloudApiClient, Scope]:
        """Return the client and the project, found once; a failure is not remembered."""
        if self._client is None:
            self._client = CloudApiClient.connect(self.backend)
        if self._scope is None:
            create = isinstance(self.source, Submission)
            self._scope = ensure_project(self._client, self._project_dir, create=create)
        return self._client, self._scope

    def running(self, name: str) -> Starter | None:
        """Return a starter of the newest job of a name that is queued, running or paused; None if there is none.

        Nothing is created.
        """
        client = self._client = self._client or CloudApiClient.connect(self.backend)
        scope = self._scope or find_project(client, self._project_dir)
        if scope is None:
            return None
        found = (job for job in client.iter_jobs(scope) if job.name == name and job.status in _UNDER_WAY)
        job = next(found, None)
        return None if job is None else self.following(job, client, scope)

    def following(self, job: TrainingJob, client: CloudApiClient, scope: Scope) -> Starter:
        """Return a starter of another job, which is known; it remembers nothing on disk.

        Args:
            job: the job.
            client: its backend.
            scope: its project.
        """
        starter = Starter(
            Attachment(job.id, None),
            client=client,
            backend=self.backend,
            project_dir=self._project_dir,
            remember=None,
            abort_event=self.abort_event,
        )
        starter._scope = scope
        starter._keep(job, StreamPosition())
        return starter

    @property
    def job_id(self) -> str | None:
        """The id of the job, known from its start or its attachment; None before."""
        if self.record is not None:
            return self.record.job.id
        return self.source.job_id if isinstance(self.source, Attachment) else None

    def state(self) -> str:
        """Return a sentence that says what became of the job when waiting for it is broken off."""
        known_id = one_line((self.record.job.id if self.record else self._known_id) or "")
        if self.is_cancelled:
            return f"The backend was asked to stop job {known_id}: wait again to see its end."
        if self.record is not None and self.record.job.status == JobStatus.PAUSED:
            return f"Job {known_id} is paused: unpause() lets it go on; cancel() stops it."
        if self.record is not None:
            return f"Job {known_id} goes on: wait again to see its end; cancel() stops it."
        if known_id:
            return f"Job {known_id} was left as it is."
        if self.was_sent:
            return "The job may have been submitted: 'arkor jobs' lists the project's jobs."
        return "No job was submitted."

    def ask(self, call: str, **request: Any) -> ChatResponse:
        """Ask a model of the job; the trainer's abort event counts where the question has none of its own.

        Args:
            call: ``chat`` or ``complete``, the client's method.
            request: its arguments.
        """
        client, scope = self.connect()
        calls: dict[str, Callable[..., ChatResponse]] = {"chat": client.chat, "complete": client.complete}
        return calls[call](scope, **{"abort_event": self.abort_event, **request})

    def draft(self) -> JobConfig:
        """Send the rows to the backend, and return the settings of the job that ``start`` would submit.

        Raises:
            EntryError: the trainer has a job already.
            DatasetError: the rows cannot be trained on.
            UnsupportedByBackend: the backend shows no rows, takes no uploads, or would pass over a setting.
            CloudApiError, ConnectionFailed: the backend did not answer, or with an error.
        """
        if self.record is not None or isinstance(self.source, Attachment):
            known_id = self.record.job.id if self.record else self._known_id
            raise EntryError(f"The trainer follows job {known_id}: look at the rows on that job's page.")
        client, scope = self.connect()
        client.require("previews", "showing rows as a model sees them")  # before gigabytes are sent
        client.check_settings(self.source.config)
        with self.source.checked_rows(self._project_dir) as rows:
            return self.source.send_rows(client, scope, rows)

    def start(self, deadline: Deadline, on_progress: StartProgress | None) -> None:
        """Submit or find the job, and set ``record``.

        The abort event and the deadline break this off at once, but for the request that creates the job: that one is
        waited for, so that no job is left that nobody knows.
        """
        with (
            AbortScope(self.abort_event, deadline) as limits,
            limits.noticing_the_end(),
            limits.active(),
            self.bookmark.held() as place,
        ):
            if place is not None:
                self._known_id = place.job_id
            job_id = self._job_id(place)
            if job_id is not None:
                self._find(job_id, place)
            elif isinstance(self.source, Submission):
                self._submit(self.source, place, deadline, on_progress)

    def _job_id(self, place: Place | None) -> str | None:
        """Return the job to follow, where there is one.

        Raises:
            ConfigError: the bookmark is of another job, or of another backend.
        """
        attached_id = self.source.job_id if isinstance(self.source, Attachment) else None
        if place is None:
            return attached_id
        client, _ = self.connect()
        is_ours = place.job_id == attached_id if isinstance(self.source, Attachment) else place.name == self.source.name
        if not is_ours or place.backend != _place_name(client):
            raise ConfigError(
                "remember",
                f"names {self.bookmark.path}, which remembers job {place.job_id or '(being submitted)'} "
                f"{place.name!r} of {place.backend}: finish that one first, delete the file, or name another",
            )
        return place.job_id

    def _find(self, job_id: str, place: Place | None) -> None:
        client, scope = self.connect()
        try:
            job = client.get_job(scope, job_id)
        except NotFound as exc:
            if place is None:
                raise
            message = f"Job {job_id}, which {self.bookmark.path} remembers, is gone. Delete the file to start anew."
            raise NotFound(exc.status, message) from exc
        if place is None:
            after = self.source.after if isinstance(self.source, Attachment) else None
            place = Place(backend=_place_name(client), job_id=job_id, last_event_id=after)
            self.bookmark.write(place)
        else:
            self._tell_of_going_on(job, place)
        self._keep(job, place.position)

    def _tell_of_going_on(self, job: TrainingJob, place: Place) -> None:
        logger.info("Job %s: going on after event %s, as %s says", job.id, place.last_event_id, self.bookmark.path)
        changed = self.source.differences(job) if isinstance(self.source, Submission) else []
        if changed:
            logger.warning(
                "Going on with job %s, which %s remembers; it was started with other settings: %s",
                *(job.id, self.bookmark.path, ", ".join(changed)),
            )

    def _submit(
        self,
        submission: Submission,
        place: Place | None,
        deadline: Deadline,
        on_progress: StartProgress | None,
    ) -> None:
        if is_importing():
            raise EntryError(_ONCE_MORE)
        self.was_sent = self.was_sent or place is not None  # the process that wrote it may have sent the job
        with submission.checked_rows(self._project_dir, on_progress) as rows:
            client, scope = self.connect()
            config = submission.prepare(client, scope, rows, on_progress)
        key = place.idempotency_key if place else self._idempotency_key
        place = Place(backend=_place_name(client), name=submission.name, idempotency_key=key)
        self.bookmark.write(place)

        def create() -> None:
            self.was_sent = True
            try:
                job = client.create_job(scope, name=submission.name, config=config, idempotency_key=key)
            except CloudApiError as exc:
                if exc.status in _JUDGED:
                    self.was_sent = False
                    self.bookmark.clear()
                raise
            self._keep(job, place.position)
            self.bookmark.note(attrs.evolve(place, job_id=job.id))
            logger.info("Job %s: submitted (%s)", one_line(job.id), one_line(submission.name))

        with AbortScope(self.abort_event, deadline, patient=True) as limits:
            run_unbroken(create, limits)

    def _keep(self, job: TrainingJob, position: StreamPosition) -> None:
        self.record = JobRecord(
            job,
            position,
            download=self._download,
            ask=self.ask,
            metrics=self._metrics,
            samples=self._samples,
            receipt=self._receipt,
            record=self._made_from,
            evaluate=self._evaluate,
            export=self._export,
            reproduce=self._reproduce,
        )

    def _download(self, job_id: str, artifact: Artifact, dest: Path, on_progress: Progress | None) -> Path:
        client, scope = self.connect()
        return client.download_artifact(scope, job_id, artifact, dest, on_progress=on_progress)

    def _metrics(self, job_id: str) -> Metrics:
        client, scope = self.connect()
        return client.job_metrics(scope, job_id)

    def _samples(self, job_id: str, timeout: float | None, abort_event: threading.Event | None) -> Samples:
        event = abort_event or self.abort_event
        with AbortScope(event, Deadline(timeout)) as limits, limits.noticing_the_end(), limits.active():
            client, scope = self.connect()
            return client.job_samples(scope, job_id)

    def _receipt(self, job_id: str) -> Receipt | None:
        client, scope = self.connect()
        return client.job_receipt(scope, job_id)

    def _evaluate(self, call: str, job_id: str, options: EvaluateOptions) -> EvaluationReport:
        client, scope = self.connect()
        evaluator = Evaluator(client=client, scope=scope, folder=self._project_dir, abort_event=self.abort_event)
        calls = {"evaluate": evaluator.evaluate, "report": evaluator.report}
        return calls[call](job_id, options)

    def _export(self, job_id: str, settings: ExportSettings) -> Path:
        client, scope = self.connect()
        return Exporter(client=client, scope=scope, abort_event=self.abort_event).export(job_id, settings).folder

    def _reproduce(self, job_id: str, options: ReproduceOptions) -> Reproduction:
        client, scope = self.connect()
        return Reproducer(client=client, scope=scope, abort_event=self.abort_event).reproduce(job_id, options)

    def _made_from(self, job_id: str) -> TrainingRecord | None:
        client, scope = self.connect()
        return client.job_record(scope, job_id)


def _place_name(client: CloudApiClient) -> str:
    """Return what a bookmark calls a backend: its address, but ``local`` for this user's own, whose address changes."""
    return client.identity.host_key or host_key(client.base_url)
