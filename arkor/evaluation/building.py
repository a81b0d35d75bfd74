"""Making a report: out of rows with their answers, and with scorers of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from arkor.evaluation import retention
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.comparing import compared, mean_score, scored
from arkor.evaluation.report import EvaluationReport, Retention, RowsAsked, Score, ServedCheck
from arkor.evaluation.retention import RetentionQuestion
from arkor.evaluation.scorer import Scorer
from arkor.evaluation.scorers import ScoringFunction, find_scorers, named_scorers, own_scorer
from arkor.evaluation.statistics import SAME
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


def with_own(report: EvaluationReport, functions: Sequence[ScoringFunction]) -> EvaluationReport:
    """Do what ``EvaluationReport.with_scorers`` says."""
    table: Sequence[Case] = report.table
    scores: list[Score] = []
    for scorer in map(own_scorer, functions):
        before = {name for case in table for name in case.scores}
        table = scored(table, [scorer])
        metrics = dict.fromkeys(name for case in table for name in case.scores if name not in before)
        scores += [mean_score(table, name, name, scorer.name, report.candidates) for name in metrics]
    everything = [*report.scores, *scores]
    return attrs.evolve(report, table=table, scores=everything, verdict=report.verdict or verdict(everything))


def verdict(scores: Sequence[Score]) -> str:
    """Return the verdict on the first score in words; on the adapter, if it is among the candidates.

    Example:
        ``better: +31 points exactly right, 95 % interval 22 to 40``
    """
    if not scores or not scores[0].comparisons:
        return ""
    found = scores[0].comparisons
    chosen = next((one for one in found if one.candidate == ADAPTER), found[0])
    words = str(chosen)
    return words if chosen.verdict == SAME else words.replace(" points,", f" points {scores[0].label},", 1)


def _details(table: Sequence[Case], scorers: Sequence[Scorer], candidates: Sequence[str]) -> dict[str, Any]:
    found = {scorer.name: scorer.details(table, candidates) for scorer in scorers} if table else {}
    return {name: details for name, details in found.items() if details}


def _retention(candidates: Sequence[str], asked: Sequence[tuple[RetentionQuestion, dict[str, Answered]]]) -> Retention:
    table = [retention.case_of(number, one, answers) for number, (one, answers) in enumerate(asked, start=1)]
    score = mean_score(table, retention.METRIC, retention.LABEL, "retention", [candidates[0], ADAPTER])
    shares = [f"{100 * score.values[one]:.0f} %" for one in (candidates[0], ADAPTER)]
    return Retention(
        scores=[score], verdict=f"{shares[0]} before, {shares[1]} now: {score.comparisons[0]}", table=table
    )
