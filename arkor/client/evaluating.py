"""Evaluating what a job trained: the rows go to the backend, which asks and scores; this waits for the report.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

import contextlib
import functools
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from arkor.client.client import CloudApiClient
from arkor.client.evaluate_options import EvaluateOptions, Progress, check_known
from arkor.client.reconnect import until_answered
from arkor.client.stream import ReconnectPolicy
from arkor.data.checked import CheckedDataset
from arkor.data.datasets import Dataset, LocalDataset, opened, parse_dataset
from arkor.errors import Aborted, ArkorError, ConfigError, EvaluationFailed, NotFound, WaitTimeout
from arkor.evaluation.own_scores import OwnScorer, with_own
from arkor.evaluation.report import EvaluationReport
from arkor.evaluation.scorer import Scorer
from arkor.http.abort import AbortScope, Deadline
from arkor.protocol.evaluations import HELD_OUT, Evaluation, EvaluationOptions
from arkor.protocol.jobs import AdapterRef, JobStatus, Scope

POLL_S = 0.5

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Evaluator:
    """Evaluates jobs of one project.

    Attributes:
        client: the backend.
        scope: the project.
        folder: where relative paths start.
        policy: when to ask again while the backend is away.
        abort_event: ends a call that has no abort event of its own, or None.
    """

    client: CloudApiClient
    scope: Scope
    folder: Path
    policy: ReconnectPolicy = attrs.field(factory=ReconnectPolicy)
    abort_event: threading.Event | None = None

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
        with self._limits(options) as limits:
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
        with self._limits(options) as limits:
            newest = self.newest(job_id, limits)
            return self._report_of(newest, limits, options.get("on_progress"))

    def newest(self, job_id: str, limits: AbortScope) -> Evaluation:
        """Return the newest evaluation of a job that asks something.

        Raises:
            NotFound: there is none.
        """
        self.client.require("evaluations", "evaluations")
        found = self._patiently(lambda: self.client.list_evaluations(self.scope, job_id), limits)
        asked = [one for one in found if not one.options.is_check_only]
        if not asked:
            raise NotFound(404, f"Job {job_id} has no report: 'arkor evaluate {job_id}' makes one.")
        return asked[-1]

    @contextlib.contextmanager
    def _limits(self, options: EvaluateOptions) -> Iterator[AbortScope]:
        event = options.get("abort_event") or self.abort_event
        with (
            AbortScope(event, Deadline(options.get("timeout"))) as limits,
            limits.noticing_the_end(),
            limits.active(),
        ):
            yield limits

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
        return self._patiently(
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
        with _saying_that_it_goes_on(evaluation):
            while not evaluation.is_terminal:
                if on_progress is not None:
                    on_progress(evaluation)
                limits.pause(POLL_S)
                evaluation = self._patiently(functools.partial(self._get, evaluation), limits)
            if on_progress is not None:
                on_progress(evaluation)
        if evaluation.status != JobStatus.COMPLETED:
            raise EvaluationFailed(evaluation.id, evaluation.job_id, evaluation.status, evaluation.error or "")
        where = (self.scope, evaluation.job_id, evaluation.id)
        return self._patiently(lambda: self.client.evaluation_report(*where), limits)

    def _get(self, evaluation: Evaluation) -> Evaluation:
        return self.client.get_evaluation(self.scope, evaluation.job_id, evaluation.id)

    def _patiently(self, ask: Callable[[], T], limits: AbortScope) -> T:
        return until_answered(ask, policy=self.policy, limits=limits, check_alive=self.client.check_alive)


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


@contextlib.contextmanager
def _saying_that_it_goes_on(evaluation: Evaluation) -> Iterator[None]:
    try:
        yield
    except (Aborted, WaitTimeout) as exc:
        exc.args = (f"{exc} Evaluation {evaluation.id} goes on: 'arkor report {evaluation.job_id}' waits for it.",)
        raise
