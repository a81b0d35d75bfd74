"""The queue of evaluations: one is made at a time, after its job has completed.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy.exc import OperationalError

from arkor.backend.evaluations.known_checks import KnownChecks, files_of
from arkor.backend.evaluations.run import Ended, EvaluationRun
from arkor.backend.evaluations.task import REPORT_FILE, Task
from arkor.backend.inference.service import Inference
from arkor.backend.inference.targets import Target, Targets, ready_model
from arkor.backend.jobs.job_folder import uploaded_rows
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.evaluations import Claimed
from arkor.protocol import wire
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import ADAPTER, BASE
from arkor.protocol.jobs import AdapterRef, Artifact, JobStatus, checkpoint_name
from arkor.protocol.metrics import EVAL_METRICS
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from arkor.serving.refusal import Refusal
from arkor.system.files import make_private_folder
from arkor.text import first_line

log = logging.getLogger("arkor.backend")

_EVAL_LOSS = next(metric for metric in EVAL_METRICS if metric.name == "eval_loss")
_LOOK_S = 1.0  # between two looks at whether what was postponed can be made now


class EvaluationService:
    """Makes the evaluations. Thread-safe.

    One thread does it. An evaluation that was under way when the backend stopped is queued again, and keeps its
    answers so far. A check that nobody asked for waits until nothing trains: it would take memory from a training.

    Args:
        settings: where the files are.
        store: the evaluations.
        inference: answers the questions.
        targets: finds the models.
        is_training: says whether any job trains now.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        inference: Inference,
        targets: Targets,
        is_training: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._store = store
        self._inference = inference
        self._targets = targets
        self._is_training = is_training
        self._checks = KnownChecks()
        self._wake = threading.Condition()
        self._news = self._stopping = self._postpones = False
        self._awaited: frozenset[str] = frozenset()  # jobs whose end lets an evaluation begin
        self._current: tuple[str, EvaluationRun] | None = None
        self._thread = threading.Thread(target=self._loop, name="evaluations", daemon=True)

    def start(self) -> None:
        """Take over what an earlier backend process left, and begin to work."""
        self._news = True
        self._thread.start()

    def heard_of(self, job_id: str) -> None:
        """Hear that something was stored for a job: it may have ended."""
        if job_id in self._awaited:
            self.look()

    def look(self) -> None:
        """Hear that an evaluation was queued."""
        with self._wake:
            self._news = True
            self._wake.notify_all()

    def cancel(self, evaluation_id: str, reason: str = "It was cancelled.") -> bool:
        """End an evaluation; return False if it has ended already."""
        is_cancelled = self._store.evaluations.cancel(evaluation_id, reason)
        self._stop_current(evaluation_id)
        return is_cancelled

    def cancel_all(self, job_id: str) -> None:
        """End the evaluations of a job that is to be deleted, and wait until none of them writes any more."""
        for evaluation in self._store.evaluations.list(job_id):
            if not evaluation.is_terminal:
                self.cancel(evaluation.id, "Its job was deleted.")
            with self._wake:
                self._wake.wait_for(lambda: self._current is None or self._current[0] != evaluation.id)  # noqa: B023

    def report_path(self, job_id: str, evaluation_id: str) -> Path:
        """Return where the report of an evaluation is, as JSON."""
        return self._folder(job_id, evaluation_id) / REPORT_FILE

    def stop(self) -> None:
        """Make nothing more; an evaluation that is under way is queued again."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
            current = self._current
        if current is not None:
            current[1].stop()
        if self._thread.is_alive():
            self._thread.join()

    def _stop_current(self, evaluation_id: str) -> None:
        with self._wake:
            current = self._current
        if current is not None and current[0] == evaluation_id:
            current[1].stop()

    def _loop(self) -> None:
        leaves_running = True  # an earlier process may have
        while self._await_news():
            try:
                if leaves_running:
                    self._store.evaluations.requeue_running()
                    leaves_running = False
                self._awaited = self._store.evaluations.awaited_jobs()  # before the look, so that no end is missed
                while not self._stopping and (claimed := self._claim()) is not None:
                    self._make(claimed)
            except Exception as exc:  # the disk is full, say: it is tried again
                known = isinstance(exc, OperationalError)
                log.warning("The evaluations wait, because nothing can be stored: %s", exc, exc_info=not known)
                self._postpones = leaves_running = True

    def _claim(self) -> Claimed | None:
        is_training = self._is_training()
        claimed = self._store.evaluations.claim(checks=not is_training)
        self._postpones = claimed is None and is_training and self._store.evaluations.has_work()
        return claimed

    def _await_news(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._news or self._stopping, _LOOK_S if self._postpones else None)
            self._news = False
            return not self._stopping

    def _make(self, claimed: Claimed) -> None:
        """Make an evaluation, and store how it ended.

        Raises:
            OperationalError: nothing can be stored now.
        """
        try:
            ended = self._made(claimed)
        except Refusal as exc:
            ended = Ended(failure=exc.error)
        except OperationalError:
            raise
        except Exception as exc:  # one evaluation must not end the others
            log.exception("Evaluation %s could not be made", claimed.id)
            ended = Ended(failure=f"It could not be made: {first_line(exc)}")
        finally:
            with self._wake:
                self._current = None
                self._wake.notify_all()
        if self._stopping and ended.report is None:
            self._store.evaluations.requeue(claimed.id)
        elif ended.report is not None:
            self._complete(claimed, ended.report)
        else:
            self._store.evaluations.fail(claimed.id, ended.failure or "It was stopped.")

    def _made(self, claimed: Claimed) -> Ended:
        folder = self._folder(claimed.job_id, claimed.id)
        make_private_folder(folder)
        targets = self._found(claimed)
        run = EvaluationRun(self._settings.evaluation_module, folder, self._inference, targets)
        with self._wake:
            if self._stopping or self._store.evaluations.status(claimed.id) != JobStatus.RUNNING:
                return Ended()
            self._current = (claimed.id, run)
        task, files = self._task(claimed, folder, targets), files_of(targets[ADAPTER])
        task = attrs.evolve(task, known_check=self._checks.find(claimed.job_id, files))
        ended = run.make(task.to_line(), lambda done, total: self._store.evaluations.progress(claimed.id, done, total))
        if ended.report is not None and ended.report["check"]:
            self._checks.keep(claimed.job_id, files, ended.report["check"])
        return ended

    def _complete(self, claimed: Claimed, report: Mapping[str, Any]) -> None:
        artifact = report.get("artifact")
        self._store.evaluations.complete(
            claimed.id,
            verdict=report["verdict"],
            check=report["check"],
            artifact=None if artifact is None else Artifact.from_wire(artifact),
        )

    def _found(self, claimed: Claimed) -> dict[str, Target]:
        """Return the models by the names of the candidates, the one first that the others are compared with.

        Raises:
            Refusal: one of them cannot be had.
        """
        options, project = claimed.options, claimed.project

        def adapter(ref: AdapterRef) -> Target:
            return self._targets.find({"adapter": ref.to_wire()}, project)

        final = adapter(AdapterRef("final", claimed.job_id))
        base = attrs.evolve(final, name=BASE, base=self._base(claimed), adapter=None)
        others = {
            checkpoint_name(step): adapter(AdapterRef("checkpoint", claimed.job_id, step))
            for step in options.checkpoints
        }
        first = {}
        if options.against != BASE:
            against = AdapterRef.from_wire(options.against)
            assert against is not None  # it was checked
            first = {f"{against.job_id}:{against.step or 'final'}": adapter(against)}
        return {**first, BASE: base, ADAPTER: final, **others}

    def _base(self, claimed: Claimed) -> str:
        return ready_model(str(claimed.config["model"]), self._settings.model_root)

    def _task(self, claimed: Claimed, folder: Path, targets: dict[str, Target]) -> Task:
        config = JobConfig.from_wire(claimed.config)
        options = claimed.options
        started = self._store.events.last(claimed.job_id, "training.started")
        completed = self._store.events.last(claimed.job_id, "training.completed")
        metadata = wire.mapping(started.get("metadata"))
        return Task(
            id=claimed.id,
            job_id=claimed.job_id,
            config=config,
            prompt_form=claimed.prompt_form,
            options=options,
            candidates=[name for name in targets if name != BASE or options.against == BASE],
            model_path=targets[BASE].base,
            dataset_path=uploaded_rows(self._settings, config.dataset_source),
            eval_dataset_path=uploaded_rows(self._settings, config.eval_dataset_source),
            rows_path=uploaded_rows(self._settings, options.source),
            folder=folder,
            artifacts_folder=self._settings.job_folder(claimed.job_id) / "artifacts",
            artifact=f"report-{claimed.id.removeprefix('eval_')}",
            allow_private_urls=self._settings.allow_private_urls,
            record=TrainingRecord.from_wire(metadata.get("record")),
            max_length=_max_length(config, Receipt.from_wire(metadata.get("receipt"))),
            trained_loss=_trained_loss(wire.mapping(completed.get("metrics"))),
            created_at=claimed.created_at,
        )

    def _folder(self, job_id: str, evaluation_id: str) -> Path:
        return self._settings.job_folder(job_id) / "evaluations" / evaluation_id


def _max_length(config: JobConfig, receipt: Receipt | None) -> int | None:
    """Return how long the training let an example be, in tokens; None if it cut and dropped nothing."""
    if receipt is None or not (config.max_length or receipt.truncated.count or receipt.dropped.count):
        return config.max_length
    return receipt.max_length


def _trained_loss(metrics: Mapping[str, Any]) -> float | None:
    """Return the loss of the held-out rows with the adapter that was kept, in nats a token; None if there is none."""
    best, last = _EVAL_LOSS.best_wire_name, _EVAL_LOSS.wire_name
    return wire.number(metrics.get(best, metrics.get(last)))
