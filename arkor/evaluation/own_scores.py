"""Scores of the user's own, added to what an evaluation found. They are made in the user's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from arkor.errors import ArkorError, ConfigError
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.comparing import mean_score, scored, verdict
from arkor.evaluation.findings import Findings
from arkor.evaluation.scorer import Scorer
from arkor.http.abort import AbortScope, check_scope
from arkor.protocol import wire

ScoringFunction = Callable[[str, str], Any]
"""Takes the expected answer and the one that came; returns a number from 0 to 1, True or False, or a mapping of names
to these."""

OwnScorer = Scorer | ScoringFunction

Found = TypeVar("Found", bound=Findings)


def with_own(report: Found, scorers: Sequence[OwnScorer], limits: AbortScope) -> Found:
    """Return what an evaluation found with more scores. See ``EvaluationReport.with_scorers``.

    Args:
        report: what it found.
        scorers: the user's own.
        limits: end the call between two answers, and while a scorer waits for a server.
    """
    with limits.active():
        for given in scorers:
            report = _with(report, given if isinstance(given, Scorer) else own_scorer(given))
    return report


def own_scorer(function: ScoringFunction) -> Scorer:
    """Return a function of the user's as a scorer.

    Args:
        function: what it raises becomes an ArkorError that names the row.
    """
    name = str(getattr(function, "__name__", type(function).__name__))

    def score(case: Case, answer: Answered) -> Mapping[str, float]:
        check_scope()
        try:
            said = function(case.expected, answer.text)
        except Exception as exc:
            raise ArkorError(f"Scorer {name} failed on row {case.row}: {type(exc).__name__}: {exc}") from exc
        found = said if isinstance(said, Mapping) else {name: said}
        return {str(metric): _checked(value, name, case) for metric, value in found.items()}

    return Scorer(name, {name: name}, score)


def _checked(value: Any, name: str, case: Case) -> float:
    number = float(value) if isinstance(value, bool) else wire.number(value)
    if number is None or not 0 <= number <= 1:
        raise ArkorError(f"Scorer {name} returned {value!r:.100} for row {case.row}: it must be from 0 to 1")
    return number


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
    labels = {name: scorer.labels.get(name, name) for name in metrics}
    means = [mean_score(table, name, label, scorer.name, report.candidates) for name, label in labels.items()]
    scores = [*report.scores, *(score for score in means if score is not None)]
    return attrs.evolve(report, table=table, scores=scores, verdict=report.verdict or verdict(scores))
