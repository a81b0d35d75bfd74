"""The queue of one kind of work on what jobs have made: one piece is done at a time, after its job has completed.

Protocol: docs/protocol.md, "Evaluations", "Exports".
"""

from __future__ import annotations

import abc
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic

import attrs

from arkor.backend.inference.service import Inference
from arkor.backend.inference.targets import Target, Targets, content_of
from arkor.backend.jobs.job_files import ARTIFACTS, JobFiles, uploaded_rows
from arkor.backend.settings import Settings
from arkor.backend.storage.interface import Storage
from arkor.backend.store import Store
from arkor.backend.store.database import UNAVAILABLE
from arkor.backend.store.tasks import Asked, Claimed, Shown, Tasks
from arkor.backend.tasks.run import Ended, TaskRun
from arkor.backend.tasks.task import WorkTask
from arkor.errors import StorageError
from arkor.protocol import wire
from arkor.protocol.config import JobConfig
from arkor.protocol.jobs import Artifact, JobStatus
from arkor.protocol.metrics import EVAL_METRICS
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from arkor.serving.refusal import Refusal
from arkor.system.files import make_private_folder
from arkor.text import first_line

log = logging.getLogger("arkor.backend")

_EVAL_LOSS = next(metric for metric in EVAL_METRICS if metric.name == "eval_loss")
_LOOK_S = 1.0  # between two looks at whether what was postponed can be done now


@attrs.frozen(kw_only=True)
class Parts:
    """The parts of a backend that such work needs.

    Attributes:
        settings: where the files are.
        store: the jobs.
        inference: answers the questions of the processes.
        targets: finds the models.
        storage: has the files of the jobs.
        others_s: seconds between two looks at what other servers have left; None if there are no others.
    """

    settings: Settings
    store: Store
    storage: Storage
    inference: Inference
    targets: Targets
    others_s: float | None = None


@attrs.frozen
class Told:
    """What the database says of the job of a piece.

    Attributes:
        receipt: what became of the rows; None if the job did not say.
        metrics: of the end of its training, in wire names.
        common: the fields of the ``WorkTask`` that all kinds of work fill alike.
    """

    receipt: Receipt | None
    metrics: Mapping[str, Any] = attrs.field(hash=False)
    common: Mapping[str, Any] = attrs.field(hash=False)

    @property
    def eval_loss(self) -> float | None:
        """The loss of the held-out rows with the adapter that was kept, in nats a token; None if there is none."""
        best, last = _EVAL_LOSS.best_wire_name, _EVAL_LOSS.wire_name
        return wire.number(self.metrics.get(best, self.metrics.get(last)))


class TaskQueue(abc.ABC, Generic[Asked, Shown]):
    """Does the work of one kind. Thread-safe.

    One thread does it. A piece that was under way when the backend stopped is queued again, and keeps what its folder
    has.

    Args:
        name: what the work is called; its folders are in one of that name in the job's folder.
        module: of the process that does a piece.
        tasks: the work, in the database.
        parts: the parts of the backend that it needs.

    Attributes:
        kept_files: the names of the files in a piece's folder that are stored beside its archive.
    """

    kept_files: tuple[str, ...] = ()

    def __init__(self, name: str, module: str, tasks: Tasks[Asked, Shown], parts: Parts) -> None:
        self._name = name
        self._module = module
        self._tasks = tasks
        self._parts = parts
        self._wake = threading.Condition()
        self._news = self._stopping = self._postpones = False
        self._awaited: frozenset[str] = frozenset()  # jobs whose end lets a piece begin
        self._current: tuple[str, TaskRun] | None = None
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    @abc.abstractmethod
    def models(self, claimed: Claimed[Asked]) -> Mapping[str, Target]:
        """Return the models that the process may ask, by their names.

        Raises:
            Refusal: one of them cannot be had.
        """

    @abc.abstractmethod
    def task(self, claimed: Claimed[Asked], told: Told, models: Mapping[str, Target]) -> WorkTask:
        """Return what the process is told.

        Args:
            claimed: the piece.
            told: what the job's events say.
            models: see ``models``.
        """

    def may_begin(self, _options: Asked) -> bool:
        """Say whether such a piece may be done now."""
        return True

    def has_made(self, claimed: Claimed[Asked], made: Mapping[str, Any]) -> None:
        """Hear what a process made, before that is stored."""

    def tidy(self, folder: Path) -> None:
        """Remove what nobody needs of a piece that has ended, or is begun again."""

    def _tidy(self, folder: Path) -> None:
        for file in folder.glob(".dataset.*"):  # rows that were fetched
            file.unlink(missing_ok=True)
        self.tidy(folder)

    def folder(self, job_id: str, task_id: str) -> Path:
        """Return the folder of a piece."""
        return self._parts.settings.job_folder(job_id) / self._name / task_id

    def start(self) -> None:
        """Take over what an earlier backend process left, and begin to work."""
        self._news = True
        self._thread.start()

    def heard_of(self, job_id: str) -> None:
        """Hear that something was stored for a job: it may have ended."""
        if job_id in self._awaited:
            self.look()

    def look(self) -> None:
        """Hear that a piece was queued."""
        with self._wake:
            self._news = True
            self._wake.notify_all()

    def cancel(self, task_id: str, reason: str = "It was cancelled.") -> bool:
        """End a piece; return False if it has ended already."""
        is_cancelled = self._tasks.cancel(task_id, reason)
        self._stop_current(task_id)
        return is_cancelled

    def cancel_all(self, job_id: str) -> None:
        """End the pieces of a job that is to be deleted, and wait until none of them writes any more."""
        for task in self._tasks.list(job_id):
            if not task.is_terminal:
                self.cancel(task.id, "Its job was deleted.")
            with self._wake:
                self._wake.wait_for(lambda: self._current is None or self._current[0] != task.id)  # noqa: B023

    def stop(self) -> None:
        """Do nothing more; a piece that is under way is queued again."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
            current = self._current
        if current is not None:
            current[1].stop()
        if self._thread.is_alive():
            self._thread.join()

    def _stop_current(self, task_id: str) -> None:
        with self._wake:
            current = self._current
        if current is not None and current[0] == task_id:
            current[1].stop()

    def _loop(self) -> None:
        leaves_running = True  # an earlier process may have, and other servers that are gone
        while self._await_news():
            try:
                if leaves_running:
                    self._tasks.requeue_running()
                    leaves_running = self._parts.others_s is not None
                self._awaited = self._tasks.awaited_jobs()  # before the look, so that no end is missed
                while not self._stopping and (claimed := self._claim()) is not None:
                    self._do(claimed)
            except Exception as exc:  # the disk is full, say: it is tried again
                known = isinstance(exc, UNAVAILABLE)
                log.warning("The %s wait, because nothing can be stored: %s", self._name, exc, exc_info=not known)
                self._postpones = leaves_running = True

    def _claim(self) -> Claimed[Asked] | None:
        postponed = False

        def may_begin(options: Asked) -> bool:
            nonlocal postponed
            may = self.may_begin(options)
            postponed |= not may
            return may

        claimed = self._tasks.claim(may_begin)
        self._postpones = claimed is None and postponed
        return claimed

    def _await_news(self) -> bool:
        with self._wake:
            self._wake.wait_for(
                lambda: self._news or self._stopping, _LOOK_S if self._postpones else self._parts.others_s
            )
            self._news = False
            return not self._stopping

    def _do(self, claimed: Claimed[Asked]) -> None:
        """Do a piece, and store how it ended.

        Raises:
            DBAPIError: nothing can be stored now.
        """
        try:
            ended = self._done(claimed)
            if ended.made is not None:
                self._store_made(claimed, ended.made)
        except Refusal as exc:
            ended = Ended(failure=exc.error)
        except StorageError as exc:
            ended = Ended(failure=str(exc))
        except UNAVAILABLE:
            raise
        except Exception as exc:  # one piece must not end the others
            log.exception("%s could not be made", claimed.id)
            ended = Ended(failure=f"It could not be made: {first_line(exc)}")
        finally:
            self._tidy(self.folder(claimed.job_id, claimed.id))
            with self._wake:
                self._current = None
                self._wake.notify_all()
        if self._stopping and ended.made is None:
            self._tasks.requeue(claimed.id)
        elif ended.made is not None:
            self._complete(claimed, ended.made)
        else:
            self._tasks.fail(claimed.id, ended.failure or "It was stopped.")

    def files(self, job_id: str) -> JobFiles:
        """Return the files of a job."""
        return JobFiles.of(self._parts.storage, self._parts.settings.job_folder(job_id))

    def _store_made(self, claimed: Claimed[Asked], made: Mapping[str, Any]) -> None:
        """Store the files that a process has made.

        Raises:
            StorageError: the storage cannot be used.
        """
        files = self.files(claimed.job_id)
        if made.get("artifact") is not None:
            artifact = Artifact.from_wire(made["artifact"])
            files.hand_over(files.folder / ARTIFACTS / f"{artifact.name}.tar", content_of(artifact))
        for name in self.kept_files:
            if (file := self.folder(claimed.job_id, claimed.id) / name).exists():
                files.keep(file)

    def _done(self, claimed: Claimed[Asked]) -> Ended:
        folder = self.folder(claimed.job_id, claimed.id)
        make_private_folder(folder)
        self._tidy(folder)  # this backend may have been killed in the middle of it
        models = self.models(claimed)
        run = TaskRun(self._module, folder, self._parts.inference, models)
        with self._wake:
            if self._stopping or self._tasks.status(claimed.id) != JobStatus.RUNNING:
                return Ended()
            self._current = (claimed.id, run)
        task = self.task(claimed, self._told(claimed, folder), models)

        def progress(done: int, total: int) -> None:
            if not self._tasks.progress(claimed.id, done, total):  # another server was asked to cancel it
                run.stop()

        return run.make(task.to_line(), progress)

    def _told(self, claimed: Claimed[Asked], folder: Path) -> Told:
        started = self._parts.store.events.last(claimed.job_id, "training.started")
        completed = self._parts.store.events.last(claimed.job_id, "training.completed")
        metadata, config = wire.mapping(started.get("metadata")), JobConfig.from_wire(claimed.config)
        return Told(
            receipt=Receipt.from_wire(metadata.get("receipt")),
            metrics=wire.mapping(completed.get("metrics")),
            common={
                "id": claimed.id,
                "job_id": claimed.job_id,
                "config": config,
                "prompt_form": claimed.prompt_form,
                "options": claimed.options,
                "dataset_path": uploaded_rows(self._parts.storage, config.dataset_source, folder),
                "eval_dataset_path": uploaded_rows(self._parts.storage, config.eval_dataset_source, folder),
                "folder": folder,
                "artifacts_folder": self._parts.settings.job_folder(claimed.job_id) / ARTIFACTS,
                "allow_private_urls": self._parts.settings.allow_private_urls,
                "record": TrainingRecord.from_wire(metadata.get("record")),
            },
        )

    def _complete(self, claimed: Claimed[Asked], made: Mapping[str, Any]) -> None:
        self.has_made(claimed, made)
        artifact = made.get("artifact")
        is_stored = self._tasks.complete(
            claimed.id,
            verdict=made["verdict"],
            check=made["check"],
            artifact=None if artifact is None else Artifact.from_wire(artifact),
        )
        if not is_stored and self._tasks.status(claimed.id) is None:  # another server has deleted the job
            self._parts.storage.delete_all(self.files(claimed.job_id).prefix)
