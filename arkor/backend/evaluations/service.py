"""The queue of evaluations.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from arkor.backend.evaluations.known_checks import Files, KnownChecks, files_of
from arkor.backend.evaluations.task import REPORT_FILE, Task
from arkor.backend.inference.targets import Target, ready_model
from arkor.backend.jobs.job_files import uploaded_rows
from arkor.backend.store.tasks import Claimed
from arkor.backend.tasks.queue import Parts, TaskQueue, Told
from arkor.protocol.evaluations import ADAPTER, BASE, Evaluation, EvaluationOptions
from arkor.protocol.jobs import AdapterRef, checkpoint_name


class EvaluationService(TaskQueue[EvaluationOptions, Evaluation]):
    """Makes the evaluations. Thread-safe.

    An evaluation that is made again keeps its answers so far. A check that nobody asked for waits until nothing trains:
    it would take memory from a training.

    Args:
        parts: the parts of the backend that it needs.
        is_training: says whether any job trains now.
    """

    kept_files = (REPORT_FILE,)

    def __init__(self, parts: Parts, is_training: Callable[[], bool]) -> None:
        super().__init__("evaluations", parts.settings.evaluation_module, parts.store.evaluations, parts)
        self._is_training = is_training
        self._checks = KnownChecks()
        self._files: Files = ()  # of the adapter that the one under way checks

    def may_begin(self, options: EvaluationOptions) -> bool:
        """Say whether such an evaluation may be made now."""
        return not (options.is_check_only and self._is_training())

    def report_key(self, job_id: str, evaluation_id: str) -> str:
        """Return the key of the report of an evaluation, as JSON."""
        return self.files(job_id).key(self.folder(job_id, evaluation_id) / REPORT_FILE)

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
            return self._parts.targets.find({"adapter": ref.to_wire()}, project)

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
        return ready_model(str(claimed.config["model"]), self._parts.settings.model_root)

    def task(self, claimed: Claimed[EvaluationOptions], told: Told, models: Mapping[str, Target]) -> Task:
        """Return what the process is told."""
        self._files, options = files_of(models[ADAPTER]), claimed.options
        return Task(
            **told.common,
            candidates=[name for name in models if name != BASE or options.against == BASE],
            model_path=models[BASE].base,
            rows_path=uploaded_rows(self._parts.storage, options.source, told.common["folder"]),
            artifact=f"report-{claimed.id.removeprefix('eval_')}",
            max_length=_max_length(told),
            trained_loss=told.eval_loss,
            created_at=claimed.created_at,
            known_check=self._checks.find(claimed.job_id, self._files),
        )


def _max_length(told: Told) -> int | None:
    """Return how long the training let an example be, in tokens; None if it cut and dropped nothing."""
    receipt, given = told.receipt, told.common["config"].max_length
    if receipt is None or not (given or receipt.truncated.count or receipt.dropped.count):
        return None if given is None else int(given)
    return receipt.max_length
