"""Scores of the user's own, added to what an evaluation found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs

from arkor.errors import ConfigError
from arkor.evaluation.cases import Case
from arkor.evaluation.comparing import mean_score, scored, verdict
from arkor.evaluation.findings import Findings
from arkor.evaluation.scorer import Scorer
from arkor.evaluation.scorers import ScoringFunction, own_scorer

Found = TypeVar("Found", bound=Findings)


def with_own(report: Found, functions: Sequence[ScoringFunction]) -> Found:
    """Do what ``EvaluationReport.with_scorers`` says."""
    for scorer in map(own_scorer, functions):
        report = _with(report, scorer)
    return report


def _with(report: Found, scorer: Scorer) -> Found:
    alone = scored([attrs.evolve(case, scores={}) for case in report.table], [scorer])
    metrics = dict.fromkeys(name for case in alone for name in case.scores)
    taken = {score.name for score in report.scores}.union(*(case.scores for case in report.table))
    for name in metrics:
        if name in taken:
            advice = "give the function another name, or let it return a mapping with another one"
            raise ConfigError("scorers", f"a score of the report is called {name!r:.100} already: {advice}")
    table: list[Case] = [
        attrs.evolve(case, scores={**case.scores, **own.scores}) for case, own in zip(report.table, alone, strict=True)
    ]
    means = [mean_score(table, name, name, scorer.name, report.candidates) for name in metrics]
    scores = [*report.scores, *(score for score in means if score is not None)]
    return attrs.evolve(report, table=table, scores=scores, verdict=report.verdict or verdict(scores))
