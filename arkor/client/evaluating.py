"""Evaluating what a job trained: the rows go to the backend, which asks and scores; this waits for the report.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from arkor.client.evaluate_options import EvaluateOptions, Progress, check_known
from arkor.client.waiting import Waiter
from arkor.data.checked import CheckedDataset
from arkor.data.datasets import Dataset, LocalDataset, opened, parse_dataset
from arkor.errors import ArkorError, ConfigError, EvaluationFailed, NotFound
from arkor.evaluation.own_scores import OwnScorer, with_own
from arkor.evaluation.report import EvaluationReport
from arkor.evaluation.scorer import Scorer
from arkor.http.abort import AbortScope
from arkor.protocol.evaluations import HELD_OUT, Evaluation, EvaluationOptions
from arkor.protocol.jobs import AdapterRef, JobStatus


@attrs.frozen(kw_only=True)
class Evaluator(Waiter):
    """Evaluates jobs of one project.

    Attributes:
        folder: where relative paths start.
    """

    folder: Path

    def evaluate(self, job_id: str, options: EvaluateOptions) -> EvaluationReport:
        """Have a job evaluated, and wait for the report.

        Raises:
            UnknownOption, ConfigError: an option is none, or out of its range; nothing was sent.
            DatasetError: the rows cannot be read.
            UnsupportedByBackend: the backend makes no evaluations.
            EvaluationFailed: it could not be made, or was cancelled.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed; the evaluation goes on.
        """
        check_known(options)
        names, own = _split(options.get("scorers"))
        with self.limits(options.get("timeout"), options.get("abort_event")) as limits:
            made = self._create(job_id, options, names, limits)
            report = self._report_of(made, limits, options.get("on_progress"))
            try:
                return with_own(report, own, limits)
            except ArkorError as exc:
                *fields, message = exc.args
                kept = f"The report is kept without these scores: 'arkor report {job_id}' shows it."
                exc.args = (*fields, f"{message}. {kept}")
                raise

    def report(self, job_id: str, options: EvaluateOptions) -> EvaluationReport:
        """Return the newest report of a job; wait for it, if its evaluation has not ended.

        Args:
            job_id: the job.
            options: ``timeout``, ``abort_event`` and ``on_progress`` count.

        Raises:
            NotFound: nobody has asked for an evaluation.
            As ``evaluate`` otherwise.
        """
        with self.limits(options.get("timeout"), options.get("abort_event")) as limits:
            newest = self.newest(job_id, limits)
            return self._report_of(newest, limits, options.get("on_progress"))

    def newest(self, job_id: str, limits: AbortScope) -> Evaluation:
        """Return the newest evaluation of a job that asks something.

        Raises:
            NotFound: there is none.
        """
        self.client.require("evaluations", "evaluations")
        found = self.patiently(lambda: self.client.list_evaluations(self.scope, job_id), limits)
        asked = [one for one in found if not one.options.is_check_only]
        if not asked:
            raise NotFound(404, f"Job {job_id} has no report: 'arkor evaluate {job_id}' makes one.")
        return asked[-1]

    def _create(
        self, job_id: str, options: EvaluateOptions, names: Sequence[str] | None, limits: AbortScope
    ) -> Evaluation:
        given: Mapping[str, Any] = options
        settings = {name: given[name] for name in _TRAVELLING if given.get(name) is not None}
        asked = EvaluationOptions(**settings, scorers=names, against=_against(options.get("against", "base")))
        self.client.require("evaluations", "evaluations")
        with self._sent(options.get("rows", HELD_OUT)) as rows:
            asked = attrs.evolve(asked, rows=rows)
        key = uuid.uuid4().hex
        return self.patiently(
            lambda: self.client.create_evaluation(self.scope, job_id, asked, idempotency_key=key), limits
        )

    @contextlib.contextmanager
    def _sent(self, rows: Dataset | Mapping[str, Any] | str | Path) -> Iterator[str | dict[str, Any]]:
        """Have the rows where the backend reads them."""
        if rows == HELD_OUT:
            yield HELD_OUT
            return
        dataset = parse_dataset(rows, "rows")
        if not isinstance(dataset, LocalDataset | CheckedDataset):
            yield dataset.to_wire()
            return
        with opened(dataset, self.folder) as checked:
            yield self.client.upload_dataset(self.scope, checked).to_wire()

    def _report_of(self, evaluation: Evaluation, limits: AbortScope, on_progress: Progress | None) -> EvaluationReport:
        """Wait until an evaluation has ended, and return its report."""
        goes_on = f"Evaluation {evaluation.id} goes on: 'arkor report {evaluation.job_id}' waits for it."
        evaluation = self.ended(evaluation, self.client.get_evaluation, limits, on_progress, goes_on=goes_on)
        if evaluation.status != JobStatus.COMPLETED:
            raise EvaluationFailed(evaluation.id, evaluation.job_id, evaluation.status, evaluation.error or "")
        where = (self.scope, evaluation.job_id, evaluation.id)
        return self.patiently(lambda: self.client.evaluation_report(*where), limits)


_TRAVELLING = ("limit", "checkpoints", "max_tokens", "retention", "check")


def _split(scorers: Any) -> tuple[list[str] | None, list[OwnScorer]]:
    """Return the names of built-in scorers, or None for those that fit the rows, and the caller's own scorers."""
    if scorers is None:
        return None, []
    if isinstance(scorers, str) or not isinstance(scorers, Sequence):
        raise ConfigError("scorers", f"must be a list of names and functions, not {scorers!r:.100}")
    for scorer in scorers:
        if not isinstance(scorer, str | Scorer) and not callable(scorer):
            raise ConfigError("scorers", f"has {scorer!r:.100}, which is neither a name nor a function")
    own = [one for one in scorers if not isinstance(one, str)]
    return [one for one in scorers if isinstance(one, str)] or None, own


def _against(given: AdapterRef | Mapping[str, Any] | str) -> str | dict[str, Any]:
    if isinstance(given, AdapterRef):
        return given.to_wire()
    if isinstance(given, str):
        return given if given == "base" else AdapterRef("final", given).to_wire()
    return dict(given)
