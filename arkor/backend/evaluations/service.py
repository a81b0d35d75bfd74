"""The queue of evaluations.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.evaluations.known_checks import Files, KnownChecks, files_of
from arkor.backend.evaluations.task import REPORT_FILE, Task
from arkor.backend.inference.service import Inference
from arkor.backend.inference.targets import Target, Targets, ready_model
from arkor.backend.jobs.job_folder import uploaded_rows
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.tasks import Claimed
from arkor.backend.tasks.queue import TaskQueue
from arkor.protocol import wire
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import ADAPTER, BASE, Evaluation, EvaluationOptions
from arkor.protocol.jobs import AdapterRef, checkpoint_name
from arkor.protocol.metrics import EVAL_METRICS
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord

_EVAL_LOSS = next(metric for metric in EVAL_METRICS if metric.name == "eval_loss")


class EvaluationService(TaskQueue[EvaluationOptions, Evaluation]):
    """Makes the evaluations. Thread-safe.

    An evaluation that is made again keeps its answers so far. A check that nobody asked for waits until nothing trains:
    it would take memory from a training.

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
        super().__init__("evaluations", settings.evaluation_module, store.evaluations, inference)
        self._settings = settings
        self._store = store
        self._targets = targets
        self._is_training = is_training
        self._checks = KnownChecks()
        self._files: Files = ()  # of the adapter that the one under way checks

    def may_begin(self, options: EvaluationOptions) -> bool:
        """Say whether such an evaluation may be made now."""
        return not (options.is_check_only and self._is_training())

    def folder(self, job_id: str, task_id: str) -> Path:
        """Return the folder of an evaluation."""
        return self._settings.job_folder(job_id) / "evaluations" / task_id

    def report_path(self, job_id: str, evaluation_id: str) -> Path:
        """Return where the report of an evaluation is, as JSON."""
        return self.folder(job_id, evaluation_id) / REPORT_FILE

    def has_made(self, claimed: Claimed[EvaluationOptions], made: Mapping[str, Any]) -> None:
        """Remember what was found of the adapter."""
        if made["check"]:
            self._checks.keep(claimed.job_id, self._files, made["check"])

    def models(self, claimed: Claimed[EvaluationOptions]) -> dict[str, Target]:
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

    def _base(self, claimed: Claimed[EvaluationOptions]) -> str:
        return ready_model(str(claimed.config["model"]), self._settings.model_root)

    def task(
        self, claimed: Claimed[EvaluationOptions], folder: Path, models: Mapping[str, Target]
    ) -> Mapping[str, Any]:
        """Return what the process is told, see ``evaluations.task``."""
        self._files = files_of(models[ADAPTER])
        config = JobConfig.from_wire(claimed.config)
        options = claimed.options
        started = self._store.events.last(claimed.job_id, "training.started")
        completed = self._store.events.last(claimed.job_id, "training.completed")
        metadata = wire.mapping(started.get("metadata"))
        task = Task(
            id=claimed.id,
            job_id=claimed.job_id,
            config=config,
            prompt_form=claimed.prompt_form,
            options=options,
            candidates=[name for name in models if name != BASE or options.against == BASE],
            model_path=models[BASE].base,
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
            known_check=self._checks.find(claimed.job_id, self._files),
        )
        return task.to_line()


def _max_length(config: JobConfig, receipt: Receipt | None) -> int | None:
    """Return how long the training let an example be, in tokens; None if it cut and dropped nothing."""
    if receipt is None or not (config.max_length or receipt.truncated.count or receipt.dropped.count):
        return config.max_length
    return receipt.max_length


def _trained_loss(metrics: Mapping[str, Any]) -> float | None:
    """Return the loss of the held-out rows with the adapter that was kept, in nats a token; None if there is none."""
    best, last = _EVAL_LOSS.best_wire_name, _EVAL_LOSS.wire_name
    return wire.number(metrics.get(best, metrics.get(last)))
