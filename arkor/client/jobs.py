"""The client's calls for jobs: submit one, look at them, follow one, stop, pause or resume one, delete one.

Protocol: docs/protocol.md, "Jobs", "The event stream".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from arkor.client.adapter_source import AdapterArchive, AdapterSource
from arkor.client.capabilities import PAGE, CapabilityCalls
from arkor.client.position import EVENT_ID
from arkor.client.uploads import ANSWER_TIMEOUT_S
from arkor.errors import ConfigError, NotFound
from arkor.http.connections import CONNECT_TIMEOUT_S
from arkor.http.transport import path
from arkor.protocol import wire
from arkor.protocol.config import BEST_BY_ANSWERS, JobConfig
from arkor.protocol.jobs import Scope, TrainingJob

MOST_LISTED = 5

# Settings without which a job would train something else, and what a backend that knows them has.
_NEED_FEATURE = {
    "load_best_model_at_end": "best-checkpoint",
    "early_stopping_patience": "best-checkpoint",
    "metric_for_best_model": "best-metric",
    "greater_is_better": "best-metric",
    "base_adapter": "base-adapter",
    "evaluation": "evaluations",
    "full_determinism": "full-determinism",
    "sample_prompts": "samples",
}

_BLANKS = b" \t\n\r\v\f\x1c\x1d\x1e\x1f"  # what requests takes for a blank


class JobCalls(CapabilityCalls):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    def create_job(self, scope: Scope, *, name: str, config: JobConfig, idempotency_key: str) -> TrainingJob:
        """Submit a job.

        Args:
            scope: the project it belongs to.
            name: what to call it.
            config: its settings.
            idempotency_key: unique to this submission. Where the backend honours it, a repeat returns the first job,
                so that the request is repeated when its answer was lost.

        Raises:
            UnsupportedByBackend: as ``check_settings`` does.
        """
        self.check_settings(config)
        answer = self._transport.call(
            "POST",
            path("v1", "jobs"),
            params=scope.to_query(),
            headers={"Idempotency-Key": idempotency_key},
            json={"name": name, "config": config.to_wire()},
            repeatable="idempotent-jobs" in self.features,
        )
        return _job(wire.json_object(answer))

    def import_job(
        self, scope: Scope, source: AdapterSource, archive: AdapterArchive, *, name: str, model: str, key: str
    ) -> TrainingJob:
        """Send an adapter that was trained elsewhere, and have a finished job made of it.

        Args:
            scope: the project that gets the job.
            source: the adapter.
            archive: its files.
            name: what to call the job.
            model: its base model, as the backend knows it.
            key: unique to this request: a repeat returns the first one's job.

        Raises:
            UnsupportedByBackend: the backend imports no adapters.
            CloudApiError: 422, the adapter is not taken; the text says why.
        """
        self.require("import", "importing an adapter")
        asked = {"name": name, "model": model, "source": source.name, "sha256": archive.sha256}
        revision = {} if source.revision is None else {"revision": source.revision}
        answer = self._transport.call(
            "POST",
            path("v1", "jobs", "import"),
            params={**scope.to_query(), **asked, **revision},
            headers={"Idempotency-Key": key, "Content-Type": "application/x-tar"},
            data=archive,
            timeout_s=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S),
            repeatable=True,
        )
        return _job(wire.json_object(answer))

    def check_settings(self, config: JobConfig) -> None:
        """Raise UnsupportedByBackend if a config has a setting that a backend without its feature would pass over."""
        if config.eval_dataset_source is not None:
            self.require("eval-dataset", "an eval_dataset")
        if any(wire.mapping(source).get("columns") for source in (config.dataset_source, config.eval_dataset_source)):
            self.require("columns", "columns of a data set")
        for setting, feature in _NEED_FEATURE.items():
            if getattr(config, setting) not in (None, False):
                self.require(feature, setting)
        if config.value("devices") > 1:
            self.require("devices", f"devices={config.devices}")
        if config.metric_for_best_model in BEST_BY_ANSWERS:
            self.require("best-score", f"metric_for_best_model={config.metric_for_best_model!r}")

    def get_job(self, scope: Scope, job_id: str) -> TrainingJob:
        """Return a job. Raises NotFound where there is none of that id in the project."""
        return _job(self._json("GET", "v1", "jobs", job_id, scope=scope))

    def find_job(self, scope: Scope, job_id: str) -> TrainingJob:
        """Return the job of an id, or the only one of the project whose id begins so.

        Raises:
            NotFound: there is none.
            ConfigError: there are several.
        """
        try:
            return self.get_job(scope, job_id)
        except NotFound:
            found = [job for job in self.list_jobs(scope) if job.id.startswith(job_id)]
            if not found:
                raise
        if len(found) > 1:
            ids = ", ".join(job.id for job in found[:MOST_LISTED])
            raise ConfigError("job", f"{len(found)} ids begin with {job_id!r}, type more of the one you mean: {ids}")
        return found[0]

    def list_jobs(self, scope: Scope, *, limit: int | None = None) -> list[TrainingJob]:
        """Return the project's jobs.

        Args:
            scope: the project.
            limit: return the newest so many, 1 or more; None returns all, in the backend's order.

        Raises:
            ConfigError: the limit is less than 1; nothing was sent.

        Example:
            ``newest = client.list_jobs(scope, limit=20)``
        """
        if limit is None:
            return list(self._jobs(scope))
        if limit < 1:
            raise ConfigError("limit", f"must be 1 or more, not {limit!r}")
        return list(itertools.islice(self.iter_jobs(scope, page=limit), limit))

    def iter_jobs(self, scope: Scope, *, page: int | None = None) -> Iterator[TrainingJob]:
        """Yield the project's jobs, the newest first, fetched as they are needed.

        A job that is submitted meanwhile is not among them, and no job comes twice. A backend without pages sends all
        of them at once.

        Args:
            scope: the project.
            page: the most jobs to fetch at a time, 1 or more; None for as many as the backend gives.

        Example:
            ``failed = next((job for job in client.iter_jobs(scope) if job.status == "failed"), None)``
        """
        if "pages" in self.features:
            return self._jobs(scope, min(page or PAGE, PAGE))
        return iter(sorted(self._jobs(scope), key=lambda job: job.created_at, reverse=True))

    def _jobs(self, scope: Scope, page: int = PAGE) -> Iterator[TrainingJob]:
        return map(TrainingJob.from_wire, self._listed("jobs", "v1", "jobs", query=scope.to_query(), page=page))

    def cancel_job(self, scope: Scope, job_id: str) -> None:
        """Ask the backend to stop a job. Raises CloudApiError (on most, Conflict) where it has ended already."""
        self._transport.call("POST", path("v1", "jobs", job_id, "cancel"), params=scope.to_query(), repeatable=True)

    def pause_job(self, scope: Scope, job_id: str) -> TrainingJob:
        """Ask the backend to pause a job: it saves what it has, and trains no further until it is unpaused.

        A queued job is paused at once, a running one as soon as its worker has saved a checkpoint.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.

        Returns:
            The job; still ``running``, if its worker has to save first.

        Raises:
            UnsupportedByBackend: the backend pauses no jobs.
            Conflict: the job has ended.
            NotFound: there is no such job.

        Example:
            ``client.pause_job(scope, "job_x4k2").status``
        """
        self.require("pause-jobs", "pausing jobs")
        return _job(self._json("POST", "v1", "jobs", job_id, "pause", scope=scope, repeatable=True))

    def unpause_job(self, scope: Scope, job_id: str) -> TrainingJob:
        """Queue a paused job again; it goes on from the checkpoint that it saved.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.

        Returns:
            The job.

        Raises:
            UnsupportedByBackend: the backend pauses no jobs.
            Conflict: the job is not paused.
            NotFound: there is no such job.

        Example:
            ``client.unpause_job(scope, "job_x4k2").status``
        """
        self.require("pause-jobs", "pausing jobs")
        return _job(self._json("POST", "v1", "jobs", job_id, "unpause", scope=scope, repeatable=True))

    def resume_job(self, scope: Scope, job_id: str, *, idempotency_key: str) -> TrainingJob:
        """Queue a new job that goes on from the last checkpoint of a job that failed or was cancelled.

        The new job has the same settings. The other job stays as it is.

        Args:
            scope: the project it belongs to.
            job_id: the whole id of the job that failed or was cancelled.
            idempotency_key: unique to this request. A repeat returns the first one's job, so that the request is
                repeated when its answer was lost.

        Returns:
            The new job; its ``resumed_from`` says which job and step it goes on from.

        Raises:
            UnsupportedByBackend: the backend resumes no jobs.
            Conflict: the job neither failed nor was cancelled, or it left no checkpoint.
            ServerError: 503, the worker of the job has not left yet: try again in a moment.
            NotFound: there is no such job.

        Example:
            ``client.resume_job(scope, "job_x4k2", idempotency_key=uuid.uuid4().hex).resumed_from.step``
        """
        self.require("resume-jobs", "resuming jobs")
        key = {"Idempotency-Key": idempotency_key}
        return _job(self._json("POST", "v1", "jobs", job_id, "resume", scope=scope, headers=key, repeatable=True))

    def delete_job(self, scope: Scope, job_id: str) -> None:
        """Remove a job that has ended, for good: its events, its artifacts, and its rows where no other job has them.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.

        Raises:
            UnsupportedByBackend: the backend deletes no jobs.
            Conflict: the job has not ended; cancel it first.
            NotFound: there is no such job.
        """
        self.require("delete-jobs", "deleting jobs")
        self._delete("v1", "jobs", job_id, scope=scope)

    def open_events(
        self, scope: Scope, job_id: str, *, last_event_id: str | None, timeout_s: tuple[float, float]
    ) -> requests.Response:
        """Open a job's event stream, once.

        Args:
            scope: the project it belongs to.
            job_id: the job.
            last_event_id: resume after this event; None or empty for the first one.
            timeout_s: seconds to connect, and seconds without a byte until it counts as dead.

        Returns:
            The open answer; the caller reads and closes it.

        Raises:
            ConfigError: no event has such an id.
        """
        if not EVENT_ID.fullmatch(last_event_id or ""):
            raise ConfigError("last_event_id", f"must be the id of an event, not {last_event_id!r}")
        # Compression would hold events back.
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        # UTF-8, as the event stream's specification has it. No header's value begins or ends with a blank.
        after = (last_event_id or "").encode().strip(_BLANKS).decode("latin-1")
        if after:
            headers["Last-Event-ID"] = after
        return self._transport.send(
            "GET",
            path("v1", "jobs", job_id, "events", "stream"),
            params=scope.to_query(),
            headers=headers,
            stream=True,
            timeout_s=timeout_s,
        )


def _job(body: Mapping[str, Any]) -> TrainingJob:
    return TrainingJob.from_wire(wire.mapping(body.get("job")))
