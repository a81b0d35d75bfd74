"""What a scorer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from arkor.evaluation.cases import Answered, Case

ScoreAnswer = Callable[[Case, Answered], Mapping[str, float]]
"""Returns the metrics of an answer, each from 0 to 1; one that the row has no answer for is absent."""

OfRows = Callable[[Sequence[int]], float]
"""A metric of some rows, given by their places; a place may come several times."""


@attrs.frozen
class Scorer:
    """Scores the answers to rows.

    Attributes:
        name: what it is called.
        labels: its metrics, the main one first: each with the words for people that follow a number of points.
        score: scores one answer.

    Example:
        ``Scorer("polite", {"polite": "polite answers"}, lambda case, answer: {"polite": "please" in answer.text})``
    """

    name: str
    labels: Mapping[str, str] = attrs.field(hash=False)
    score: ScoreAnswer

    def of_rows(self, _cases: Sequence[Case], _candidate: str) -> Mapping[str, OfRows]:
        """Return the metrics that are no means over the rows."""
        return {}

    def details(self, _cases: Sequence[Case], _candidates: Sequence[str]) -> dict[str, Any]:
        """Return what there is to show beside the scores."""
        return {}
