"""Scores of the user's own, added to what an evaluation found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs

from arkor.evaluation.cases import Case
from arkor.evaluation.comparing import mean_score, scored, verdict
from arkor.evaluation.findings import Findings
from arkor.evaluation.parts import Score
from arkor.evaluation.scorers import ScoringFunction, own_scorer

Found = TypeVar("Found", bound=Findings)


def with_own(report: Found, functions: Sequence[ScoringFunction]) -> Found:
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
