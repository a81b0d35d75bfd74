"""What a scorer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from arkor.evaluation.cases import Answered, Case

ScoreAnswer = Callable[[Case, Answered], Mapping[str, float]]
"""Returns the metrics of an answer, each from 0 to 1; one that the row has no answer for is absent."""

ScoreAnswers = Callable[[Sequence[tuple[Case, Answered]]], Sequence[Mapping[str, float]]]
"""Does the same for many answers, in their order."""

OfRows = Callable[[Sequence[int]], float]
"""A metric of some rows, given by their places; a place may come several times."""


@attrs.frozen
class Scorer:
    """Scores the answers to rows.

    Attributes:
        name: what it is called.
        labels: the metrics that it always has, the main one first: each with the words for people that follow a number
            of points.
        score: scores one answer.
        score_all: scores many; None if it does that one after the other.

    Example:
        ``Scorer("polite", {"polite": "polite answers"}, lambda case, answer: {"polite": "please" in answer.text})``
    """

    name: str
    labels: Mapping[str, str] = attrs.field(hash=False)
    score: ScoreAnswer
    score_all: ScoreAnswers | None = None

    def labels_for(self, _cases: Sequence[Case]) -> Mapping[str, str]:
        """Return its metrics on some rows, as ``labels`` has them."""
        return self.labels

    def of_rows(self, _cases: Sequence[Case], _candidate: str) -> Mapping[str, OfRows]:
        """Return the metrics that are no means over the rows."""
        return {}

    def details(self, _cases: Sequence[Case], _candidates: Sequence[str]) -> dict[str, Any]:
        """Return what there is to show beside the scores."""
        return {}
