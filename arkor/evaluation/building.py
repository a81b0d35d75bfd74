"""Making a report out of rows with their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arkor.evaluation import retention
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.comparing import compared, mean_score, scored, verdict
from arkor.evaluation.parts import Retention, RowsAsked, ServedCheck
from arkor.evaluation.report import EvaluationReport
from arkor.evaluation.retention import RetentionQuestion
from arkor.evaluation.scorer import Scorer
from arkor.evaluation.scorers import find_scorers, named_scorers
from arkor.protocol.evaluations import ADAPTER


def build_report(
    *,
    cases: Sequence[Case],
    candidates: Sequence[str],
    rows: RowsAsked | None,
    scorers: Sequence[str] | None = None,
    retention_cases: Sequence[tuple[RetentionQuestion, dict[str, Answered]]] = (),
    check: ServedCheck | None = None,
    **facts: Any,
) -> EvaluationReport:
    """Make a report.

    Args:
        cases: the rows with the answers of all candidates.
        candidates: who answered; the one that the others are compared with first.
        rows: which rows these are; None if none were to be asked.
        scorers: names of scorers; None for those that fit the rows.
        retention_cases: the general questions, with the answers of the first candidate and of the adapter.
        check: whether the adapter that answers is the one that was trained, or None.
        facts: further fields of the report.
    """
    chosen = find_scorers(cases) if scorers is None else named_scorers(scorers)
    table = scored(cases, chosen)
    scores = [score for scorer in chosen for score in compared(table, scorer, candidates)] if table else []
    return EvaluationReport(
        **facts,
        candidates=list(candidates),
        against=candidates[0],
        rows=rows,
        scores=scores,
        details=_details(table, chosen, candidates),
        verdict=verdict(scores),
        table=table,
        retention=_retention(candidates, retention_cases) if retention_cases else None,
        check=check,
    )


def _details(table: Sequence[Case], scorers: Sequence[Scorer], candidates: Sequence[str]) -> dict[str, Any]:
    found = {scorer.name: scorer.details(table, candidates) for scorer in scorers} if table else {}
    return {name: details for name, details in found.items() if details}


def _retention(candidates: Sequence[str], asked: Sequence[tuple[RetentionQuestion, dict[str, Answered]]]) -> Retention:
    table = [retention.case_of(number, one, answers) for number, (one, answers) in enumerate(asked, start=1)]
    score = mean_score(table, retention.METRIC, retention.LABEL, "retention", [candidates[0], ADAPTER])
    assert score is not None  # every question has the metric, of both
    shares = [f"{100 * score.values[one]:.0f} %" for one in (candidates[0], ADAPTER)]
    return Retention(
        scores=[score], verdict=f"{shares[0]} before, {shares[1]} now: {score.comparisons[0]}", table=table
    )
